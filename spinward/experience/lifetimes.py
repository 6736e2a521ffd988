"""Many agents at once, each in a task of its own for as long as it lives."""

from typing import Any

import jax
import jax.numpy as jnp

from spinward.core import Key, Memory, Metrics, Policy, Spec, Tasks, Transition, config
from spinward.envs.several import Several
from spinward.experience.rollout import Rollout


@config
class Lifetimes:
    """Steps of so many `lives`, whose agents learn `updates` times before they are judged.

    A life has a task where the environment has `drawn(key)`; otherwise all are in the same.
    """

    source: Any  # a Rollout
    lives: int
    updates: int

    @property
    def spec(self) -> Spec:
        return self.source.spec

    @property
    def stride(self) -> int:
        return self.source.stride * self.lives * (self.updates + 1)

    def task(self, key: Key) -> Rollout:
        """The source of one life."""
        env = self.source.env
        task = env.drawn(key) if isinstance(env, Tasks) else env
        return Rollout(task, self.source.envs, self.source.steps)

    @property
    def kinds(self) -> int:
        """How many kinds of tasks there are."""
        return self.source.env.kinds if isinstance(self.source.env, Several) else 1

    def kind(self, task: Rollout) -> Any:
        """Which of them a task is."""
        return task.env.which if isinstance(task.env, Several) else 0

    def init(self, key: Key, memory: Memory) -> Any:
        """All tasks, and the state of each."""
        k_task, k_state = jax.random.split(key)
        tasks = jax.vmap(self.task)(jax.random.split(k_task, self.lives))
        keys = jax.random.split(k_state, self.lives)
        return tasks, jax.vmap(lambda task, k: task.init(k, memory))(tasks, keys)

    def collect(self, state: Any, policy: Policy, key: Key) -> tuple[Any, Transition, Metrics]:
        """One rollout of every life by the same policy: [life, time, env]."""
        tasks, states = state
        keys = jax.random.split(key, self.lives)
        states, batch, ran = jax.vmap(lambda task, s, k: task.collect(s, policy, k))(
            tasks, states, keys
        )
        return (tasks, states), batch, together(ran)


def together(ran: Metrics) -> Metrics:
    """What the rollouts [life, rollout] came to."""
    episodes = ran["episodes"].sum()
    share = ran["episodes"] / jnp.maximum(episodes, 1)
    found = {name: (share * ran[name]).sum() for name in ("episode_return", "episode_length")}
    return {"episodes": episodes, **found}
