"""Exploration noise, which may be correlated between steps."""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, struct


@struct
class Noise:
    """Standard normal numbers that a policy remembers: an Ornstein-Uhlenbeck process in whole
    steps (Uhlenbeck and Ornstein, 1930; Lillicrap et al., 2016, section 7)."""

    value: Array  # [env, ...]
    fresh: Array  # [env] whether no noise has been sampled in this episode

    @classmethod
    def init(cls, envs: int, shape: tuple[int, ...]) -> "Noise":
        return cls(jnp.zeros((envs, *shape)), jnp.ones(envs, bool))

    def next(self, key: Key, correlation: float | Array) -> "Noise":
        """The noise of the next step, with this `correlation` with the present noise.

        The noise of every step is standard normal, that of an episode's first step included.
        """
        new = jax.random.normal(key, self.value.shape)
        fresh = self.fresh.reshape(-1, *[1] * (new.ndim - 1))
        kept = jnp.where(fresh, 0.0, correlation)
        value = kept * self.value + jnp.sqrt(1.0 - jnp.square(kept)) * new
        return Noise(value, jnp.zeros_like(self.fresh))
