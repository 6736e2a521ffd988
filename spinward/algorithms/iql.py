"""Implicit Q-learning: offline, without values of actions that are not in the data (Kostrikov et
al., 2021, arXiv:2110.06169).

Departs from the paper: networks start orthogonal; observations are scaled by the data's mean and
standard deviation; one discrete action is supported, too.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import (
    Key,
    Memory,
    Metrics,
    Obs,
    Spec,
    Transition,
    config,
    no_memory,
    replace,
    struct,
)
from spinward.experience.batches import check_policy, check_stored
from spinward.experience.wanted import Samples, logged_samples
from spinward.learning import critics, offline
from spinward.learning.minibatches import means
from spinward.learning.offline import Scales, values_of
from spinward.learning.steps import Learner, adam, descend
from spinward.losses.offline import advantage_weight, expectile
from spinward.networks import cloning
from spinward.networks.cloning import StateValue
from spinward.targets.diagnostics import QProbe, running_max
from spinward.targets.values import unrolled


@struct
class Agent:
    actor: Learner
    critic: Learner
    value: Learner
    target: Any  # of the critics
    scales: Scales
    updates: Array


@config
class IQL:
    envs: int = 1  # environments stepped side by side, where a run has more than data
    rollout: int = 100  # steps of each between updates
    updates: int = 100  # gradient steps after them
    batch: int = 256  # samples in each gradient step
    capacity: int = 1_000_000  # env steps kept for replay
    warmup: int = 5_000  # random env steps before the first update
    lr: float = 3e-4  # Adam step size
    anneal_updates: int = 0  # gradient steps over which the actor's falls to 0 by a cosine; 0: none
    gamma: float = 0.99  # discount per step
    tau: float = 0.005  # step of the target critics after each update
    expectile: float = 0.7  # of the actions' values that is the state's; towards 1 it is the best
    beta: float = 3.0  # how much more likely an action with an advantage of 1 becomes, as exp(beta)
    weight_most: float = 100.0  # largest weight of an action
    return_range: float = 0.0  # of the episodes, to which rewards are scaled; 0 leaves them
    normalise_obs: bool = True  # by mean and standard deviation of the data
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    actor: Callable[..., Any] = cloning.policy  # builds the policy network
    critic: Callable[..., Any] = cloning.critics  # builds the networks of actions' values
    value: Callable[..., Any] = StateValue.init  # builds the network of states' values

    memory = staticmethod(no_memory)

    def check(self, spec: Spec) -> None:
        check_policy("iql", spec)
        check_stored(self)

    def wants(self, spec: Spec) -> Samples:
        return logged_samples(self)

    def optimiser(self, lr: float | Array) -> optax.GradientTransformation:
        return adam(lr)

    def init(self, key: Key, spec: Spec) -> Agent:
        keys, sizes = jax.random.split(key, 3), (spec, self.hidden, self.activation)
        makers = zip((self.actor, self.critic, self.value), keys, strict=True)
        models = [make(k, *sizes) for make, k in makers]
        actor, critic, value = (Learner.init(model, self.optimiser(self.lr)) for model in models)
        return Agent(actor, critic, value, critic.model, Scales.init(spec), jnp.int32(0))

    def fit(self, agent: Agent, steps: Transition) -> Agent:
        return replace(agent, scales=offline.fit(agent.scales, steps, self.return_range))

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        return offline.act(self, agent, obs, key, explore), memory, {}

    def log_prob(self, agent: Agent, batch: Transition) -> Array:
        return offline.log_prob(self, agent, batch)

    def update(self, agent: Agent, batches: Transition, key: Key) -> tuple[Agent, Metrics]:
        batches = offline.read(self, agent.scales, batches)
        agent, metrics = jax.lax.scan(self.improved, agent, batches)
        return agent, running_max(metrics)

    def improved(self, agent: Agent, batch: Transition) -> tuple[Agent, Metrics]:
        """The agent after one gradient step of each of its parts, on steps [1, batch]."""
        reward, discount, next_obs = unrolled(batch, self.gamma)
        batch = jax.tree.map(lambda x: x[0], batch)
        q = values_of(agent.target, batch.obs, batch.action).min(0)
        fixed = self.optimiser(self.lr)
        value, valued = descend(self.value_loss, fixed, agent.value, batch, q)
        advantage = q - value.model(batch.obs)
        weight = advantage_weight(advantage, self.beta, self.weight_most)
        annealed = self.optimiser(offline.cosine(self.lr, agent.updates, self.anneal_updates))
        actor, acted = descend(offline.weighted_nll, annealed, agent.actor, batch, weight)
        target = reward + discount * value.model(next_obs)
        critic, metrics = descend(self.loss, fixed, agent.critic, batch, target)
        lagged = optax.incremental_update(critic.model, agent.target, self.tau)
        metrics |= {"actor_loss": acted["loss"], "value_loss": valued["loss"]}
        metrics |= offline.weight_metrics(weight, self.weight_most, batch.weight)
        return Agent(actor, critic, value, lagged, agent.scales, agent.updates + 1), metrics

    def value_loss(self, value: Any, batch: Transition, q: Array) -> tuple[Array, Metrics]:
        error = q - value(batch.obs)
        return means({"loss": expectile(error, self.expectile)}, batch.weight)["loss"], {}

    def loss(self, critic: Any, batch: Transition, target: Array) -> tuple[Array, Metrics]:
        q = values_of(critic, batch.obs, batch.action)
        return critics.td_loss(q, target, batch.weight, batch.reward)

    def probe(self, agent: Agent, batch: Transition) -> QProbe:
        return offline.probe(self, agent.scales, agent.critic.model, agent.target, batch)
