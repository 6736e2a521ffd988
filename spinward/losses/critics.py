"""Losses of critics and of a temperature, one value for each step; their callers average."""

import jax.numpy as jnp
from jax import Array


def squares(q: Array, target: Array) -> Array:
    """Half the squared errors of values [critics, ...], summed over critics (Haarnoja et al.,
    2018, arXiv:1812.05905, (5))."""
    return 0.5 * jnp.square(q - target).sum(0)


def temperature(log_alpha: Array, entropy: Array, wanted: float | Array) -> Array:
    """Falls as alpha grows where `entropy` is less than `wanted`, and as it shrinks where it is
    more (Haarnoja et al., 2018, (18), by log alpha in place of alpha, as their code has it)."""
    return log_alpha * (entropy - wanted)
