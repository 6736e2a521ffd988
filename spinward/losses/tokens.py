"""Aggregates values of tokens [time, env] over each text, or over all texts."""

import jax.numpy as jnp
from jax import Array

AGGREGATIONS = ("sequence", "token", "constant")


def shares(weight: Array, aggregation: str, longest: int) -> Array:
    """The share [time, env] of each token in the loss, from the `weight` of each token.

    sequence: equal for each text, so that a token of a long text has less (Shao et al., 2024,
    arXiv:2402.03300, (3)); token: equal for each token (Yu et al., 2025, arXiv:2503.14476, (8));
    constant: equal for each token, and independent of the texts' lengths: one over the number of
    texts times the `longest` length (Liu et al., 2025, arXiv:2503.20783).
    """
    if aggregation == "token":
        return weight / jnp.maximum(weight.sum(), 1.0)
    texts = weight.shape[1]
    if aggregation == "constant":
        return weight / (texts * longest)
    return weight / (texts * jnp.maximum(weight.sum(0), 1.0))


def total(values: Array, weight: Array) -> Array:
    """The sum [env] over the tokens that count."""
    return (weight * values).sum(0)


def average(values: Array, weight: Array) -> Array:
    """The mean [env] over the tokens that count."""
    return total(values, weight) / jnp.maximum(weight.sum(0), 1.0)
