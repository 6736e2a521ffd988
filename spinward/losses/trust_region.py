"""Natural gradients within a trust region (Schulman et al., 2015, arXiv:1502.05477, appendix C).

Parameters are one vector [dim]; these functions do not depend on a network.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

ENOUGH = 1e-10  # squared norm of a residual below which float32 gives no better solution


def fisher_product(
    policy: Callable[[Array], Any], at: Array, mean: Callable[[Array], Array]
) -> Callable[[Array], Array]:
    """v -> F v, where F is the Fisher matrix [dim, dim] of `policy`, a distribution from
    parameters, at `at`: the second derivative of `mean` of KL(policy(at) || policy(x)).

    F v = J' (M (J v)), with J the derivative of the distribution's own parameters and M the
    second derivative by them. At `at` the other terms of the second derivative are 0, so that the
    product is exact, symmetric and never negative. J is computed once for all v.
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
        image = product(direction)
        length = jnp.where(size > ENOUGH, size / (direction @ image), 0.0)
        x, residual = x + length * direction, residual - length * image
        new_size = residual @ residual
        share = jnp.where(size > ENOUGH, new_size / size, 0.0)
        new_direction = jnp.where(size > ENOUGH, residual + share * direction, direction)
        return x, residual, new_direction, jnp.where(size > ENOUGH, new_size, size)

    return jax.lax.fori_loop(0, iterations, step, (jnp.zeros_like(b), b, b, b @ b))[0]


def longest(product: Callable[[Array], Array], direction: Array, limit: float | Array) -> Array:
    """The factor sqrt(2 limit / x'Fx) by which `direction` reaches the divergence `limit`, if the
    divergence were quadratic. 0 where the curvature along the direction is not positive."""
    curvature = direction @ product(direction)
    return jnp.where(curvature > 0, jnp.sqrt(2.0 * limit / jnp.maximum(curvature, 1e-30)), 0.0)


class Searched(NamedTuple):
    x: Array  # the accepted parameters, or those before the step
    accepted: Array  # whether a candidate was accepted
    kl: Array  # divergence of `x` from the parameters before the step
    gain: Array  # increase of the surrogate over the parameters before the step
    backtracks: Array  # how often the step was shrunk


def line_search(
    evaluate: Callable[[Array], tuple[Array, Array]],
    at: Array,
    step: Array,
    limit: float | Array,
    shrink: float | Array,
    tries: int,
) -> Searched:
    """The first of at + step, at + shrink step, ... within the `limit` that is better than `at`.

    `evaluate` gives the surrogate, which is to be maximised, and the divergence from `at`. Where no
    candidate is accepted, the parameters stay as they are, to the last bit.
    """
    before, _ = evaluate(at)

    def candidate(i: Array) -> Array:
        return at + step * jnp.power(shrink, i.astype(jnp.float32))

    def attempt(state: tuple[Array, ...]) -> tuple[Array, ...]:
        i = state[3] + 1
        value, kl = evaluate(candidate(i))
        accepted = (kl <= limit) & (value > before)  # false where one of them is NaN
        return accepted, kl, value - before, i

    def goes_on(state: tuple[Array, ...]) -> Array:
        return ~state[0] & (state[3] + 1 < tries)

    none = jnp.float32(0.0)
    start: tuple[Array, ...] = (jnp.bool_(False), none, none, jnp.int32(-1))
    accepted, kl, gain, backtracks = jax.lax.while_loop(goes_on, attempt, start)
    x = jnp.where(accepted, candidate(backtracks), at)
    return Searched(
        x, accepted, jnp.where(accepted, kl, 0.0), jnp.where(accepted, gain, 0.0), backtracks
    )
