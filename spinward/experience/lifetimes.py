"""Many agents at once; each lifetime has one agent and one task."""

from typing import Any

import jax
import jax.numpy as jnp

from spinward.core import Key, Memory, Metrics, Policy, Spec, Tasks, Transition, config
from spinward.envs.several import Several
from spinward.experience.rollout import Rollout


@config
class Lifetimes:
    """The steps of `agents` lifetimes. Each agent learns `updates` times before it is evaluated.

    Where the environment has `sample_task(key)`, each lifetime has its own task.
    """

    source: Any  # a Rollout
    agents: int
    updates: int

    @property
    def spec(self) -> Spec:
        return self.source.spec

    @property
    def stride(self) -> int:
        return self.source.stride * self.agents * (self.updates + 1)

    def task(self, key: Key) -> Rollout:
        """The source of one lifetime."""
        env = self.source.env
        task = env.sample_task(key) if isinstance(env, Tasks) else env
        return Rollout(task, self.source.envs, self.source.steps)

    @property
    def kinds(self) -> int:
        """How many kinds of tasks there are."""
        return self.source.env.kinds if isinstance(self.source.env, Several) else 1

    def kind(self, task: Rollout) -> Any:
        """The kind of a task, as a number."""
        return task.env.which if isinstance(task.env, Several) else 0

    def init(self, key: Key, memory: Memory) -> Any:
        """All tasks, and the state of each."""
        k_task, k_state = jax.random.split(key)
        tasks = jax.vmap(self.task)(jax.random.split(k_task, self.agents))
        keys = jax.random.split(k_state, self.agents)
        return tasks, jax.vmap(lambda task, k: task.init(k, memory))(tasks, keys)

    def collect(self, state: Any, policy: Policy, key: Key) -> tuple[Any, Transition, Metrics]:
        """One rollout of every lifetime by the same policy: [life, time, env]."""
        tasks, states = state
        keys = jax.random.split(key, self.agents)
        states, batch, metrics = jax.vmap(lambda task, s, k: task.collect(s, policy, k))(
            tasks, states, keys
        )
        return (tasks, states), batch, merged(metrics)


def merged(metrics: Metrics) -> Metrics:
    """The number of episodes in the rollouts [life, rollout], and the means over episodes."""
    episodes = metrics["episodes"].sum()
    share = metrics["episodes"] / jnp.maximum(episodes, 1)
    means = {name: (share * metrics[name]).sum() for name in ("episode_return", "episode_length")}
    return {"episodes": episodes, **means}
