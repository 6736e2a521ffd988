"""C51: learning the distribution of returns on fixed atoms (Bellemare et al., 2017,
arXiv:1707.06887).

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
from spinward.losses.values import cross_entropy
from spinward.networks.distributions import forbid
from spinward.networks.heads import Heads, of_action
from spinward.networks.torso import mask
from spinward.targets.diagnostics import QProbe, q_extremes
from spinward.targets.distributional import project
from spinward.targets.values import unrolled


@config
class C51:
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
    atoms: int = 51  # atoms of the return distribution
    low: float = -10.0  # the least of them
    high: float = 10.0  # the greatest of them
    max_grad_norm: float = 10.0  # global norm gradients are clipped to
    hidden: tuple[int, ...] = (128, 128)  # widths of the hidden layers
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    network: Callable[..., Any] = Heads.init  # builds it from (key, spec, hidden, activation)

    memory = staticmethod(no_memory)

    def check(self, spec: Spec) -> None:
        check_windows(self, spec)
        if self.atoms < 2:
            raise SettingsError(f"atoms={self.atoms} must be at least 2")
        if not self.low < self.high:
            raise SettingsError(f"low={self.low} must be below high={self.high}")

    def check_rewards(self, low: float, high: float) -> None:
        """Raises SettingsError where rewards between `low` and `high` lie beyond the atoms."""
        if low < self.low or high > self.high:
            raise SettingsError(
                f"rewards from {low} to {high} lie outside the support from low={self.low} to "
                f"high={self.high}"
            )

    def wants(self, spec: Spec) -> Samples:
        return samples(self, window=self.n_step, stack=self.stack)

    def optimiser(self, lr: float | Array) -> optax.GradientTransformation:
        return adam(lr, self.max_grad_norm, self.eps)

    def init(self, key: Key, spec: Spec) -> Agent:
        logits = self.network(key, spec, self.hidden, self.activation, self.atoms)
        return Agent.init(logits, self.optimiser(self.lr))

    @property
    def support(self) -> Array:
        """The returns [atoms]."""
        return jnp.linspace(self.low, self.high, self.atoms)

    def values(self, model: Any, obs: Obs) -> Array:
        """The means [..., actions] of the distributions."""
        return forbid(jax.nn.softmax(model(obs)) @ self.support, mask(obs))

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
        after = jax.nn.softmax(target_network(end))
        best = forbid(after @ self.support, mask(end)).argmax(-1)
        returns = reward[:, None] + discount[:, None] * self.support
        target = project(returns, of_action(after, best), self.support)
        obs, action = jax.tree.map(lambda x: x[0], (batch.obs, batch.action))
        logits = model(obs)
        values = jax.nn.softmax(logits) @ self.support
        action_logits = of_action(logits, action)
        losses = {
            "cross_entropy": cross_entropy(action_logits, target),
            "value": jax.nn.softmax(action_logits) @ self.support,
            "mass_at_ends": target[:, 0] + target[:, -1],
        }
        metrics = means(losses, batch.weight.min(0)) | q_extremes(values, batch.reward)
        return metrics["cross_entropy"], metrics | self.outside(batch)

    def outside(self, batch: Transition) -> Metrics:
        """A metric that is infinite, which ends the run, where a single reward lies beyond the
        atoms."""
        reward = jnp.where(batch.weight > 0.0, batch.reward, 0.0)
        beyond = ((reward < self.low) | (reward > self.high)).any()
        return {"reward_outside_low_to_high": jnp.where(beyond, jnp.inf, 0.0)}

    def probe(self, agent: Agent, batch: Transition) -> QProbe:
        return q_learning.probe(self, agent, batch)
