"""Replayed experience: a ring of what a source collects, sampled in windows of time."""

import functools
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
)
from spinward.experience.buffer import (
    ReplayState,
    Sampler,
    Sizes,
    add,
    empty,
    write,
)
from spinward.experience.frames import require_history
from spinward.networks.torso import mask, uniform_choice


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
    stack: int = 1  # newest images in an observation's last axis, of which each is stored once
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
        sizes = (self.capacity, self.updates, self.batch, self.window, self.source.steps)
        return Sizes(*sizes, self.stack, self.prioritised)

    def init(self, key: Key, memory: Memory) -> ReplayState:
        spec = self.spec

        def act(obs: Any, memory: Memory, key: Key) -> tuple[Array, Memory, dict[str, Any]]:
            if isinstance(spec.action, Discrete):
                shape = (spec.envs, spec.action.n)
                return uniform_choice(key, mask(obs), shape), memory, {}
            return spec.action.sample(key, (spec.envs,)), memory, {}

        k_init, k_warm = self.split(key)
        fill = self.fill if self.on_device else self.fill_on_host
        # Images come in many small batches: one of all the warm-up would not fit.
        steps = self.source.steps if self.stack > 1 else self.warmup
        warm = replace(self.source, steps=steps)
        source = self.source.init(k_init, memory)
        return fill(warm, source, Policy(act, lambda envs: memory), k_warm)

    def fill(self, warm: Any, source: Any, policy: Policy, key: Key) -> ReplayState:
        """The ring with its first rows, from batches of `warm`."""

        def step(state: ReplayState, key: Key) -> tuple[ReplayState, None]:
            source, batch, _ = warm.collect(state.source, policy, key)
            state = write(replace(state, source=()), batch, self.sizes)
            return replace(state, source=source), None

        shapes = jax.eval_shape(lambda s: warm.collect(s, policy, key)[1], source)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        state = replace(empty(zeros, self.sizes), source=source)
        if warm.steps == self.warmup:
            return step(state, key)[0]
        return jax.lax.scan(step, state, jax.random.split(key, self.warmup // warm.steps))[0]

    def fill_on_host(self, warm: Any, source: Any, policy: Policy, key: Key) -> ReplayState:
        policy = policy._replace(act=jax.jit(jax.vmap(policy.act)))
        parts = self.warmup // warm.steps
        state: Any = None
        for k_part in [key] if parts == 1 else split_on_host(key, parts):
            source, batch, _ = warm.collect(source, policy, k_part)
            batch = replace(batch, extras={})
            if state is None:
                if self.stack > 1:
                    require_history(batch, self.stack)
                state = jax.vmap(partial(empty, sizes=self.sizes))(batch)
            state = write_on_host(state, batch, self.sizes)
        return replace(state, source=source)

    def collect(
        self, state: ReplayState, policy: Policy, key: Key
    ) -> tuple[ReplayState, Transition, Metrics]:
        k_draw, k_run = self.split(key)
        source, new, metrics = self.source.collect(state.source, policy, k_run)
        renewed = self.sampler.renewed if self.on_device else jax.vmap(self.sampler.renewed)
        following, batch = renewed(replace(state, source=()), replace(new, extras={}), k_draw)
        return replace(following, source=source), batch, metrics

    def split(self, key: Key) -> Key:
        return jax.random.split(key) if self.on_device else split_on_host(key, 2)

    def reopen(self, saved: ReplayState, fresh: ReplayState) -> ReplayState:
        return replace(saved, source=self.source.reopen(saved.source, fresh.source))

    def close(self) -> None:
        self.source.close()

    @property
    def sampler(self) -> Sampler:
        return Sampler(self.alpha, self.beta, self.sizes)

    def stored(self, state: ReplayState, source: Any, batch: Transition) -> ReplayState:
        put = write if self.on_device else write_on_host
        after = put(replace(state, source=()), replace(batch, extras={}), self.sizes)
        return replace(after, source=source)

    def reweigh(self, state: ReplayState, batch: Transition, priority: Array) -> ReplayState:
        """See `Sampler.reweighed`."""
        raised = self.sampler.reweighed if self.on_device else reweigh_on_host(self.sampler)
        return replace(raised(replace(state, source=()), batch, priority), source=state.source)


split_on_host = jax.jit(
    lambda key, parts: jax.vmap(lambda k: tuple(jax.random.split(k, parts)))(key),
    static_argnums=1,
)
add_on_host = jax.jit(jax.vmap(add), donate_argnums=0)
write_on_host = jax.jit(
    lambda state, batch, sizes: jax.vmap(partial(write, sizes=sizes))(state, batch),
    static_argnums=2,
    donate_argnums=0,
)


@functools.cache
def reweigh_on_host(sampler: Sampler) -> Any:
    return jax.jit(jax.vmap(sampler.reweighed), donate_argnums=0)
