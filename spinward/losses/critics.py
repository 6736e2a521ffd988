"""Losses of critics and of a temperature, one value for each step; their callers average."""

import jax.numpy as jnp
from jax import Array


def squares(q: Array, target: Array) -> Array:
    """Half the squared errors of values [critics, ...], summed over critics (Haarnoja et al.,
    2018, arXiv:1812.05905, (5))."""
    return 0.5 * jnp.square(q - target).sum(0)


def temperature(log_alpha: Array, entropy: Array, target_entropy: float | Array) -> Array:
    """log alpha (entropy - target entropy): descent raises alpha where the policy's entropy is
    below the target, and lowers alpha where it is above (Haarnoja et al., 2018, (18), with log
    alpha in place of alpha, as in their code)."""
    return log_alpha * (entropy - target_entropy)
