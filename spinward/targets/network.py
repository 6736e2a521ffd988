"""How a target network follows the one that learns."""

from typing import TypeVar

import jax.numpy as jnp
import optax
from jax import Array

T = TypeVar("T")


def update_target(
    target: T, online: T, updates: Array, every: int, share: float | Array = 1.0
) -> T:
    """`target` after so many `updates`: moved by `share` towards `online` at each `every`-th of
    them, and as it was at the others.

    With `share` 1 it is copied (Mnih et al., 2015), with `every` 1 it follows slowly (Lillicrap et
    al., 2016, arXiv:1509.02971).
    """
    moved = jnp.where(updates % every == 0, share, 0.0)
    return optax.incremental_update(online, target, moved)  # type: ignore[return-value,type-var]
