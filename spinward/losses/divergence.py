"""Estimates of KL(pi || ref) from actions that pi sampled, one for each action; callers average.

`log_ratio` is log pi(a) - log ref(a). As values, k1 and k3 are unbiased, and k2 is
close to them where the two policies are close. As losses on sampled actions they differ: the
gradient of k1 has mean 0, the gradient of k2 is that of KL(pi || ref), and the gradient of k3 is
that of KL(ref || pi).
"""

import jax.numpy as jnp
from jax import Array


def k1(log_ratio: Array) -> Array:
    """log pi - log ref: unbiased, and often negative."""
    return log_ratio


def k2(log_ratio: Array) -> Array:
    """Half its square (Schulman, 2020, Approximating KL divergence)."""
    return 0.5 * jnp.square(log_ratio)


def k3(log_ratio: Array) -> Array:
    """ref / pi - 1 + log pi - log ref: unbiased and never negative (Schulman, 2020; Shao et al.,
    2024, arXiv:2402.03300, (4))."""
    return jnp.expm1(-log_ratio) + log_ratio
