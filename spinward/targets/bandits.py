"""Bandits that choose among settings by their past returns."""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, struct


@struct
class Arms:
    """The mean return of each arm, in every kind of task."""

    mean: Array  # [kinds, arms]
    count: Array  # [kinds, arms] finished draws

    @classmethod
    def init(cls, kinds: int, arms: int) -> "Arms":
        return cls(jnp.zeros((kinds, arms)), jnp.zeros((kinds, arms)))

    def odds(self, temperature: float | Array, bonus: float | Array) -> Array:
        """The probability of each arm [kinds, arms] (Oh et al., 2020, arXiv:2007.08794, section
        3.5).

        p ~ softmax((R + bonus / sqrt(N)) / temperature), where N starts at 1.
        """
        hope = self.mean + bonus * jax.lax.rsqrt(1.0 + self.count)
        return jax.nn.softmax(hope / temperature)

    def draw(
        self, kind: int | Array, key: Key, temperature: float | Array, bonus: float | Array
    ) -> Array:
        return jax.random.categorical(key, jnp.log(self.odds(temperature, bonus)[kind]))

    def add(self, kind: Array, arm: Array, earned: Array, over: Array) -> "Arms":
        """The statistics with the returns `earned` by each `arm` [n] in its `kind` of task added,
        where the draw is `over`."""
        kinds, arms = self.mean.shape
        mine = jax.nn.one_hot(kind, kinds)[:, :, None] * jax.nn.one_hot(arm, arms)[:, None]
        mine = mine * over[:, None, None]
        count = self.count + mine.sum(0)
        total = self.mean * self.count + (mine * earned[:, None, None]).sum(0)
        return Arms(jnp.where(count > 0, total / jnp.maximum(count, 1.0), 0.0), count)
