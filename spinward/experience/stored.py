"""What a ring holds, read without drawing from it; and a ring around a source that has none."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Key, Memory, Metrics, Policy, Spec, Transition, config, replace
from spinward.experience.replay import ReplayState, add, add_on_host


@config
class Recorded:
    """Passes on what `source` collects, and keeps the newest of it in a ring."""

    source: Any  # a Source of [steps, env]
    capacity: int  # rows kept: a multiple of the source's steps

    @property
    def on_device(self) -> bool:
        return self.source.on_device

    @property
    def spec(self) -> Spec:
        return self.source.spec

    @property
    def stride(self) -> int:
        return self.source.stride

    @property
    def keys(self) -> Any:
        return self.source.keys

    def init(self, key: Key, memory: Memory) -> ReplayState:
        leading = () if self.on_device else (len(key),)
        data = blank(self.spec, (*leading, self.capacity, self.spec.envs))
        return ReplayState(self.source.init(key, memory), data, jnp.zeros(leading, jnp.int32))

    def collect(
        self, state: ReplayState, policy: Policy, key: Key
    ) -> tuple[ReplayState, Transition, Metrics]:
        source, batch, metrics = self.source.collect(state.source, policy, key)
        store = add if self.on_device else add_on_host
        kept = replace(batch, extras={})
        return ReplayState(source, *store(state.data, state.rows, kept)), batch, metrics

    def reopen(self, saved: ReplayState, fresh: ReplayState) -> ReplayState:
        source = self.source.reopen(saved.source, fresh.source)
        return ReplayState(source, saved.data, saved.rows)

    def close(self) -> None:
        self.source.close()


def blank(spec: Spec, shape: tuple[int, ...]) -> Transition:
    """A ring [*shape, ...] of the steps of such an environment."""
    obs: Any = jax.tree.map(jnp.asarray, spec.zeros(*shape))
    kind = jnp.float32 if isinstance(spec.action, Box) else jnp.int32
    action = jnp.zeros((*shape, *spec.action.shape), kind)
    number, flag = jnp.zeros(shape), jnp.zeros(shape, bool)
    steps = Transition(obs, action, number, flag, flag, obs, number, {})
    return jax.tree.map(jnp.copy, steps)  # a buffer of its own for each, to be donated


def written(state: Any) -> int:
    """How many rows were ever written, of all seeds alike [seed]."""
    return int(np.asarray(state.rows).flat[0])


def capacity(state: Any) -> int:
    """How many of them are still there, at most."""
    return state.data.reward.shape[1]


def steps_at(state: Any, row: Array, env: Array, stack: int = 1) -> Transition:
    """The steps [...] of one seed in these rows, counted from the first ever written, and envs."""
    at = row % state.data.reward.shape[0], env
    steps = jax.tree.map(lambda x: x[at], state.data)
    if stack > 1:  # images, of which the ring has the numbers
        obs, next_obs = state.frames.stacked(steps.obs, env, stack)
        steps = replace(steps, obs=obs, next_obs=next_obs)
    return steps


@functools.cache
def scattered(count: int, stack: int) -> Callable[[Any, Array], Transition]:
    """A function of a ring and of a row, the same for the same sizes, so that it compiles once: so
    many rows from that one [seed, count, env, ...], wherever they are."""

    def whole(state: Any, first: Array) -> Transition:
        envs = jnp.arange(state.data.reward.shape[1])
        row, env = jnp.broadcast_arrays(first + jnp.arange(count)[:, None], envs)
        return steps_at(state, row, env, stack)

    return jax.vmap(whole, (0, None))
