"""Deep Q-learning (Mnih et al., 2015), with the double-Q target of van Hasselt et al. (2016,
arXiv:1509.06461) and n-step returns as switches.

Departs from the paper: Adam in place of RMSProp, several environments side by side, and a target
network that may follow slowly (`tau` below 1) instead of being copied.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import (
    Discrete,
    Key,
    Memory,
    Metrics,
    Obs,
    Source,
    Spec,
    Transition,
    config,
    no_memory,
    struct,
)
from spinward.errors import SettingsError
from spinward.experience.replay import Replay
from spinward.learning import Learner, adam, descend, linear, means
from spinward.losses.values import huber
from spinward.networks.distributions import pick
from spinward.networks.heads import Q
from spinward.networks.torso import mask, uniform_choice
from spinward.targets.values import n_step


@struct
class Agent:
    learner: Learner
    target: Any
    updates: Array


@config
class DQN:
    envs: int = 8  # environments stepped side by side
    rollout: int = 1  # steps of each between updates
    updates: int = 1  # gradient steps after them
    batch: int = 128  # samples in each gradient step
    capacity: int = 100_000  # env steps kept for replay
    warmup: int = 2_000  # random env steps before the first update
    lr: float = 5e-4  # Adam step size
    anneal_steps: int = 0  # env steps over which lr falls linearly to 0; 0 keeps it
    gamma: float = 0.99  # discount per step
    target_every: int = 250  # updates between moves of the target network
    tau: float = 1.0  # share of the target network replaced in each of its moves
    epsilon: float = 0.05  # final share of random actions
    explore_steps: int = 50_000  # env steps over which that share falls from 1
    double: bool = True  # the online network chooses the action the target network values
    n_step: int = 1  # rewards in each target
    huber: float = 1.0  # error beyond which the loss is linear; a large one makes it the square
    max_grad_norm: float = 10.0  # global norm gradients are clipped to
    hidden: tuple[int, ...] = (128, 128)  # widths of the hidden layers
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    network: Callable[..., Any] = Q.init

    memory = no_memory

    def check(self, spec: Spec) -> None:
        if not isinstance(spec.action, Discrete):
            raise SettingsError(
                f"dqn needs one discrete action; this environment has {spec.action}"
            )
        if self.rows(self.warmup) > self.rows(self.capacity):
            raise SettingsError(f"warmup={self.warmup} is more than capacity={self.capacity}")
        if self.updates < 1:
            raise SettingsError(f"updates={self.updates} must be at least 1")
        if self.rows(self.capacity) - self.rollout < self.n_step:
            raise SettingsError(
                f"capacity={self.capacity} is too short for n_step={self.n_step} beside a rollout "
                f"of {self.rollout * self.envs} env steps"
            )
        if self.rows(self.warmup) < self.n_step:
            raise SettingsError(f"warmup={self.warmup} is too short for n_step={self.n_step}")

    def source(self, collect: Callable[[int, int], Source]) -> Source:
        rows, warmup = self.rows(self.capacity), self.rows(self.warmup)
        experience = collect(self.envs, self.rollout)
        return Replay(experience, rows, warmup, self.updates, self.batch, self.n_step)

    def rows(self, steps: int) -> int:
        """So many env steps as rows of all envs, rounded up to whole iterations."""
        return -(-steps // (self.envs * self.rollout)) * self.rollout

    def env_steps(self, updates: Array) -> Array:
        """How many steps go with so many updates."""
        return updates * (self.envs * self.rollout / self.updates)

    def optimiser(self, lr: float | Array) -> optax.GradientTransformation:
        return adam(lr, self.max_grad_norm)

    def init(self, key: Key, spec: Spec) -> Agent:
        q = self.network(key, spec, self.hidden, self.activation)
        return Agent(Learner.init(q, self.optimiser(self.lr)), q, jnp.int32(0))

    def epsilon_at(self, updates: Array) -> Array:
        """The share of random actions, after as many updates."""
        steps = self.env_steps(updates)
        return jnp.maximum(self.epsilon, 1.0 - (1.0 - self.epsilon) * steps / self.explore_steps)

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        q = agent.learner.model(obs)
        greedy = q.argmax(-1).astype(jnp.int32)
        if not explore:
            return greedy, memory, {}
        k_coin, k_action = jax.random.split(key)
        random = uniform_choice(k_action, mask(obs), q.shape)
        coin = jax.random.uniform(k_coin, greedy.shape) < self.epsilon_at(agent.updates)
        return jnp.where(coin, random, greedy), memory, {}

    def update(self, agent: Agent, batches: Transition, key: Key) -> tuple[Agent, Metrics]:
        def step(agent: Agent, batch: Transition) -> tuple[Agent, Metrics]:
            lr = linear(self.lr, self.env_steps(agent.updates), self.anneal_steps)
            learner, metrics = descend(
                self.loss, self.optimiser(lr), agent.learner, agent.target, batch
            )
            updates = agent.updates + 1
            share = jnp.where(updates % self.target_every == 0, self.tau, 0.0)
            target = optax.incremental_update(learner.model, agent.target, share)
            return Agent(learner, target, updates), metrics

        agent, metrics = jax.lax.scan(step, agent, batches)
        return agent, {**metrics, "epsilon": self.epsilon_at(agent.updates)}

    def loss(self, q: Any, target: Any, batch: Transition) -> tuple[Array, Metrics]:
        """Of windows [n_step, batch]; their first step is the one that learns."""
        following = target(batch.next_obs)
        choice = (q(batch.next_obs) if self.double else following).argmax(-1)
        goal = n_step(batch, pick(following, choice), self.gamma)
        first = jax.tree.map(lambda x: x[0], (batch.obs, batch.action))
        value = pick(q(first[0]), first[1])
        error = goal - value
        losses = {"td_loss": huber(error, self.huber), "td_error": jnp.abs(error), "value": value}
        metrics = means(losses, batch.weight.min(0))
        return metrics["td_loss"], metrics
