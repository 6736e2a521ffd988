"""Replayed experience: a ring of what a source collects, laid out and drawn from by a layout."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import (
    Box,
    Discrete,
    Key,
    Memory,
    Metrics,
    Policy,
    Spec,
    Transition,
    config,
    replace,
)
from spinward.experience.layouts import ReplayState, StepLayout
from spinward.networks.torso import mask, uniform_choice


def random_action(
    spec: Spec, obs: Any, memory: Memory, key: Key
) -> tuple[Array, Memory, dict[str, Any]]:
    """A uniformly random one that is allowed, before there is an agent, and its probability."""
    if isinstance(spec.action, Discrete):
        allowed = mask(obs)
        action = uniform_choice(key, allowed, (spec.envs, spec.action.n))
        count = spec.action.n if allowed is None else allowed.sum(-1)
        return action, memory, {"log_prob": -jnp.log(jnp.broadcast_to(count, (spec.envs,)))}
    action = spec.action.sample(key, (spec.envs,))
    return action, memory, {}


@config
class Replay:
    """Stores what `source` collects and hands out what `layout` draws, of the steps before those
    that were taken last: so that neither learning nor stepping waits for the other.

    `init` fills the ring by `act`, without an agent; a step that depended on whether there is
    enough would run both branches and copy the ring. All methods are of one seed.
    """

    source: Any  # a Source of [steps, env]
    layout: Any  # a StepLayout or a SequenceLayout
    warmup: int  # rows of the ring by `act` before the first update
    act: Callable[..., Any] = random_action  # (spec, obs, memory, key) -> action, memory, extras
    logged: Any = None  # a LoggedSteps: a share of every batch is drawn from it
    passes_on: bool = False  # hand out what was collected itself, and only keep it in the ring

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
    def written(self) -> int:
        """Rows of the ring that one rollout of the source is."""
        return self.source.steps if isinstance(self.layout, StepLayout) else 1

    def init(self, key: Key, memory: Memory) -> ReplayState:
        if self.passes_on:
            return ReplayState(self.source.init(key, memory), self.blank(), jnp.int32(0))
        k_init, k_warm = jax.random.split(key)
        source = self.source.init(k_init, memory)
        warm, parts = self.filling()
        policy = self.filler(memory)

        def step(state: ReplayState, key: Key) -> tuple[ReplayState, None]:
            source, batch, _ = warm.collect(state.source, policy, key)
            return replace(self.write(replace(state, source=()), batch), source=source), None

        shapes = jax.eval_shape(lambda s: warm.collect(s, policy, k_warm)[1], source)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        state = replace(self.layout.empty(zeros), source=source)
        if parts == 1:
            return step(state, k_warm)[0]
        return jax.lax.scan(step, state, jax.random.split(k_warm, parts))[0]

    def filling(self) -> tuple[Any, int]:
        """The source whose batches fill the ring at first, and how many of them.

        Images come in many small batches: one of all the warm-up would not fit.
        """
        if isinstance(self.layout, StepLayout) and self.layout.stack == 1:
            return replace(self.source, steps=self.warmup), 1
        return self.source, self.warmup // self.written

    def filler(self, memory: Memory) -> Policy:
        """What acts before there is an agent."""
        spec, act = self.spec, self.act
        return Policy(lambda *args: act(spec, *args), lambda envs: memory)

    def collect(
        self, state: ReplayState, policy: Policy, key: Key
    ) -> tuple[ReplayState, Transition, Metrics]:
        k_draw, k_run = self.split(key)
        source, new, metrics = self.source.collect(state.source, policy, k_run)
        state, batch = self.add_and_sample(replace(state, source=()), new, k_draw)
        return replace(state, source=source), batch, metrics

    def split(self, key: Key) -> tuple[Key, Key]:
        """Keys for drawing and for the source, which has `key` itself where nothing is drawn."""
        return (key, key) if self.passes_on else tuple(jax.random.split(key))  # type: ignore[return-value]

    def write(self, state: ReplayState, batch: Transition) -> ReplayState:
        """The ring with what was collected."""
        return self.layout.write(state, batch)

    def sample(self, state: ReplayState, key: Key) -> Transition:
        """A batch from the ring."""
        return self.with_logged(self.layout.sample(state, key), key)

    def add_and_sample(
        self, state: ReplayState, new: Transition, key: Key
    ) -> tuple[ReplayState, Transition]:
        """The ring with what is `new`, and a batch from before it."""
        if self.passes_on:
            return self.write(state, new), new
        state, batch = self.layout.add_and_sample(state, new, key)
        return state, self.with_logged(batch, key)

    def with_logged(self, batch: Transition, key: Key) -> Transition:
        """`batch` and, along the axis of windows, what is drawn from logged data."""
        if self.logged is None:
            return batch
        drawn = self.logged.sample(jax.random.fold_in(key, 1))

        def join(a: Array, b: Array) -> Array:
            return jnp.concatenate([a, b.astype(a.dtype)], 2)

        joined: Transition = jax.tree.map(join, batch, drawn)
        return joined

    def update_priorities(
        self, state: ReplayState, batch: Transition, priority: Array
    ) -> ReplayState:
        """With the `priority` [updates, batch] of what was drawn."""
        ring = self.layout.update_priorities(replace(state, source=()), batch, priority)
        return replace(ring, source=state.source)

    def blank(self) -> Transition:
        """A ring of zeros for steps without extras."""
        spec = self.spec
        shape = self.layout.capacity, spec.envs
        obs: Any = jax.tree.map(jnp.asarray, spec.zeros(*shape))
        kind = jnp.float32 if isinstance(spec.action, Box) else jnp.int32
        action = jnp.zeros((*shape, *spec.action.shape), kind)
        number, flag = jnp.zeros(shape), jnp.zeros(shape, bool)
        steps = Transition(obs, action, number, flag, flag, obs, number, {})
        return jax.tree.map(jnp.copy, steps)  # a buffer of its own for each, to be donated
