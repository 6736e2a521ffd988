"""Replayed experience: a ring of what a source collects, sampled uniformly in windows of time."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import (
    Discrete,
    Key,
    Memory,
    Metrics,
    Policy,
    Spec,
    Transition,
    config,
    replace,
    struct,
)
from spinward.networks.torso import mask, uniform_choice


@struct
class ReplayState:
    source: Any
    data: Transition  # leaves [rows, env, ...]; a row is one step of all envs
    rows: Array  # ever written; the next goes to `rows % capacity`


@config
class Replay:
    """Stores what `source` collects; batches are [updates, window, batch] of stored steps.

    It draws before it adds, so that neither learning nor stepping waits for the other: a step can
    be replayed one iteration after it was taken. `init` fills it with uniformly random actions.
    """

    source: Any  # a Source of [steps, env]
    capacity: int  # rows kept
    warmup: int  # rows of random actions before the first update; a multiple of the source's steps
    updates: int  # updates in each iteration
    batch: int  # windows in each update
    window: int = 1  # consecutive steps of one env in each sample

    @property
    def on_device(self) -> bool:
        return self.source.on_device

    @property
    def spec(self) -> Spec:
        return self.source.spec

    @property
    def stride(self) -> int:
        return self.source.stride

    def init(self, key: Key, memory: Memory) -> ReplayState:
        spec, warm = self.spec, replace(self.source, steps=self.warmup)

        def act(obs: Any, memory: Memory, key: Key) -> tuple[Array, Memory, dict[str, Any]]:
            if isinstance(spec.action, Discrete):
                shape = (spec.envs, spec.action.n)
                return uniform_choice(key, mask(obs), shape), memory, {}
            return spec.action.sample(key, (spec.envs,)), memory, {}

        policy = Policy(act, lambda envs: memory)
        k_init, k_warm = self.split(key)
        if self.on_device:
            source, batch, _ = warm.collect(self.source.init(k_init, memory), policy, k_warm)
            data, rows = add(empty(batch, self.capacity), jnp.int32(0), batch)
        else:
            policy = policy._replace(act=jax.jit(jax.vmap(act)))
            source, batch, _ = warm.collect(self.source.init(k_init, memory), policy, k_warm)
            data = jax.vmap(partial(empty, capacity=self.capacity))(batch)
            data, rows = add_on_host(data, jnp.zeros(len(key), jnp.int32), batch)
        return ReplayState(source, data, rows)

    def collect(
        self, state: ReplayState, policy: Policy, key: Key
    ) -> tuple[ReplayState, Transition, Metrics]:
        k_draw, k_run = self.split(key)
        following, metrics = self.extend(state, policy, k_run)
        # Read after the write, though not what was written: else XLA copies the ring to keep both.
        batch = self.draw(replace(following, rows=state.rows), k_draw)
        return following, batch, metrics

    def split(self, key: Key) -> Key:
        return jax.random.split(key) if self.on_device else split_on_host(key)

    def reopen(self, saved: ReplayState, fresh: ReplayState) -> ReplayState:
        return replace(saved, source=self.source.reopen(saved.source, fresh.source))

    def close(self) -> None:
        self.source.close()

    def draw(self, state: ReplayState, key: Key) -> Transition:
        """Steps already stored, in windows that begin anywhere but too close to the newest."""
        sizes = (self.updates, self.batch, self.window, self.source.steps)
        return (draw if self.on_device else draw_on_host)(state.data, state.rows, key, sizes)

    def extend(self, state: ReplayState, policy: Policy, key: Key) -> tuple[ReplayState, Metrics]:
        source, batch, metrics = self.source.collect(state.source, policy, key)
        batch = replace(batch, extras={})
        store = add if self.on_device else add_on_host
        return ReplayState(source, *store(state.data, state.rows, batch)), metrics


def empty(batch: Transition, capacity: int) -> Transition:
    """A ring of `capacity` rows like those of `batch`."""
    batch = replace(batch, extras={})
    return jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape[1:]), x.dtype), batch)


def add(data: Transition, rows: Array, batch: Transition) -> tuple[Transition, Array]:
    """The ring with the rows of `batch`, whose number divides that of the ring's."""
    batch = replace(batch, extras={})
    at = rows % data.reward.shape[0]
    put = partial(jax.lax.dynamic_update_slice_in_dim, start_index=at, axis=0)
    data = jax.tree.map(lambda d, x: put(d, x.astype(d.dtype)), data, batch)
    return data, rows + batch.reward.shape[0]


def draw(data: Transition, rows: Array, key: Key, sizes: tuple[int, ...]) -> Transition:
    """Windows [updates, window, batch], uniformly among the newest of the `rows` written.

    The oldest `steps` are left out, because those to come next may have overwritten them.
    """
    updates, batch, window, steps = sizes
    capacity, envs = data.reward.shape[:2]
    held = jnp.minimum(rows, capacity - steps)
    k_row, k_env = jax.random.split(key)
    first = jax.random.randint(k_row, (updates, 1, batch), 0, held - (window - 1))
    env = jax.random.randint(k_env, (updates, 1, batch), 0, envs)
    row = (rows - held + first + jnp.arange(window)[:, None]) % capacity
    return jax.tree.map(lambda d: d.reshape(-1, *d.shape[2:])[row * envs + env], data)


split_on_host = jax.jit(lambda key: jnp.moveaxis(jax.vmap(jax.random.split)(key), 1, 0))
add_on_host = jax.jit(jax.vmap(add), donate_argnums=0)
draw_on_host = jax.jit(
    lambda data, rows, key, sizes: jax.vmap(partial(draw, sizes=sizes))(data, rows, key),
    static_argnums=3,
)
