"""A chain whose first choice decides the reward at its end (Oh et al., 2020, arXiv:2007.08794,
appendix A.3); rewards on the way may be noise."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Box, Discrete, Key, Spec, config, replace, struct

NAMES = {"DelayedChain": "DelayedChain"}


@struct
class ChainLevel:
    """What varies between chains."""

    length: Array  # steps of an episode
    good: Array  # the first action, 0 or 1, after which the end is worth 1 and not -1
    noise: Array  # of each reward on the way: its size, which is added or taken away


@struct
class State:
    level: ChainLevel
    time: Array  # steps since the reset
    choice: Array  # the first action


@config
class DelayedChain:
    """Sees how far along it is and what was chosen first: as a number, or as a vector that is 1
    there."""

    shortest: int = 5  # steps of the shortest chain
    longest: int = 30  # steps of the longest chain
    noisy: bool = True  # half of the chains have rewards of 1 or -1 on the way
    tabular: bool = True  # the number of the state; if not, a vector
    level: Any = None  # a ChainLevel, where all episodes are in one

    @property
    def states(self) -> int:
        return 2 * (self.longest + 1)

    @property
    def spec(self) -> Spec:
        seen = Box((1,), 0, self.states - 1, "int32")
        return Spec(seen if self.tabular else Box((self.states,), 0, 1, "uint8"), Discrete(2))

    def sample_task(self, key: Key) -> "DelayedChain":
        """The same environment, fixed to one sampled chain."""
        return replace(self, level=self.one(key))

    def one(self, key: Key) -> ChainLevel:
        if self.level is not None:
            return self.level
        k_length, k_good, k_noise = jax.random.split(key, 3)
        length = jax.random.randint(k_length, (), self.shortest, self.longest + 1)
        noise = self.noisy * jax.random.bernoulli(k_noise).astype(jnp.float32)
        return ChainLevel(length, jax.random.randint(k_good, (), 0, 2), noise)

    def reset(self, key: Key) -> tuple[State, Array]:
        state = State(self.one(key), jnp.int32(0), jnp.int32(0))
        return state, self.seen(state)

    def step(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        level, time = state.level, state.time + 1
        choice = jnp.where(state.time == 0, action, state.choice).astype(jnp.int32)
        terminated = time >= level.length
        outcome = jnp.where(choice == level.good, 1.0, -1.0)
        on_the_way = level.noise * jax.random.rademacher(key, (), jnp.float32)
        state = State(level, time, choice)
        reward = jnp.where(terminated, outcome, on_the_way)
        return state, self.seen(state), reward, terminated, jnp.bool_(False)

    def seen(self, state: State) -> Array:
        number = 2 * jnp.minimum(state.time, self.longest) + state.choice
        if self.tabular:
            return number[None].astype(jnp.int32)
        return (jnp.arange(self.states) == number).astype(jnp.uint8)
