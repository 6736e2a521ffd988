"""Losses of a policy, one value for each step; their callers average."""

import jax.numpy as jnp
from jax import Array


def clipped_surrogate(log_ratio: Array, advantage: Array, clip: float | Array) -> Array:
    """PPO's pessimistic surrogate, negated (Schulman et al., 2017, arXiv:1707.06347, (7)).

    Its gradient is zero exactly where the ratio has left [1 - clip, 1 + clip] on the side the
    advantage asks for.
    """
    ratio = jnp.exp(log_ratio)
    return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage)
