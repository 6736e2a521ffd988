"""Fitted Q evaluation: the values of a given policy, learned from logged steps (Le et al., 2019,
arXiv:1903.08738), and the policy that logged them, copied.

Both are learned by the loop of every algorithm. What the policy to evaluate does in each state
comes with the steps, so that no policy is called in training.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from spinward.algorithms.bc import BC
from spinward.core import (
    Discrete,
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
from spinward.experience.material import Data, source_for
from spinward.experience.wanted import Samples
from spinward.learning.minibatches import means
from spinward.learning.offline import cosine
from spinward.learning.steps import Learner, adam, descend
from spinward.loop import Parts
from spinward.losses.critics import squares
from spinward.networks.critic import Critics
from spinward.networks.distributions import pick
from spinward.networks.heads import Q
from spinward.networks.normaliser import parts_of, vector
from spinward.programs.choose import program
from spinward.rewards.environment import Environment
from spinward.targets.values import expected

NEXT = "next_policy"  # in extras: what the policy does after each step; see `taken`


@struct
class Agent:
    learner: Learner
    target: Any
    updates: Array


@config
class FittedQ:
    gamma: float = 0.99  # discount per step
    updates: int = 100  # gradient steps in each iteration
    batch: int = 256  # samples in each gradient step
    lr: float = 1e-3  # Adam step size, which falls to 0 by a cosine
    anneal_updates: int = 10_000  # gradient steps over which it falls
    tau: float = 0.05  # step of the target network after each update
    hidden: tuple[int, ...] = (64, 64)  # widths of the hidden layers

    memory = staticmethod(no_memory)

    def check(self, spec: Spec) -> None:
        """Every space is supported."""

    def wants(self, spec: Spec) -> Samples:
        return Samples(1, 1, self.updates, self.batch, 1, 1, keep=(NEXT,))

    def init(self, key: Key, spec: Spec) -> Agent:
        if isinstance(spec.action, Discrete):
            model: Any = Q.init(key, spec, self.hidden, "relu")
        else:
            model = Critics.init(key, spec, self.hidden, "relu", 1)
        return Agent(Learner.init(model, adam(self.lr)), model, jnp.int32(0))

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        raise NotImplementedError("it values a policy, and is none")

    def update(self, agent: Agent, batches: Transition, key: Key) -> tuple[Agent, Metrics]:
        return jax.lax.scan(self.improved, agent, batches)

    def improved(self, agent: Agent, batch: Transition) -> tuple[Agent, Metrics]:
        """The agent after one gradient step on steps [1, batch]."""
        batch = jax.tree.map(lambda x: x[0], batch)
        after = under(agent.target, batch.next_obs, batch.extras[NEXT])
        target = batch.reward + self.gamma * (1.0 - batch.terminated) * after
        lr = cosine(self.lr, agent.updates, self.anneal_updates)
        learner, metrics = descend(self.loss, adam(lr), agent.learner, batch, target)
        lagged = optax.incremental_update(learner.model, agent.target, self.tau)
        return Agent(learner, lagged, agent.updates + 1), metrics

    def loss(self, model: Any, batch: Transition, target: Array) -> tuple[Array, Metrics]:
        error = squares(taken(model, batch.obs, batch.action)[None], target)
        return means({"loss": error}, batch.weight)["loss"], {}


def taken(model: Any, obs: Obs, action: Array) -> Array:
    """The values [...] of actions."""
    return pick(model(obs), action) if isinstance(model, Q) else model(obs, action)[0]


def under(model: Any, obs: Obs, policy: Array) -> Array:
    """The values [batch] of states under a policy: `policy` has the probabilities [batch, actions]
    of its choices, or some of its actions [batch, samples, ...]."""
    if isinstance(model, Q):
        return expected(model(obs), policy)
    each = jax.vmap(lambda action: model(obs, action)[0], 1)(policy)
    return jax.lax.stop_gradient(each.mean(0))


def learn(algorithm: Any, steps: Transition, spec: Spec, updates: int, seed: int = 0) -> Any:
    """The agent of `algorithm` after so many gradient steps on logged `steps`."""
    source = source_for(algorithm.wants(spec), None, Data(steps, spec))
    run = program(Parts(algorithm, source, Environment()))
    state = run.start(jax.random.PRNGKey(seed)[None])
    state, _ = run.advance(state, -(-updates // algorithm.updates))
    return jax.tree.map(lambda x: x[0], state.agent)


def copied(steps: Transition, spec: Spec, updates: int, seed: int = 0) -> Any:
    """A model of the policy that took the `steps`."""
    algorithm = BC(updates=100, hidden=(64, 64), lr=1e-3)
    return learn(algorithm, replace(steps, extras={}), spec, updates, seed).model


def standardised(steps: Transition) -> Transition:
    """Steps whose observations, if they are vectors, have mean 0 and standard deviation 1; images
    and masks are unchanged."""
    now, after = dict(parts_of(steps.obs)), dict(parts_of(steps.next_obs))
    for name, x in now.items():
        if vector(name, jnp.asarray(x), 1):
            mean, spread = np.mean(x, 0), np.std(x, 0) + 1e-6
            pair = ((np.asarray(y) - mean) / spread for y in (x, after[name]))
            now[name], after[name] = map(np.float32, pair)
    return replace(steps, obs=now.get("", now), next_obs=after.get("", after))
