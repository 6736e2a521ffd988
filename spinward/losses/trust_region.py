"""Natural gradients within a trust region (Schulman et al., 2015, arXiv:1502.05477, appendix C).

Parameters are one vector [dim]; nothing here knows a network.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

ENOUGH = 1e-10  # squared length of a residual at which a solution is as good as it gets


def fisher_product(
    policy: Callable[[Array], Any], at: Array, mean: Callable[[Array], Array]
) -> Callable[[Array], Array]:
    """v -> F v, where F is the Fisher matrix [dim, dim] of `policy`, a distribution from
    parameters, at `at`: the second derivative of `mean` of KL(policy(at) || policy(x)).

    F v = J' (M (J v)), with J the derivative of the distribution's own parameters and M the
    second derivative by them: at `at` nothing else is left, and the product with J is exact,
    symmetric and never negative. J is made once for all v.
    """
    old, forward = jax.linearize(policy, at)
    backward = jax.linear_transpose(forward, at)

    def divergence(distribution: Any) -> Array:
        return mean(distribution.kl_from(old))

    def product(v: Array) -> Array:
        return backward(jax.jvp(jax.grad(divergence), (old,), (forward(v),))[1])[0]

    return product


def conjugate_gradient(product: Callable[[Array], Array], b: Array, iterations: int) -> Array:
    """x with `product`(x) = b, for a symmetric positive matrix (Hestenes and Stiefel, 1952)."""

    def step(_: int, state: tuple[Array, ...]) -> tuple[Array, ...]:
        x, residual, direction, size = state
        moved = product(direction)
        length = jnp.where(size > ENOUGH, size / (direction @ moved), 0.0)
        x, residual = x + length * direction, residual - length * moved
        after = residual @ residual
        more = jnp.where(size > ENOUGH, after / size, 0.0)
        following = jnp.where(size > ENOUGH, residual + more * direction, direction)
        return x, residual, following, jnp.where(size > ENOUGH, after, size)

    return jax.lax.fori_loop(0, iterations, step, (jnp.zeros_like(b), b, b, b @ b))[0]


def longest(product: Callable[[Array], Array], direction: Array, limit: float | Array) -> Array:
    """The factor by which `direction` has the divergence `limit`, if that were quadratic:
    sqrt(2 limit / x'Fx). 0 where the direction leads nowhere."""
    curvature = direction @ product(direction)
    return jnp.where(curvature > 0, jnp.sqrt(2.0 * limit / jnp.maximum(curvature, 1e-30)), 0.0)


class Searched(NamedTuple):
    x: Array  # the parameters found, or those before
    accepted: Array  # whether it was found
    kl: Array  # how far it is from those before
    gain: Array  # of the surrogate, over those before
    backtracks: Array


def line_search(
    judge: Callable[[Array], tuple[Array, Array]],
    at: Array,
    step: Array,
    limit: float | Array,
    shrink: float | Array,
    tries: int,
) -> Searched:
    """The first of at + step, at + shrink step, ... within the `limit` that is better than `at`.

    `judge` gives the surrogate, more of which is better, and the divergence from `at`. Nothing
    else is accepted: where no try will do, the parameters stay as they are, to the last bit.
    """
    before, _ = judge(at)

    def candidate(i: Array) -> Array:
        return at + step * jnp.power(shrink, i.astype(jnp.float32))

    def look(state: tuple[Array, ...]) -> tuple[Array, ...]:
        i = state[3] + 1
        value, kl = judge(candidate(i))
        good = (kl <= limit) & (value > before)  # false where one is no number
        return good, kl, value - before, i

    def goes_on(state: tuple[Array, ...]) -> Array:
        return ~state[0] & (state[3] + 1 < tries)

    none = jnp.float32(0.0)
    start: tuple[Array, ...] = (jnp.bool_(False), none, none, jnp.int32(-1))
    accepted, kl, gain, backtracks = jax.lax.while_loop(goes_on, look, start)
    x = jnp.where(accepted, candidate(backtracks), at)
    return Searched(
        x, accepted, jnp.where(accepted, kl, 0.0), jnp.where(accepted, gain, 0.0), backtracks
    )
