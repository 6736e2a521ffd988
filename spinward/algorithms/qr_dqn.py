"""QR-DQN: learning quantiles of the distribution of returns (Dabney et al., 2018,
arXiv:1710.10044).

Departs from the paper: several environments step together; gradients are clipped to a global norm.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import Key, Memory, Metrics, Obs, Spec, Transition, config, no_memory
from spinward.errors import SettingsError
from spinward.experience.batches import check_windows
from spinward.experience.wanted import Samples, samples
from spinward.learning import q_learning
from spinward.learning.minibatches import means
from spinward.learning.q_learning import Agent
from spinward.learning.steps import adam
from spinward.losses.values import quantile_huber
from spinward.networks.distributions import forbid
from spinward.networks.heads import Heads, of_action
from spinward.networks.torso import mask
from spinward.targets.diagnostics import QProbe, q_extremes
from spinward.targets.values import unrolled


@config
class QRDQN:
    envs: int = 8  # environments stepped side by side
    rollout: int = 1  # steps of each between updates
    updates: int = 1  # gradient steps after them
    batch: int = 128  # samples in each gradient step
    capacity: int = 100_000  # env steps kept for replay
    warmup: int = 2_000  # random env steps before the first update
    stack: int = 1  # newest images in an observation's last axis: each is stored once
    lr: float = 5e-4  # Adam step size
    anneal_steps: int = 0  # env steps over which lr falls linearly to 0; 0 keeps it
    eps: float = 1e-5  # added to what Adam divides by
    gamma: float = 0.99  # discount per step
    target_every: int = 250  # gradient steps between updates of the target network
    tau: float = 1.0  # step of each target update towards the online network; 1 copies it
    epsilon: float = 0.05  # final share of random actions
    explore_steps: int = 50_000  # env steps over which that share falls linearly from 1
    n_step: int = 1  # rewards in each n-step target
    quantiles: int = 50  # of each distribution; the paper's 200 take some times as long on a CPU
    kappa: float = 1.0  # error beyond which the loss is linear; 0 is quantile regression itself
    max_grad_norm: float = 10.0  # global norm gradients are clipped to
    hidden: tuple[int, ...] = (128, 128)  # widths of the hidden layers
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    network: Callable[..., Any] = Heads.init  # builds it from (key, spec, hidden, activation)

    memory = staticmethod(no_memory)

    def check(self, spec: Spec) -> None:
        check_windows(self, spec)
        if self.quantiles < 1:
            raise SettingsError(f"quantiles={self.quantiles} must be at least 1")
        if self.kappa < 0.0:
            raise SettingsError(f"kappa={self.kappa} must not be negative")

    def wants(self, spec: Spec) -> Samples:
        return samples(self, window=self.n_step, stack=self.stack)

    def optimiser(self, lr: float | Array) -> optax.GradientTransformation:
        return adam(lr, self.max_grad_norm, self.eps)

    def init(self, key: Key, spec: Spec) -> Agent:
        quantiles = self.network(key, spec, self.hidden, self.activation, self.quantiles)
        return Agent.init(quantiles, self.optimiser(self.lr))

    def values(self, model: Any, obs: Obs) -> Array:
        """The means [..., actions] of the distributions."""
        return forbid(model(obs).mean(-1), mask(obs))

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        return q_learning.act(self, agent, obs, memory, key, explore)

    def update(self, agent: Agent, batches: Transition, key: Key) -> tuple[Agent, Metrics]:
        agent, metrics = q_learning.update(self, agent, batches, key)
        return agent, {**metrics, "epsilon": q_learning.epsilon_at(self, agent.updates)}

    def loss(
        self, model: Any, target_network: Any, batch: Transition, key: Key
    ) -> tuple[Array, Metrics]:
        """The loss of windows [n_step, batch], for the action of their first step."""
        reward, discount, end = unrolled(batch, self.gamma)
        after = target_network(end)
        best = forbid(after.mean(-1), mask(end)).argmax(-1)
        samples = reward[:, None] + discount[:, None] * of_action(after, best)
        obs, action = jax.tree.map(lambda x: x[0], (batch.obs, batch.action))
        quantiles = model(obs)
        value = of_action(quantiles, action)
        target = jax.lax.stop_gradient(samples)
        held = jax.lax.stop_gradient(value)  # a standard deviation of 0 has no finite gradient
        losses = {
            "quantile_loss": quantile_huber(value, target, self.kappa),
            "td_error": jnp.abs(target.mean(-1) - held.mean(-1)),
            "value": held.mean(-1),
            "spread": held.std(-1),
        }
        metrics = means(losses, batch.weight.min(0)) | q_extremes(quantiles.mean(-1), batch.reward)
        return metrics["quantile_loss"], metrics

    def probe(self, agent: Agent, batch: Transition) -> QProbe:
        return q_learning.probe(self, agent, batch)
