"""Functions of trees of arrays."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def where(mask: Array, new: Any, old: Any) -> Any:
    """Takes from `new` the leading rows in which `mask` holds, and the others from `old`."""

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(mask.reshape(mask.shape + (1,) * (old.ndim - mask.ndim)), new, old)

    return jax.tree.map(choose, new, old)


def finite(tree: Any) -> Array:
    """Whether no leaf has a NaN or an infinity.

    A NaN or an infinity times 0 is NaN, and so is any sum with that. On a CPU, the sum takes less
    time than a test of each number.
    """
    sums = [(x * 0.0).sum() for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.stack(sums).sum() == 0.0 if sums else jnp.bool_(True)


def name_of(path: Any) -> str:
    """The name of a leaf at a path of a tree: `learner.model.w`."""
    return jax.tree_util.keystr(path, simple=True, separator=".")
