"""Distances between the rows of a batch."""

import jax
import jax.numpy as jnp
from jax import Array

ROWS = 256  # whose distances to all are in memory at once


def neighbour_distance(rows: Array, k: int) -> Array:
    """The distance [n] of each row [n, dim] to its k-th nearest other row; to the farthest, where
    there are fewer; 0 of a row that is alone."""
    k = min(k, len(rows) - 1)

    def one(row: Array) -> Array:
        squares = jnp.square(rows - row).sum(-1)
        return jnp.sqrt(-jax.lax.top_k(-squares, k + 1)[0][k])  # the row itself is the nearest

    distance: Array = jax.lax.map(one, rows, batch_size=ROWS)
    return distance


def spread_of_states(rows: Array, k: int) -> Array:
    """The distances [group, n] of the rows [group, n, dim] to their k-th nearest in the group, by
    which the entropy of states is estimated; each dimension, and then the result, has unit
    variance."""
    scaled = rows / jnp.maximum(rows.std((0, 1)), 1e-6)
    distance = jax.vmap(lambda x: neighbour_distance(x, k))(scaled)
    return distance / jnp.maximum(distance.std(), 1e-6)
