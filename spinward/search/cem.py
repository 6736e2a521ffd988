"""The cross-entropy method for plans of bounded numbers (Chua et al., 2018, arXiv:1805.12114, and
their code)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key

LEAST_VARIANCE = 1e-3  # the search ends where no number's is larger


class Sampled(NamedTuple):
    """The normal distribution of plans."""

    mean: Array
    variance: Array
    iterations: Array


def cem(
    score: Callable[[Array, Key], Array],
    start: Array,
    key: Key,
    low: float,
    high: float,
    population: int,
    elites: int,
    iterations: int,
    inertia: float | Array,
) -> Array:
    """The mean of the last distribution over plans shaped as `start`, for a high `score` of plans
    [population, ...].

    Samples are of a normal distribution, cut off at two standard deviations, which are at most half
    the distance to a bound: so none is outside, and none has to be clipped to a bound.
    """

    def goes_on(now: Sampled) -> Array:
        return (now.iterations < iterations) & (now.variance.max() >= LEAST_VARIANCE)

    def iterate(now: Sampled) -> Sampled:
        k_noise, k_score = jax.random.split(jax.random.fold_in(key, now.iterations))
        room = jnp.minimum(now.mean - low, high - now.mean) / 2.0
        std = jnp.sqrt(jnp.minimum(now.variance, jnp.square(room)))
        noise = jax.random.truncated_normal(k_noise, -2.0, 2.0, (population, *start.shape))
        plans = now.mean + std * noise
        scores = score(plans, k_score)
        scores = jnp.where(jnp.isfinite(scores), scores, -jnp.inf)
        best = plans[jax.lax.top_k(scores, elites)[1]]
        mean = inertia * now.mean + (1.0 - inertia) * best.mean(0)
        variance = inertia * now.variance + (1.0 - inertia) * best.var(0)
        return Sampled(mean, variance, now.iterations + 1)

    variance = jnp.full(start.shape, ((high - low) / 4.0) ** 2)
    return jax.lax.while_loop(goes_on, iterate, Sampled(start, variance, jnp.int32(0))).mean
