"""Losses of comparisons, one value for each pair; their callers average."""

import itertools

import jax
import jax.numpy as jnp
from jax import Array


def bradley_terry(better: Array, worse: Array, smoothing: float | Array = 0.0) -> Array:
    """-log sigmoid(better - worse): the loss of a choice between two, from their scores
    (Bradley and Terry, 1952; Ouyang et al., 2022, arXiv:2203.02155, (1)).

    A share `smoothing` of the labels is assumed to be reversed.
    """
    margin = better - worse
    return -(1.0 - smoothing) * jax.nn.log_sigmoid(margin) - smoothing * jax.nn.log_sigmoid(-margin)


def noisy_comparison(margin: Array, share: Array, error: float | Array) -> Array:
    """The cross-entropy of labels `share`, the share of answers that prefer the first of two, under
    (1 - error) sigmoid(margin) + error / 2: people answer at random in a share `error` of cases
    (Christiano et al., 2017, arXiv:1706.03741, section 2.2.3)."""
    keep, chance = jnp.log1p(-error), jnp.log(0.5 * error)
    first = jnp.logaddexp(keep + jax.nn.log_sigmoid(margin), chance)
    second = jnp.logaddexp(keep + jax.nn.log_sigmoid(-margin), chance)
    return -share * first - (1.0 - share) * second


def ranking(scores: Array) -> Array:
    """The mean of `bradley_terry` [...] over all pairs of several, from `scores` [..., ranked],
    the best first (Ouyang et al., 2022, arXiv:2203.02155, (1))."""
    pairs = list(itertools.combinations(range(scores.shape[-1]), 2))
    better, worse = jnp.array(pairs).T
    return bradley_terry(scores[..., better], scores[..., worse]).mean(-1)


def dpo(
    chosen: Array, rejected: Array, beta: float | Array, smoothing: float | Array = 0.0
) -> Array:
    """-log sigmoid(beta (chosen - rejected)), of sums of log pi - log pi_ref over a completion
    (Rafailov et al., 2023, arXiv:2305.18290, (7)): `bradley_terry` with beta log(pi / pi_ref) as
    the score. The loss is log 2 where the two policies are equal."""
    return bradley_terry(beta * chosen, beta * rejected, smoothing)


def ipo(chosen: Array, rejected: Array, beta: float | Array) -> Array:
    """(chosen - rejected - 1 / (2 beta))^2, of means of log pi - log pi_ref over a completion
    (Azar et al., 2023, arXiv:2310.12036, (17)). Its gradient is 0 where the margin is reached."""
    return jnp.square(chosen - rejected - 0.5 / beta)
