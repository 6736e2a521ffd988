"""Noise to explore with, which may last from one step to the next."""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, struct


@struct
class Noise:
    """Standard normal numbers that a policy remembers: an Ornstein-Uhlenbeck process in whole
    steps (Uhlenbeck and Ornstein, 1930; Lillicrap et al., 2016, section 7)."""

    value: Array  # [env, ...]
    fresh: Array  # [env] none has been drawn in this episode

    @classmethod
    def init(cls, envs: int, shape: tuple[int, ...]) -> "Noise":
        return cls(jnp.zeros((envs, *shape)), jnp.ones(envs, bool))

    def following(self, key: Key, correlation: float | Array) -> "Noise":
        """The next numbers, whose `correlation` with these is what it says; 0 forgets them.

        Every one of them is standard normal, the first of an episode too.
        """
        new = jax.random.normal(key, self.value.shape)
        fresh = self.fresh.reshape(-1, *[1] * (new.ndim - 1))
        kept = jnp.where(fresh, 0.0, correlation)
        value = kept * self.value + jnp.sqrt(1.0 - jnp.square(kept)) * new
        return Noise(value, jnp.zeros_like(self.fresh))
