"""Ensemble-DQN: several values of each action, each learned by itself (Agarwal et al., 2020,
arXiv:1907.04543, section 4.1; Anschel et al., 2017, for the averaged target).

Departs from the paper: several environments side by side, gradients clipped to a global norm.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.algorithms.dqn import DQN, Agent
from spinward.core import Key, Metrics, Obs, Spec, Transition, config, no_memory
from spinward.errors import SettingsError
from spinward.learning import Learner, adam, means
from spinward.losses.values import huber
from spinward.networks.distributions import forbid, pick
from spinward.networks.ensemble import several
from spinward.networks.heads import Heads
from spinward.networks.torso import mask
from spinward.targets.diagnostics import extremes
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
    target_every: int = 250  # updates between moves of the target network
    tau: float = 1.0  # share of the target network replaced in each of its moves
    epsilon: float = 0.05  # final share of random actions
    explore_steps: int = 50_000  # env steps over which that share falls from 1
    n_step: int = 1  # rewards in each target
    huber: float = 1.0  # error beyond which the loss is linear; a large one makes it the square
    heads: int = 50  # values of each action; the paper has 200
    separate: bool = (
        False  # each head is a network of its own; if not, all but the last layer is one
    )
    averaged: bool = False  # one target for all heads: the best of their mean
    max_grad_norm: float = 10.0  # global norm gradients are clipped to
    hidden: tuple[int, ...] = (128, 128)  # widths of the hidden layers
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    network: Callable[..., Any] = Heads.init  # builds it from (key, spec, hidden, activation)

    memory = no_memory
    wants, env_steps, epsilon_at = DQN.wants, DQN.env_steps, DQN.epsilon_at
    act, update, look = DQN.act, DQN.update, DQN.look

    # Methods that take `self: Any` serve REM too.

    def check(self: Any, spec: Spec) -> None:
        DQN.check(self, spec)
        if self.heads < 1:
            raise SettingsError(f"heads={self.heads} must be at least 1")

    def optimiser(self: Any, lr: float | Array) -> optax.GradientTransformation:
        return adam(lr, self.max_grad_norm, self.eps)

    def init(self: Any, key: Key, spec: Spec) -> Agent:
        sizes = spec, self.hidden, self.activation
        q = several(self.network, key, sizes, self.heads, self.separate)
        return Agent(Learner.init(q, self.optimiser(self.lr)), q, jnp.int32(0))

    def each(self: Any, model: Any, obs: Obs) -> Array:
        """The values [heads, ..., actions] by every head."""
        return forbid(jnp.moveaxis(model(obs), -1, 0), mask(obs))

    def values(self: Any, model: Any, obs: Obs) -> Array:
        """The means [..., actions] of what the heads say."""
        return self.each(model, obs).mean(0)

    def loss(self, model: Any, target: Any, batch: Transition, key: Key) -> tuple[Array, Metrics]:
        """Of windows [n_step, batch]; their first step is the one that learns."""
        reward, discount, end = unrolled(batch, self.gamma)
        after = self.each(target, end)
        after = after.mean(0, keepdims=True) if self.averaged else after
        goal = reward + discount * bootstrap(after, after, double=False)
        obs, action = jax.tree.map(lambda x: x[0], (batch.obs, batch.action))
        q = self.each(model, obs)
        value = pick(q, action)  # [heads, batch]
        seen = jax.lax.stop_gradient(value)  # the slope of a deviation of 0 is not finite
        error = goal - value
        losses = {
            "td_loss": huber(error, self.huber).mean(0),
            "td_error": jnp.abs(error).mean(0),
            "value": seen.mean(0),
            "spread": seen.std(0),
        }
        metrics = means(losses, batch.weight.min(0)) | extremes(q.mean(0), batch.reward)
        return metrics["td_loss"], metrics
