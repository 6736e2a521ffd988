"""Reads the contents of a ring without sampling."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Transition, replace
from spinward.experience.layouts import StepLayout
from spinward.experience.logged import LoggedSteps
from spinward.experience.replay import Replay


def ring(source: Any, state: Any) -> Any:
    """The ring of single steps that `source` samples from; None if there is none. The ring has a
    leading axis of seeds, except for logged data, which all seeds share."""
    if isinstance(source, LoggedSteps):
        return source.ring
    steps = isinstance(source, Replay) and isinstance(source.layout, StepLayout)
    return replace(state, source=()) if steps else None


def rows_written(state: Any) -> int:
    """How many rows were ever written; the number is the same for all seeds."""
    return int(np.asarray(state.rows).flat[0])


def capacity(state: Any) -> int:
    """How many rows the ring holds at most."""
    return state.data.reward.shape[1]


def steps_at(state: Any, row: Array, env: Array, stack: int = 1) -> Transition:
    """The steps [...] of one seed in these rows and envs. Rows count from the first ever
    written."""
    at = row % state.data.reward.shape[0], env
    steps = jax.tree.map(lambda x: x[at], state.data)
    if stack > 1:  # `obs` holds image numbers
        obs, next_obs = state.frames.stacked(steps.obs, env, stack)
        steps = replace(steps, obs=obs, next_obs=next_obs)
    return steps


@functools.cache
def scattered(count: int, stack: int) -> Callable[[Any, Array], Transition]:
    """A function from a ring and a first row to `count` rows [seed, count, env, ...]. The cache
    returns the same function for the same sizes, so that it compiles once."""

    def whole(state: Any, first: Array) -> Transition:
        envs = jnp.arange(state.data.reward.shape[1])
        row, env = jnp.broadcast_arrays(first + jnp.arange(count)[:, None], envs)
        return steps_at(state, row, env, stack)

    return jax.vmap(whole, (0, None))
