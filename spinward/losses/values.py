"""Losses of a value, one for each step; their callers average."""

import jax.numpy as jnp
from jax import Array


def huber(error: Array, kappa: float | Array = 1.0) -> Array:
    """Half the square within `kappa` of zero, linear beyond (Huber, 1964).

    With kappa 1 its gradient is DQN's temporal-difference error clipped to [-1, 1].
    """
    size = jnp.abs(error)
    quadratic = jnp.minimum(size, kappa)
    return 0.5 * jnp.square(quadratic) + kappa * (size - quadratic)
