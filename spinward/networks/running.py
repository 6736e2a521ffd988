"""A running mean and standard deviation."""

import jax.numpy as jnp
from jax import Array

from spinward.core import struct


@struct
class Running:
    """Mean and mean square of batches: of all batches at first, and later an exponential
    average."""

    mean: Array
    square: Array
    count: Array  # batches added

    @classmethod
    def init(cls, mean: float) -> "Running":
        """A running mean that starts at `mean`, with standard deviation 1."""
        return cls(jnp.float32(mean), jnp.float32(mean**2 + 1.0), jnp.float32(0.0))

    def add(self, x: Array, weight: Array, least: float | Array) -> "Running":
        """The statistics with the entries of `x` of nonzero `weight` added, at a rate of at least
        `least`."""
        total = weight.sum()
        some = (total > 0.0).astype(jnp.float32)
        rate = some * jnp.maximum(1.0 / (self.count + 1.0), least)
        first = (weight * x).sum() / jnp.maximum(total, 1.0)
        second = (weight * jnp.square(x)).sum() / jnp.maximum(total, 1.0)
        mean = self.mean + rate * (first - self.mean)
        square = self.square + rate * (second - self.square)
        return Running(mean, square, self.count + some)

    @property
    def std(self) -> Array:
        return jnp.sqrt(jnp.maximum(self.square - jnp.square(self.mean), 1e-8))
