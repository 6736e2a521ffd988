"""Conservative Q-learning for one discrete action: double DQN whose values are pushed down on
actions that the data lack (Kumar et al., 2020, arXiv:2006.04779).

Departs from the paper: plain values in place of quantiles; Huber's loss and the target network's
period are settings; gradients are clipped to a global norm.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import Key, Memory, Metrics, Obs, Spec, Transition, config, no_memory
from spinward.experience.batches import check_huber, check_windows
from spinward.experience.wanted import Samples, logged_samples
from spinward.learning import q_learning
from spinward.learning.minibatches import means
from spinward.learning.q_learning import Agent
from spinward.learning.steps import adam
from spinward.losses.offline import conservative
from spinward.losses.values import huber
from spinward.networks.distributions import pick
from spinward.networks.heads import Q
from spinward.targets.diagnostics import QProbe, q_extremes
from spinward.targets.values import bootstrap, unrolled


@config
class CQLDiscrete:
    envs: int = 1  # environments stepped side by side, where a run has more than data
    rollout: int = 100  # steps of each between updates
    updates: int = 100  # gradient steps after them
    batch: int = 128  # samples in each gradient step
    capacity: int = 100_000  # env steps kept for replay
    warmup: int = 2_000  # random env steps before the first update
    stack: int = 1  # newest images in an observation's last axis: each is stored once
    lr: float = 3e-4  # Adam step size
    anneal_steps: int = 0  # env steps over which lr falls linearly to 0; 0 keeps it
    gamma: float = 0.99  # discount per step
    target_every: int = 250  # gradient steps between updates of the target network
    tau: float = 1.0  # step of each target update towards the online network; 1 copies it
    epsilon: float = 0.05  # final share of random actions
    explore_steps: int = 5_000  # env steps over which that share falls linearly from 1
    weight: float = 1.0  # of the gap between the values of all actions and of the logged one
    n_step: int = 1  # rewards in each n-step target
    huber: float = 1000.0  # error beyond which the loss is linear; here never
    max_grad_norm: float = 10.0  # global norm gradients are clipped to
    normalise_obs: bool = False  # by mean and standard deviation of the data
    hidden: tuple[int, ...] = (128, 128)  # widths of the hidden layers
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    network: Callable[..., Any] = Q.init  # builds it from (key, spec, hidden, activation)

    conservatism: ClassVar = ("weight", 3.0)
    memory = staticmethod(no_memory)

    def check(self, spec: Spec) -> None:
        check_windows(self, spec)
        check_huber(self.huber)

    def wants(self, spec: Spec) -> Samples:
        return logged_samples(self, window=self.n_step, stack=self.stack)

    def optimiser(self, lr: float | Array) -> optax.GradientTransformation:
        return adam(lr, self.max_grad_norm)

    def init(self, key: Key, spec: Spec) -> Agent:
        model = self.network(key, spec, self.hidden, self.activation)
        return q_learning.init(self, spec, model)

    def fit(self, agent: Agent, steps: Transition) -> Agent:
        return q_learning.fit(self, agent, steps)

    def values(self, model: Any, obs: Obs) -> Array:
        """The action values [..., actions]."""
        return model(obs)

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        return q_learning.act(self, agent, obs, memory, key, explore)

    def update(self, agent: Agent, batches: Transition, key: Key) -> tuple[Agent, Metrics]:
        return q_learning.update(self, agent, batches, key)

    def loss(
        self, model: Any, target_network: Any, batch: Transition, key: Key
    ) -> tuple[Array, Metrics]:
        """The loss of windows [n_step, batch], for the action of their first step."""
        reward, discount, end = unrolled(batch, self.gamma)
        target = reward + discount * bootstrap(model(end), target_network(end))
        obs, action = jax.tree.map(lambda x: x[0], (batch.obs, batch.action))
        values = model(obs)
        value = pick(values, action)
        losses = {
            "td_loss": huber(target - value, self.huber),
            "gap": conservative(values, action),
            "td_error": jnp.abs(target - value),
            "value": value,
        }
        metrics = means(losses, batch.weight.min(0)) | q_extremes(values, batch.reward)
        return metrics["td_loss"] + self.weight * metrics["gap"], metrics

    def probe(self, agent: Agent, batch: Transition) -> QProbe:
        return q_learning.probe(self, agent, batch)
