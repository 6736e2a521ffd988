"""Updates of a target network."""

from typing import TypeVar

import jax.numpy as jnp
import optax
from jax import Array

T = TypeVar("T")


def update_target(
    target: T, online: T, updates: Array, every: int, share: float | Array = 1.0
) -> T:
    """The target network after so many `updates`: moved by `share` towards the `online` network at
    each `every`-th update, and unchanged at the others.

    With `share` 1 the online network is copied (Mnih et al., 2015); with `every` 1 and a small
    `share` the target is a moving average (Lillicrap et al., 2016, arXiv:1509.02971).
    """
    step = jnp.where(updates % every == 0, share, 0.0)
    return optax.incremental_update(online, target, step)  # type: ignore[return-value,type-var]
