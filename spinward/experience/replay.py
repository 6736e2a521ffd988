"""Experience replay: a ring of the steps that a source collects, read and written by a layout."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import (
    Box,
    Discrete,
    Hybrid,
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
from spinward.experience.logged import mark
from spinward.networks.torso import mask, uniform_choice


def random_action(
    spec: Spec, obs: Any, memory: Memory, key: Key
) -> tuple[Array, Memory, dict[str, Any]]:
    """A uniformly random allowed action and its log-probability. It needs no agent."""
    if isinstance(spec.action, Discrete):
        allowed = mask(obs)
        action = uniform_choice(key, allowed, (spec.envs, spec.action.n))
        count = spec.action.n if allowed is None else allowed.sum(-1)
        return action, memory, {"log_prob": -jnp.log(jnp.broadcast_to(count, (spec.envs,)))}
    action = spec.action.sample(key, (spec.envs,))
    return action, memory, {}


@config
class Replay:
    """Stores what `source` collects and returns batches that `layout` samples from earlier steps,
    so that learning and stepping do not wait for each other.

    `init` fills the ring with steps of `act`, without an agent. A condition in the step on whether
    the ring is full enough would run both branches and copy the ring. All methods serve one seed.
    """

    source: Any  # a Source of [steps, env]
    layout: Any  # a StepLayout or a SequenceLayout
    warmup: int  # rows filled by `act` before the first update
    act: Callable[..., Any] = random_action  # (spec, obs, memory, key) -> action, memory, extras
    logged: Any = None  # a LoggedSteps, which gives a share of every batch
    passes_on: bool = False  # return the collected batch itself; the ring only keeps a copy

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
    def rollout_rows(self) -> int:
        """Rows of the ring for one rollout of the source."""
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
        """The source whose batches fill the ring at the start, and the number of these batches.

        Images come in many small batches: one batch with the whole warm-up would not fit.
        """
        if isinstance(self.layout, StepLayout) and self.layout.stack == 1:
            return replace(self.source, steps=self.warmup), 1
        return self.source, self.warmup // self.rollout_rows

    def filler(self, memory: Memory) -> Policy:
        """The policy that acts before there is an agent."""
        spec, act = self.spec, self.act
        return Policy(lambda *args: act(spec, *args), lambda envs: memory)

    def collect(
        self, state: ReplayState, policy: Policy, key: Key
    ) -> tuple[ReplayState, Transition, Metrics]:
        k_sample, k_steps = self.split(key)
        source, new, metrics = self.source.collect(state.source, policy, k_steps)
        state, batch = self.add_and_sample(replace(state, source=()), new, k_sample)
        return replace(state, source=source), batch, metrics

    def split(self, key: Key) -> tuple[Key, Key]:
        """Keys for sampling and for the source. Without sampling, the source gets `key` itself."""
        return (key, key) if self.passes_on else tuple(jax.random.split(key))  # type: ignore[return-value]

    def write(self, state: ReplayState, batch: Transition) -> ReplayState:
        """The ring with a collected batch."""
        return self.layout.write(state, batch)

    def sample(self, state: ReplayState, key: Key) -> Transition:
        """A batch from the ring."""
        return self.with_logged(self.layout.sample(state, key), key)

    def add_and_sample(
        self, state: ReplayState, new: Transition, key: Key
    ) -> tuple[ReplayState, Transition]:
        """The ring with `new`, and a batch of the steps before `new`."""
        if self.passes_on:
            return self.write(state, new), new
        state, batch = self.layout.add_and_sample(state, new, key)
        return state, self.with_logged(batch, key)

    def with_logged(self, batch: Transition, key: Key) -> Transition:
        """`batch` with windows of logged data, joined along the axis of windows."""
        if self.logged is None:
            return batch
        logged = self.logged.sample(jax.random.fold_in(key, 1))
        batch = mark(batch, 0.0) if self.logged.marks else batch

        def join(a: Array, b: Array) -> Array:
            return jnp.concatenate([a, b.astype(a.dtype)], 2)

        joined: Transition = jax.tree.map(join, batch, logged)
        return joined

    def update_priorities(
        self, state: ReplayState, batch: Transition, priority: Array
    ) -> ReplayState:
        """The ring with the `priority` [updates, batch] of the sampled windows."""
        ring = self.layout.update_priorities(replace(state, source=()), batch, priority)
        return replace(ring, source=state.source)

    def blank(self) -> Transition:
        """A ring of zeros for steps without extras."""
        spec = self.spec
        shape = self.layout.capacity, spec.envs
        obs: Any = jax.tree.map(jnp.asarray, spec.zeros(*shape))
        kind = jnp.float32 if isinstance(spec.action, Box | Hybrid) else jnp.int32
        action = jnp.zeros((*shape, *spec.action.shape), kind)
        number, flag = jnp.zeros(shape), jnp.zeros(shape, bool)
        steps = Transition(obs, action, number, flag, flag, obs, number, {})
        return jax.tree.map(jnp.copy, steps)  # separate buffers, so that each can be donated
