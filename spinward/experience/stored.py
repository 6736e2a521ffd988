"""What a ring holds, read without drawing from it."""

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
    """The ring of single steps that batches of `source` are drawn from; None if there is none.
    It has a leading axis of seeds, but for logged data, which all seeds share."""
    if isinstance(source, LoggedSteps):
        return source.ring
    steps = isinstance(source, Replay) and isinstance(source.layout, StepLayout)
    return replace(state, source=()) if steps else None


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
