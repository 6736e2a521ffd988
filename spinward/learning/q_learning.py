"""Functions shared by the algorithms that learn action values: plain, over typed settings."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import Key, Memory, Metrics, Obs, Spec, Transition, replace, struct
from spinward.learning.steps import Learner, descend, linear_schedule
from spinward.networks.distributions import pick
from spinward.networks.exploration import epsilon_greedy, greedy, linear_epsilon
from spinward.networks.noisy import perturbed
from spinward.networks.normaliser import Normalised, ObsNormaliser
from spinward.targets.diagnostics import QProbe, last_features, running_max
from spinward.targets.network import update_target


class Exploring(Protocol):
    """The settings of the epsilon schedule."""

    @property
    def envs(self) -> int: ...
    @property
    def rollout(self) -> int: ...
    @property
    def updates(self) -> int: ...
    @property
    def epsilon(self) -> float: ...
    @property
    def explore_steps(self) -> int: ...


class QLearning(Exploring, Protocol):
    """An algorithm that learns action values from windows of replayed steps."""

    @property
    def lr(self) -> float: ...
    @property
    def anneal_steps(self) -> int: ...
    @property
    def target_every(self) -> int: ...
    @property
    def tau(self) -> float: ...
    def optimiser(self, lr: float | Array) -> optax.GradientTransformation: ...
    def values(self, model: Any, obs: Obs) -> Array: ...
    def loss(
        self, model: Any, target_network: Any, batch: Transition, key: Key
    ) -> tuple[Array, Metrics]: ...


@struct
class Agent:
    learner: Learner
    target: Any
    updates: Array

    @classmethod
    def init(cls, model: Any, optimiser: optax.GradientTransformation) -> "Agent":
        return cls(Learner.init(model, optimiser), model, jnp.int32(0))


class Reading(Protocol):
    """The settings of what a network of action values reads."""

    @property
    def lr(self) -> float: ...
    @property
    def normalise_obs(self) -> bool: ...
    def optimiser(self, lr: float | Array) -> optax.GradientTransformation: ...


def init(settings: Reading, spec: Spec, model: Any) -> Agent:
    """An agent with this network; where observations are normalised, the normaliser is a part of
    it."""
    if settings.normalise_obs:
        model = Normalised(ObsNormaliser.init(spec), model)
    return Agent.init(model, settings.optimiser(settings.lr))


def fit(settings: Reading, agent: Agent, steps: Transition) -> Agent:
    """The agent with the mean and the standard deviation of logged steps [rows, 1, ...]."""
    if not settings.normalise_obs:
        return agent
    normaliser = agent.target.normaliser.add(steps.obs, steps.weight)
    model = replace(agent.learner.model, normaliser=normaliser)
    learner = replace(agent.learner, model=model)
    own = jax.tree.map(jnp.array, normaliser)  # a program may take the place of each array once
    return replace(agent, learner=learner, target=replace(agent.target, normaliser=own))


def env_steps(settings: Exploring, updates: Array) -> Array:
    """The number of env steps after so many updates."""
    return updates * (settings.envs * settings.rollout / settings.updates)


def epsilon_at(settings: Exploring, updates: Array) -> Array:
    """The share of random actions after so many updates."""
    return linear_epsilon(env_steps(settings, updates), settings.explore_steps, settings.epsilon)


def act(
    settings: QLearning, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool
) -> tuple[Array, Memory, dict[str, Any]]:
    """The epsilon-greedy action by the schedule; the greedy action without `explore`."""
    if not explore:
        return greedy(settings.values(agent.learner.model, obs)), memory, {}
    q = settings.values(agent.learner.model, obs)
    return epsilon_greedy(q, obs, key, epsilon_at(settings, agent.updates)), memory, {}


def act_noisily(
    settings: QLearning, agent: Agent, obs: Obs, memory: Memory, key: Key
) -> tuple[Array, Memory, dict[str, Any]]:
    """The greedy action by a network whose noisy weights are sampled once."""
    return greedy(settings.values(perturbed(agent.learner.model, key), obs)), memory, {}


def update(
    settings: QLearning, agent: Agent, batches: Transition, key: Key
) -> tuple[Agent, Metrics]:
    """A gradient step on each of `batches`, each followed by the update of the target network."""

    def step(agent: Agent, x: tuple[Transition, Key]) -> tuple[Agent, Metrics]:
        lr = linear_schedule(settings.lr, env_steps(settings, agent.updates), settings.anneal_steps)
        learner, metrics = descend(
            settings.loss, settings.optimiser(lr), agent.learner, agent.target, *x
        )
        updates = agent.updates + 1
        moves = updates, settings.target_every, settings.tau
        return Agent(learner, update_target(agent.target, learner.model, *moves), updates), metrics

    keys = jax.random.split(key, batches.reward.shape[0])
    agent, metrics = jax.lax.scan(step, agent, (batches, keys))
    return agent, running_max(metrics)


def probe(settings: QLearning, agent: Agent, batch: Transition) -> QProbe:
    """The diagnostics' inputs (targets/diagnostics.py) at steps [row]."""
    q = agent.learner.model
    values, lagged = settings.values(q, batch.obs), settings.values(agent.target, batch.obs)
    value = pick(values, batch.action)
    return QProbe(values, lagged, value, value, last_features(q, batch.obs))
