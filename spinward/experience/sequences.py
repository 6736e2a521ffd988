"""Replayed sequences, each with the memory that its policy had at its start (Kapturowski et al.,
2019, "Recurrent experience replay in distributed reinforcement learning").

What is collected at once is a row of the ring of `replay.py`: `source.steps` steps of each
environment, and the memory before the first of them. A sequence begins where such a row does, so
with rows half as long as sequences these overlap by half, as in the paper.

Departs from the paper: a sequence may go over the end of an episode, where whoever reads it begins
with a new memory; so no episode is too short, and nothing is padded.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, Memory, Metrics, Policy, Spec, Transition, config, replace
from spinward.experience.buffer import (
    ReplayState,
    Sizes,
    admit,
    draw,
    empty,
    reweigh,
    store,
    write,
)
from spinward.experience.replay import reweigh_on_host, split_on_host
from spinward.networks.recurrent import MEMORY

FLAT = ("action", "reward", "terminated", "truncated", "weight")


class SequenceSampler(NamedTuple):
    """Draws sequences [updates, window, batch] from the store of one seed: a value, so hashable.

    `extras` are those that `act` left; `MEMORY` is [updates, 1, batch, ...].
    """

    alpha: float
    beta: float
    sizes: Sizes
    window: int

    def __call__(self, stored: ReplayState, key: Key) -> Transition:
        drawn = draw(stored, key, self.beta, self.sizes)  # [updates, rows, batch, steps, ...]

        def in_time(x: Array) -> Array:
            steps = jnp.moveaxis(x, 3, 2)
            return steps.reshape(x.shape[0], -1, x.shape[2], *x.shape[4:])[:, : self.window]

        memory = jax.tree.map(lambda x: x[:, :1], drawn.obs["memory"])
        flat = {name: in_time(getattr(drawn, name)) for name in FLAT}
        extras, obs, next_obs = jax.tree.map(
            in_time, (drawn.obs["extras"], drawn.obs["obs"], drawn.next_obs)
        )
        extras = {**extras, **drawn.extras, MEMORY: memory}
        return Transition(**flat, obs=obs, next_obs=next_obs, extras=extras)

    def renewed(
        self, stored: ReplayState, new: Transition, key: Key
    ) -> tuple[ReplayState, Transition]:
        """With `new`, and sequences from before it."""
        following = store(stored, as_row(new), self.sizes)
        # Read after the write, though not what was written: else XLA copies the ring to keep both.
        batch = self(replace(stored, data=following.data), key)
        return admit(following, 1, self.sizes), batch

    def reweighed(self, stored: ReplayState, batch: Transition, priority: Array) -> ReplayState:
        """With the `priority` [updates, batch] of the sequences of `batch`."""
        happened = batch.weight.max(1, keepdims=True)
        index = batch.extras["index"]
        return reweigh(stored, index, happened, priority, self.alpha, self.sizes)


def as_row(batch: Transition) -> Transition:
    """Steps [time, env, ...] as one row [1, env, time, ...], the extras beside observations."""
    extras = dict(batch.extras)
    memory = jax.tree.map(lambda x: x[:1], extras.pop(MEMORY))
    steps = replace(batch, obs={"obs": batch.obs, "extras": extras}, extras={})
    row: Transition = jax.tree.map(lambda x: jnp.moveaxis(jnp.asarray(x), 0, 1)[None], steps)
    return replace(row, obs={**row.obs, "memory": memory})


def write_row(state: ReplayState, batch: Transition, sizes: Sizes) -> ReplayState:
    return write(state, as_row(batch), sizes)


def empty_of(batch: Transition, sizes: Sizes) -> ReplayState:
    """A ring for rows like that of `batch`."""
    return empty(as_row(batch), sizes)


@config
class Sequences:
    """Stores what `source` collects; batches are [updates, window, batch] of stored steps. As
    `Replay` does, it draws before it adds. `init` fills it by `act`, without an agent."""

    source: Any  # a Source of [steps, env]
    act: Callable[..., Any]  # (spec, obs, memory, key) -> action, memory, extras
    capacity: int  # rows kept
    warmup: int  # rows of `act` before the first update
    updates: int  # updates in each iteration
    batch: int  # sequences in each update
    window: int  # steps in each sequence
    prioritised: bool = False  # draw by the priorities that `reweigh` is told, not uniformly
    alpha: float = 0.6  # exponent of a priority in the odds of being drawn
    beta: float = 0.4  # exponent of what makes up for those odds: `extras["importance"]`

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

    @property
    def sizes(self) -> Sizes:
        rows = -(-self.window // self.source.steps)
        return Sizes(self.capacity, self.updates, self.batch, rows, 1, 1, self.prioritised)

    @property
    def sampler(self) -> SequenceSampler:
        return SequenceSampler(self.alpha, self.beta, self.sizes, self.window)

    def init(self, key: Key, memory: Memory) -> ReplayState:
        k_init, k_warm = self.split(key)
        policy = Policy(partial(self.act, self.spec), lambda envs: memory)
        fill = self.fill if self.on_device else self.fill_on_host
        return fill(self.source.init(k_init, memory), policy, k_warm)

    def fill(self, source: Any, policy: Policy, key: Key) -> ReplayState:
        """The ring with its first rows."""

        def step(state: ReplayState, key: Key) -> tuple[ReplayState, None]:
            source, batch, _ = self.source.collect(state.source, policy, key)
            return replace(
                write_row(replace(state, source=()), batch, self.sizes), source=source
            ), None

        shapes = jax.eval_shape(lambda s: self.source.collect(s, policy, key)[1], source)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        state = replace(empty_of(zeros, self.sizes), source=source)
        return jax.lax.scan(step, state, jax.random.split(key, self.warmup))[0]

    def fill_on_host(self, source: Any, policy: Policy, key: Key) -> ReplayState:
        policy = policy._replace(act=jax.jit(jax.vmap(policy.act)))
        state: Any = None
        for k_part in [key] if self.warmup == 1 else split_on_host(key, self.warmup):
            source, batch, _ = self.source.collect(source, policy, k_part)
            if state is None:
                state = jax.vmap(partial(empty_of, sizes=self.sizes))(batch)
            state = write_on_host(state, batch, self.sizes)
        return replace(state, source=source)

    def collect(
        self, state: ReplayState, policy: Policy, key: Key
    ) -> tuple[ReplayState, Transition, Metrics]:
        k_draw, k_run = self.split(key)
        source, new, metrics = self.source.collect(state.source, policy, k_run)
        renewed = self.sampler.renewed if self.on_device else jax.vmap(self.sampler.renewed)
        following, batch = renewed(replace(state, source=()), new, k_draw)
        return replace(following, source=source), batch, metrics

    def split(self, key: Key) -> Key:
        return jax.random.split(key) if self.on_device else split_on_host(key, 2)

    def reopen(self, saved: ReplayState, fresh: ReplayState) -> ReplayState:
        return replace(saved, source=self.source.reopen(saved.source, fresh.source))

    def close(self) -> None:
        self.source.close()

    def stored(self, state: ReplayState, source: Any, batch: Transition) -> ReplayState:
        put = write_row if self.on_device else write_on_host
        return replace(put(replace(state, source=()), batch, self.sizes), source=source)

    def reweigh(self, state: ReplayState, batch: Transition, priority: Array) -> ReplayState:
        """See `SequenceSampler.reweighed`."""
        raised = self.sampler.reweighed if self.on_device else reweigh_on_host(self.sampler)
        return replace(raised(replace(state, source=()), batch, priority), source=state.source)


write_on_host = jax.jit(
    lambda state, batch, sizes: jax.vmap(partial(write_row, sizes=sizes))(state, batch),
    static_argnums=2,
    donate_argnums=0,
)
