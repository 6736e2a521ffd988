"""Targets for action values from a real step and imagined steps after it: model-based value
expansion (Feinberg et al., 2018, arXiv:1803.00101) and its stochastic ensemble (Buckman et al.,
2018, arXiv:1807.01675).

Step 0 is the real one, steps 1 to H are imagined. `discount` is gamma times the probability that
the episode goes on after the step, and `value` is of the state after it.
"""

import jax
import jax.numpy as jnp
from jax import Array

BLENDS = ("fixed", "mean", "lambda", "uncertainty")
LEAST_VARIANCE = 1e-8  # added to a variance, as in the code of Buckman et al.


def candidates(reward: Array, discount: Array, value: Array) -> Array:
    """The target [steps, ...] of each number i of imagined steps.

    T_i = sum_{j <= i} g_j r_j + g_{i+1} V(s_{i+1}), where g_j is the product of the discounts
    before step j (Buckman et al., 2018, (4)).
    """
    before = reach(discount)
    return jnp.cumsum(before * reward, 0) + before * discount * value


def reach(discount: Array) -> Array:
    """The product of the discounts before each step [steps, ...]."""
    first = jnp.ones_like(discount[:1])
    return jnp.concatenate([first, jnp.cumprod(discount, 0)[:-1]])


def from_each_step(reward: Array, discount: Array, last_value: Array) -> Array:
    """The return [steps, ...] from each step to the value after the last one: what values at
    imagined states are fitted to (Feinberg et al., 2018, section 3.1, the TD-k trick)."""

    def back(later: Array, x: tuple[Array, Array]) -> tuple[Array, Array]:
        total = x[0] + x[1] * later
        return total, total

    return jax.lax.scan(back, last_value, (reward, discount), reverse=True)[1]


def uncertainty_weights(variance: Array) -> Array:
    """Weights [steps, ...] in proportion to 1 / variance, whose sum is 1 (Buckman et al., 2018,
    (6))."""
    confidence = 1.0 / (variance + LEAST_VARIANCE)
    return confidence / confidence.sum(0)


def lambda_weights(steps: int, lam: float | Array) -> Array:
    """(1 - lambda) lambda^i for all [steps] but the last, which has the rest: lambda^H."""
    power = lam ** jnp.arange(steps, dtype=jnp.float32)
    return jnp.where(jnp.arange(steps) < steps - 1, (1.0 - lam) * power, power)


def blend_weights(blend: str, variance: Array, lam: float | Array) -> Array:
    """The weights [steps, batch or 1] of candidates of this `variance` [steps, batch]: of the last
    alone, equal ones, by lambda, or by uncertainty."""
    count = variance.shape[0]
    match blend:
        case "fixed":
            return jnp.eye(count)[-1][:, None]
        case "mean":
            return jnp.full((count, 1), 1.0 / count)
        case "lambda":
            return lambda_weights(count, lam)[:, None]
    return uncertainty_weights(variance)
