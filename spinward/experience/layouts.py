"""Layouts of stored experience: how rows are written to a ring and how batches are sampled.

Layouts are pure functions of the store of one seed. Replay writes to the store all the time; logged
data fill the store once.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import ENV_REWARD, Key, Transition, config, replace, struct
from spinward.experience.frames import Frames, without_images
from spinward.experience.priorities import FLOOR, Priorities, importance
from spinward.networks.recurrent import MEMORY

FLAT = ("action", "reward", "terminated", "truncated", "weight")


@struct
class ReplayState:
    source: Any
    data: Transition  # leaves [rows, env, ...]; a row is one step of all envs
    rows: Array  # number ever written; the next row goes to `rows % capacity`
    frames: Any = ()  # Frames, where images are stored once; `data.obs` then holds image numbers
    priorities: Any = ()  # Priorities [rows * env] of the first steps of windows


@config
class StepLayout:
    """A row is one step of all environments; windows are [updates, window, batch]."""

    capacity: int  # rows
    steps: int  # rows written at once; 0 for a ring without writes
    updates: int
    batch: int
    window: int = 1
    stack: int = 1
    prioritised: bool = False
    alpha: float = 0.6
    beta: float = 0.4
    keep: tuple[str, ...] = ()  # extras that are stored

    def row(self, batch: Transition) -> Transition:
        """`batch` as rows of the ring."""
        return replace(batch, extras={name: batch.extras[name] for name in self.keep})

    def empty(self, batch: Transition) -> ReplayState:
        """An empty ring for rows like the rows of `batch`."""
        return empty(self, self.row(batch))

    def first_priorities(self, state: ReplayState) -> Any:
        """The priorities of a full ring: equal for all complete windows."""
        if not self.prioritised:
            return ()
        envs = state.data.reward.shape[1]
        whole = cells(jnp.arange(self.capacity - (self.window - 1)), envs)
        return Priorities.init(self.capacity * envs).put(whole, jnp.ones(whole.shape))

    def write(self, state: ReplayState, batch: Transition) -> ReplayState:
        new = batch.reward.shape[0]
        return add_priorities(self, store(self, state, self.row(batch)), new)

    def sample(self, state: ReplayState, key: Key) -> Transition:
        return draw(self, state, key)

    def add_and_sample(
        self, state: ReplayState, new: Transition, key: Key
    ) -> tuple[ReplayState, Transition]:
        """The ring with the rows of `new`, and windows of the rows before `new`."""
        after = store(self, state, self.row(new))
        # Read the ring after the write, but not the new rows; otherwise XLA keeps and copies two
        # rings.
        frames = replace(state.frames, ring=after.frames.ring) if self.stack > 1 else ()
        batch = draw(self, replace(state, data=after.data, frames=frames), key)
        return add_priorities(self, after, new.reward.shape[0]), batch

    def update_priorities(
        self, state: ReplayState, batch: Transition, priority: Array
    ) -> ReplayState:
        """The ring with the `priority` [updates, batch] of the windows of `batch`: the sizes of
        their errors. Steps that were taken after the batch was sampled must be stored before
        this."""
        return update_priorities(self, state, batch.extras["index"], batch.weight, priority)


@config
class SequenceLayout:
    """A row is `length` steps of all environments and the memory before the first of these steps.
    Sequences are [updates, window, batch] and start at the start of a row.

    Departs from Kapturowski et al. (2019): a sequence may cross the end of an episode, where the
    reader starts with a new memory. So no episode is too short, and nothing is padded.
    """

    capacity: int  # rows
    length: int  # steps of each environment in a row
    updates: int
    batch: int
    sequence: int  # steps of a sequence
    prioritised: bool = False
    alpha: float = 0.6
    beta: float = 0.4

    @property
    def rows(self) -> StepLayout:
        """The layout of rows, each treated as one step."""
        count = -(-self.sequence // self.length)
        sizes = self.capacity, 1, self.updates, self.batch, count
        return StepLayout(*sizes, 1, self.prioritised, self.alpha, self.beta)

    def row(self, batch: Transition) -> Transition:
        """Steps [time, env, ...] as one row [1, env, time, ...], with the extras inside `obs`."""
        extras = dict(batch.extras)
        memory = jax.tree.map(lambda x: x[:1], extras.pop(MEMORY))
        steps = replace(batch, obs={"obs": batch.obs, "extras": extras}, extras={})
        row: Transition = jax.tree.map(lambda x: jnp.moveaxis(jnp.asarray(x), 0, 1)[None], steps)
        return replace(row, obs={**row.obs, "memory": memory})

    def empty(self, batch: Transition) -> ReplayState:
        return self.rows.empty(self.row(batch))

    def write(self, state: ReplayState, batch: Transition) -> ReplayState:
        return self.rows.write(state, self.row(batch))

    def sample(self, state: ReplayState, key: Key) -> Transition:
        """Sequences with the `extras` of `act` and the environment's own reward, which a reward
        source may replace later. `MEMORY` is [updates, 1, batch, ...]."""
        windows = draw(self.rows, state, key)  # [updates, rows, batch, steps, ...]

        def in_time(x: Array) -> Array:
            steps = jnp.moveaxis(x, 3, 2)
            return steps.reshape(x.shape[0], -1, x.shape[2], *x.shape[4:])[:, : self.sequence]

        memory = jax.tree.map(lambda x: x[:, :1], windows.obs["memory"])
        flat = {name: in_time(getattr(windows, name)) for name in FLAT}
        extras, obs, next_obs = jax.tree.map(
            in_time, (windows.obs["extras"], windows.obs["obs"], windows.next_obs)
        )
        extras = {**extras, **windows.extras, MEMORY: memory, ENV_REWARD: flat["reward"]}
        return Transition(**flat, obs=obs, next_obs=next_obs, extras=extras)

    def add_and_sample(
        self, state: ReplayState, new: Transition, key: Key
    ) -> tuple[ReplayState, Transition]:
        """The ring with `new`, and sequences of the rows before `new`."""
        after = store(self.rows, state, self.row(new))
        batch = self.sample(replace(state, data=after.data), key)
        return add_priorities(self.rows, after, 1), batch

    def update_priorities(
        self, state: ReplayState, batch: Transition, priority: Array
    ) -> ReplayState:
        """The ring with the `priority` [updates, batch] of the sequences of `batch`."""
        weight = batch.weight.max(1, keepdims=True)  # above 0 where any of its steps happened
        return update_priorities(self.rows, state, batch.extras["index"], weight, priority)


def empty(layout: StepLayout, batch: Transition) -> ReplayState:
    frames, priorities = (), ()  # type: Any, Any
    envs = batch.reward.shape[1]
    if layout.stack > 1:
        frames = Frames.init(batch.obs, layout.capacity, layout.stack, layout.steps)
        batch = without_images(batch, jnp.zeros((1, envs), jnp.int32))
    if layout.prioritised:
        priorities = Priorities.init(layout.capacity * envs)
    data = jax.tree.map(lambda x: jnp.zeros((layout.capacity, *x.shape[1:]), x.dtype), batch)
    return ReplayState((), data, jnp.int32(0), frames, priorities)


def store(layout: StepLayout, state: ReplayState, batch: Transition) -> ReplayState:
    """The ring with the rows of `batch`, before their priorities are added."""
    frames = state.frames
    if layout.stack > 1:
        frames, newest = frames.add(batch, layout.stack)
        batch = without_images(batch, newest)
    return ReplayState((), *add(state.data, state.rows, batch), frames, state.priorities)


def add(data: Transition, rows: Array, batch: Transition) -> tuple[Transition, Array]:
    """The ring with the rows of `batch`; their number must divide the capacity."""
    at = rows % data.reward.shape[0]
    put = partial(jax.lax.dynamic_update_slice_in_dim, start_index=at, axis=0)
    data = jax.tree.map(lambda d, x: put(d, x.astype(d.dtype)), data, batch)
    return data, rows + batch.reward.shape[0]


def add_priorities(layout: StepLayout, state: ReplayState, new: int) -> ReplayState:
    """The ring with the highest priority for the windows that the `new` rows completed, and
    priority 0 for the windows that the next rows will overwrite."""
    if not layout.prioritised:
        return state
    envs, nowhere = state.data.reward.shape[1], state.priorities.levels[0].shape[0]
    first = state.rows - new - (layout.window - 1) + jnp.arange(new)
    whole = cells(first % layout.capacity, envs)
    whole = jnp.where(jnp.repeat(first >= 0, envs), whole, nowhere)
    priorities = state.priorities.put(whole, jnp.full(whole.shape, state.priorities.top))
    next_rows = cells((state.rows + jnp.arange(layout.steps)) % layout.capacity, envs)
    return replace(state, priorities=priorities.put(next_rows, jnp.zeros(next_rows.shape)))


def cells(row: Array, envs: int) -> Array:
    """The numbers [rows * envs] of the steps in `row` [rows]."""
    return (row[:, None] * envs + jnp.arange(envs)).reshape(-1)


def draw(layout: StepLayout, state: ReplayState, key: Key) -> Transition:
    """Windows [updates, window, batch] of the stored rows.

    The oldest `steps` rows are left out, because the next rows may have overwritten them already.
    """
    capacity, envs = state.data.reward.shape[:2]
    before = layout.window - 1
    held = jnp.minimum(state.rows, capacity - layout.steps) - before
    extras = {}
    if layout.prioritised:
        index, probability = state.priorities.draw(key, layout.updates, layout.batch)
        weights = importance(probability, held * envs, layout.beta)
        extras = {"index": index, "importance": weights}
        row, env = index[:, None] // envs, index[:, None] % envs
    else:
        # Remainders of 32 random bits are uniform to a part in thousands for a ring of a million
        # rows, and faster than `randint`, which took half of the time of this function.
        bits = jax.random.bits(key, (2, layout.updates, 1, layout.batch))
        first = (bits[0] % held.astype(bits.dtype)).astype(jnp.int32)
        row = state.rows - held - before + first
        env = (bits[1] % envs).astype(jnp.int32)
    at = (row + jnp.arange(layout.window)[:, None]) % capacity * envs + env
    batch = jax.tree.map(lambda d: steps_at(d, at), state.data)
    if layout.stack > 1:
        batch = with_images(layout, state.frames, batch, env)
    return replace(batch, extras={**batch.extras, **extras})


def steps_at(data: Array, at: Array) -> Array:
    """The steps with the numbers `at`, from data [rows, env, ...]."""
    return jnp.asarray(data).reshape(-1, *data.shape[2:]).at[at].get(mode="promise_in_bounds")


def with_images(layout: StepLayout, frames: Frames, batch: Transition, env: Array) -> Transition:
    """`batch` with its images. A step has weight 0 if some of its images are overwritten."""
    env = jnp.broadcast_to(env, batch.obs.shape)
    obs, next_obs = frames.stacked(batch.obs, env, layout.stack)
    alive = frames.alive(batch.obs, env, layout.stack, layout.steps)
    return replace(batch, obs=obs, next_obs=next_obs, weight=batch.weight * alive)


def update_priorities(
    layout: StepLayout, state: ReplayState, index: Array, weight: Array, priority: Array
) -> ReplayState:
    """The ring with new odds of the windows `index` [updates, batch], from their priorities."""
    envs, nowhere = state.data.reward.shape[1], state.priorities.levels[0].shape[0]
    odds = (jnp.abs(priority) + FLOOR) ** layout.alpha
    odds = jnp.where(weight.min(1) > 0.0, odds, 0.0).reshape(-1)
    index = index.reshape(-1)
    # Windows that the next rows overwrite keep the 0 that `add_priorities` gave them.
    ahead = (index // envs - state.rows) % layout.capacity
    index = jnp.where(ahead < layout.steps, nowhere, index)
    return replace(state, priorities=state.priorities.put(index, odds).raise_max(odds))
