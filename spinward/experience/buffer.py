"""A ring of rows, which replay fills and draws from: pure functions of the store of one seed."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, Transition, replace, struct
from spinward.experience.frames import Frames, without_images
from spinward.experience.priorities import FLOOR, Priorities, importance


@struct
class ReplayState:
    source: Any
    data: Transition  # leaves [rows, env, ...]; a row is one step of all envs
    rows: Array  # ever written; the next goes to `rows % capacity`
    frames: Any = ()  # Frames, where images are stored once; `data.obs` has their numbers then
    priorities: Any = ()  # Priorities [rows * env] of the steps that a window may begin with


class Sizes(NamedTuple):
    """What storing and drawing depend on."""

    capacity: int
    updates: int
    batch: int
    window: int
    steps: int  # rows written at once
    stack: int
    prioritised: bool


class Sampler(NamedTuple):
    """Draws windows [updates, window, batch] from the store of one seed: a value, so hashable."""

    alpha: float
    beta: float
    sizes: Sizes

    def __call__(self, stored: ReplayState, key: Key) -> Transition:
        return draw(stored, key, self.beta, self.sizes)

    def renewed(
        self, stored: ReplayState, new: Transition, key: Key
    ) -> tuple[ReplayState, Transition]:
        """With the rows of `new`, and windows from before it."""
        following = store(stored, new, self.sizes)
        # Read after the write, though not what was written: else XLA copies the ring to keep both.
        frames = stored.frames
        counted = replace(frames, ring=following.frames.ring) if self.sizes.stack > 1 else ()
        before = replace(stored, data=following.data, frames=counted)
        batch = self(before, key)
        return admit(following, new.reward.shape[0], self.sizes), batch

    def reweighed(self, stored: ReplayState, batch: Transition, priority: Array) -> ReplayState:
        """With the `priority` [updates, batch] of the windows of `batch`: the size of their errors.
        The steps taken since it was drawn are stored before."""
        index, weight = batch.extras["index"], batch.weight
        return reweigh(stored, index, weight, priority, self.alpha, self.sizes)


def empty(batch: Transition, sizes: Sizes) -> ReplayState:
    """A ring for rows like those of `batch`, with nothing in it."""
    frames, priorities = (), ()  # type: Any, Any
    batch = replace(batch, extras={})
    envs = batch.reward.shape[1]
    if sizes.stack > 1:
        frames = Frames.init(batch.obs, sizes.capacity, sizes.stack, sizes.steps)
        batch = without_images(batch, jnp.zeros((1, envs), jnp.int32))
    if sizes.prioritised:
        priorities = Priorities.init(sizes.capacity * envs)
    data = jax.tree.map(lambda x: jnp.zeros((sizes.capacity, *x.shape[1:]), x.dtype), batch)
    return ReplayState((), data, jnp.int32(0), frames, priorities)


def write(state: ReplayState, batch: Transition, sizes: Sizes) -> ReplayState:
    return admit(store(state, batch, sizes), batch.reward.shape[0], sizes)


def store(state: ReplayState, batch: Transition, sizes: Sizes) -> ReplayState:
    """With the rows of `batch`, but as yet without their priorities."""
    frames = state.frames
    if sizes.stack > 1:
        frames, newest = frames.add(batch, sizes.stack)
        batch = without_images(batch, newest)
    return ReplayState((), *add(state.data, state.rows, batch), frames, state.priorities)


def add(data: Transition, rows: Array, batch: Transition) -> tuple[Transition, Array]:
    """The ring with the rows of `batch`, whose number divides that of the ring's."""
    at = rows % data.reward.shape[0]
    put = partial(jax.lax.dynamic_update_slice_in_dim, start_index=at, axis=0)
    data = jax.tree.map(lambda d, x: put(d, x.astype(d.dtype)), data, replace(batch, extras={}))
    return data, rows + batch.reward.shape[0]


def admit(state: ReplayState, new: int, sizes: Sizes) -> ReplayState:
    """With the highest priority for the windows that `new` rows made whole, and none for those
    that the next rows will overwrite."""
    if not sizes.prioritised:
        return state
    envs, nowhere = state.data.reward.shape[1], state.priorities.levels[0].shape[0]
    first = state.rows - new - (sizes.window - 1) + jnp.arange(new)
    whole = cells(first % sizes.capacity, envs)
    whole = jnp.where(jnp.repeat(first >= 0, envs), whole, nowhere)
    priorities = state.priorities.put(whole, jnp.full(whole.shape, state.priorities.top))
    following = cells((state.rows + jnp.arange(sizes.steps)) % sizes.capacity, envs)
    return replace(state, priorities=priorities.put(following, jnp.zeros(following.shape)))


def cells(row: Array, envs: int) -> Array:
    """The numbers [rows * envs] of the steps in `row` [rows]."""
    return (row[:, None] * envs + jnp.arange(envs)).reshape(-1)


def draw(state: ReplayState, key: Key, beta: float | Array, sizes: Sizes) -> Transition:
    """Windows [updates, window, batch] among the newest of the rows written.

    The oldest `steps` are left out, because those to come next may have overwritten them.
    """
    capacity, envs = state.data.reward.shape[:2]
    held = jnp.minimum(state.rows, capacity - sizes.steps) - (sizes.window - 1)
    extras = {}
    if sizes.prioritised:
        index, probability = state.priorities.draw(key, sizes.updates, sizes.batch)
        extras = {"index": index, "importance": importance(probability, held * envs, beta)}
        row, env = index[:, None] // envs, index[:, None] % envs
    else:
        # Remainders of 32 bits: even to a part in thousands for a ring of a million, and quicker
        # than `randint`, which took half of the time of a draw.
        bits = jax.random.bits(key, (2, sizes.updates, 1, sizes.batch))
        first = (bits[0] % held.astype(bits.dtype)).astype(jnp.int32)
        row = state.rows - held - (sizes.window - 1) + first
        env = (bits[1] % envs).astype(jnp.int32)
    at = (row + jnp.arange(sizes.window)[:, None]) % capacity * envs + env
    batch = jax.tree.map(lambda d: steps_at(d, at), state.data)
    if sizes.stack > 1:
        batch = with_images(state.frames, batch, env, sizes)
    return replace(batch, extras=extras)


def steps_at(data: Array, at: Array) -> Array:
    """The steps numbered `at`, of [rows, env, ...]."""
    return jnp.asarray(data).reshape(-1, *data.shape[2:]).at[at].get(mode="promise_in_bounds")


def with_images(frames: Frames, batch: Transition, env: Array, sizes: Sizes) -> Transition:
    """`batch` with its images; a step some of whose are gone does not count."""
    env = jnp.broadcast_to(env, batch.obs.shape)
    obs, next_obs = frames.stacked(batch.obs, env, sizes.stack)
    alive = frames.alive(batch.obs, env, sizes.stack, sizes.steps)
    return replace(batch, obs=obs, next_obs=next_obs, weight=batch.weight * alive)


def reweigh(
    state: ReplayState, index: Array, weight: Array, priority: Array, alpha: Any, sizes: Sizes
) -> ReplayState:
    """With the odds of the windows `index` [updates, batch] that these priorities make."""
    envs, nowhere = state.data.reward.shape[1], state.priorities.levels[0].shape[0]
    odds = jnp.where(weight.min(1) > 0.0, (jnp.abs(priority) + FLOOR) ** alpha, 0.0).reshape(-1)
    index = index.reshape(-1)
    # Those that the next rows overwrite have been taken out by `admit`, and stay so.
    ahead = (index // envs - state.rows) % sizes.capacity
    index = jnp.where(ahead < sizes.steps, nowhere, index)
    return replace(state, priorities=state.priorities.put(index, odds).noted(odds))
