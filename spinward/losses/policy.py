"""Losses of a policy, one value for each step; their callers average."""

import jax
import jax.numpy as jnp
from jax import Array

COEFS = (1e-6, 1e6)  # bounds of a penalty's coefficient


def clipped_surrogate(
    log_ratio: Array,
    advantage: Array,
    clip: float | Array,
    clip_higher: float | Array | None = None,
) -> Array:
    """PPO's pessimistic surrogate, negated (Schulman et al., 2017, arXiv:1707.06347, (7)).

    Its gradient is zero exactly where the ratio has left [1 - clip, 1 + clip] in the direction of
    the advantage. The upper bound is 1 + `clip_higher` where `clip_higher` is given (Yu et al.,
    2025, arXiv:2503.14476, (10)).
    """
    higher = clip if clip_higher is None else clip_higher
    ratio = jnp.exp(log_ratio)
    return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + higher) * advantage)


def policy_gradient(log_prob: Array, advantage: Array) -> Array:
    """-log pi(a|s) A, whose gradient is the score times A (Williams, 1992; Sutton et al., 2000).

    No gradient flows through the advantage.
    """
    return -log_prob * jax.lax.stop_gradient(advantage)


def surrogate(log_ratio: Array, advantage: Array) -> Array:
    """-(pi / pi_old) A, whose gradient is that of `policy_gradient` where the two policies are
    equal (Kakade and Langford, 2002; Schulman et al., 2015, arXiv:1502.05477, (14)).
    """
    return -jnp.exp(log_ratio) * jax.lax.stop_gradient(advantage)


def doubled_or_halved(coef: Array, kl: Array, target: float | Array) -> Array:
    """A penalty's coefficient after an update with the mean divergence `kl`: doubled where `kl` is
    above 1.5 times the `target`, halved where it is below the target over 1.5 (Schulman et al.,
    2017, arXiv:1707.06347, section 4).
    """
    factor = jnp.where(kl > 1.5 * target, 2.0, jnp.where(kl < target / 1.5, 0.5, 1.0))
    return jnp.clip(coef * factor, *COEFS)


def dual_ascent(coef: Array, kl: Array, target: float | Array, lr: float | Array) -> Array:
    """A penalty's coefficient as the multiplier of kl <= target, moved by gradient ascent on its
    logarithm, in units of the target: log beta += lr (kl / target - 1).
    """
    return jnp.clip(coef * jnp.exp(lr * (kl / target - 1.0)), *COEFS)


def proportional(coef: Array, kl: Array, target: float | Array, share: float | Array) -> Array:
    """A penalty's coefficient changed by a `share` of the relative error of a divergence, which is
    clipped to [-0.2, 0.2] (Ziegler et al., 2019, arXiv:1909.08593, section 2.2)."""
    error = jnp.clip(kl / target - 1.0, -0.2, 0.2)
    return coef * (1.0 + error * share)
