"""Bandits that choose among settings by what came of them before."""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, struct


@struct
class Arms:
    """What each arm has earned, in every kind of task."""

    mean: Array  # [kinds, arms]
    count: Array  # [kinds, arms] how often it was drawn to its end

    @classmethod
    def init(cls, kinds: int, arms: int) -> "Arms":
        return cls(jnp.zeros((kinds, arms)), jnp.zeros((kinds, arms)))

    def odds(self, temperature: float | Array, bonus: float | Array) -> Array:
        """The chance of each arm [kinds, arms] (Oh et al., 2020, arXiv:2007.08794, section 3.5).

        p ~ softmax((R + bonus / sqrt(N)) / temperature), where N counts from 1.
        """
        hope = self.mean + bonus * jax.lax.rsqrt(1.0 + self.count)
        return jax.nn.softmax(hope / temperature)

    def draw(
        self, kind: int | Array, key: Key, temperature: float | Array, bonus: float | Array
    ) -> Array:
        return jax.random.categorical(key, jnp.log(self.odds(temperature, bonus)[kind]))

    def add(self, kind: Array, arm: Array, earned: Array, over: Array) -> "Arms":
        """With what `arm` [n] has `earned` in its `kind` of task, for those that are `over`."""
        kinds, arms = self.mean.shape
        mine = jax.nn.one_hot(kind, kinds)[:, :, None] * jax.nn.one_hot(arm, arms)[:, None]
        mine = mine * over[:, None, None]
        count = self.count + mine.sum(0)
        total = self.mean * self.count + (mine * earned[:, None, None]).sum(0)
        return Arms(jnp.where(count > 0, total / jnp.maximum(count, 1.0), 0.0), count)
