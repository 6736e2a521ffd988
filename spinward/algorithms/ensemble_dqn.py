"""Ensemble-DQN: several values of each action, each learned independently (Agarwal et al., 2020,
arXiv:1907.04543, section 4.1; Anschel et al., 2017, for the averaged target).

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
from spinward.experience.batches import check_huber, check_windows
from spinward.experience.wanted import Samples, samples
from spinward.learning import q_learning
from spinward.learning.minibatches import means
from spinward.learning.q_learning import Agent
from spinward.learning.steps import adam
from spinward.losses.values import huber
from spinward.networks.distributions import pick
from spinward.networks.ensemble import each_head, several
from spinward.networks.heads import Heads
from spinward.targets.diagnostics import QProbe, q_extremes
from spinward.targets.values import bootstrap, unrolled


@config
class EnsembleDQN:
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
    huber: float = 1.0  # error beyond which the loss is linear; a large one makes it quadratic
    heads: int = 50  # values of each action; the paper has 200
    separate: bool = (
        False  # each head is a separate network; if not, heads share all layers but the last
    )
    averaged: bool = False  # one target for all heads, from the mean of their values
    max_grad_norm: float = 10.0  # global norm gradients are clipped to
    hidden: tuple[int, ...] = (128, 128)  # widths of the hidden layers
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    network: Callable[..., Any] = Heads.init  # builds it from (key, spec, hidden, activation)

    memory = staticmethod(no_memory)

    def check(self, spec: Spec) -> None:
        check_windows(self, spec)
        check_huber(self.huber)
        if self.heads < 1:
            raise SettingsError(f"heads={self.heads} must be at least 1")

    def wants(self, spec: Spec) -> Samples:
        return samples(self, window=self.n_step, stack=self.stack)

    def optimiser(self, lr: float | Array) -> optax.GradientTransformation:
        return adam(lr, self.max_grad_norm, self.eps)

    def init(self, key: Key, spec: Spec) -> Agent:
        sizes = spec, self.hidden, self.activation
        model = several(self.network, key, sizes, self.heads, self.separate)
        return Agent.init(model, self.optimiser(self.lr))

    def values(self, model: Any, obs: Obs) -> Array:
        """The means [..., actions] of the heads' values."""
        return each_head(model, obs).mean(0)

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
        after = each_head(target_network, end)
        after = after.mean(0, keepdims=True) if self.averaged else after
        target = reward + discount * bootstrap(after, after, double=False)
        obs, action = jax.tree.map(lambda x: x[0], (batch.obs, batch.action))
        q = each_head(model, obs)
        value = pick(q, action)  # [heads, batch]
        held = jax.lax.stop_gradient(value)  # a standard deviation of 0 has no finite gradient
        error = target - value
        losses = {
            "td_loss": huber(error, self.huber).mean(0),
            "td_error": jnp.abs(error).mean(0),
            "value": held.mean(0),
            "spread": held.std(0),
        }
        metrics = means(losses, batch.weight.min(0)) | q_extremes(q.mean(0), batch.reward)
        return metrics["td_loss"], metrics

    def probe(self, agent: Agent, batch: Transition) -> QProbe:
        return q_learning.probe(self, agent, batch)
