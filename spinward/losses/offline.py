"""Losses and weights for learning from logged data, one value for each step; their callers
average."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.networks.distributions import pick


def conservative(q: Array, action: Array) -> Array:
    """log sum_a exp Q(s, a) - Q(s, a of the data), from values [..., actions]: how far the values
    of all actions are above that of the logged one (Kumar et al., 2020, arXiv:2006.04779, (4))."""
    return jax.nn.logsumexp(q, -1) - pick(q, action)


def large_margin(q: Array, action: Array, margin: float | Array) -> Array:
    """max_a [Q(s, a) + margin 1{a != a of the data}] - Q(s, a of the data), from values [...,
    actions]: 0 where the logged action leads by the margin (Hester et al., 2018, arXiv:1704.03732,
    (5); Ibarz et al., 2018, arXiv:1811.06521, section 2.1)."""
    other = 1.0 - jax.nn.one_hot(action, q.shape[-1])
    return (q + margin * other).max(-1) - pick(q, action)


def conservative_sampled(q: Array, log_density: Array, q_data: Array) -> Array:
    """`conservative` for continuous actions, by importance sampling.

    `q` [samples, ...] are the values of actions drawn with the density `log_density`. As in the
    authors' code the sum is not divided by the number of samples, so that the result is larger by
    its logarithm (Kumar et al., 2020, arXiv:2006.04779, appendix F).
    """
    return jax.nn.logsumexp(q - log_density, 0) - q_data


def expectile(error: Array, level: float | Array) -> Array:
    """|level - 1{error < 0}| error^2: least, in the mean over errors x - m, where m is the
    expectile of x. Level 0.5 is the mean, level 1 the maximum (Kostrikov et al., 2021,
    arXiv:2110.06169, (4)).
    """
    return jnp.abs(level - (error < 0.0)) * jnp.square(error)


def advantage_weight(advantage: Array, beta: float | Array, most: float | Array) -> Array:
    """min(exp(beta A), most), without a gradient: the weight of an action's log-likelihood (Peng et
    al., 2019, arXiv:1910.00177, (9)). The exponent is bounded, because exp overflows."""
    return jnp.exp(jnp.minimum(jax.lax.stop_gradient(beta * advantage), jnp.log(most)))


def effective_share(weight: Array) -> Array:
    """(sum w)^2 / (n sum w^2), the share of the `weight` [n] that counts: 1 where all are equal,
    1 / n where one outweighs the others (Kish, 1965)."""
    return jnp.square(weight.sum()) / jnp.maximum(weight.size * jnp.square(weight).sum(), 1e-30)


def value_scale(q: Array, alpha: float | Array) -> Array:
    """alpha / mean |Q|, without a gradient: makes an actor's loss independent of the scale of
    rewards (Fujimoto and Gu, 2021, arXiv:2106.06860, (5))."""
    return alpha / jnp.maximum(jax.lax.stop_gradient(jnp.abs(q).mean()), 1e-6)


def latent_divergence(mean: Array, log_std: Array) -> Array:
    """KL(N(mean, std) || N(0, 1)) [...], averaged over the last axis (Kingma and Welling, 2014,
    arXiv:1312.6114, appendix B)."""
    return 0.5 * (jnp.square(mean) + jnp.exp(2.0 * log_std) - 2.0 * log_std - 1.0).mean(-1)


def uniform_log_density(size: int) -> float:
    """The log-density of uniform actions of so many numbers in [-1, 1]."""
    return -size * float(np.log(2.0))


def distance(action: Array, other: Array) -> Array:
    """The squared distance [batch] of actions [batch, ...], averaged over their numbers."""
    return jnp.square(action - other).reshape(action.shape[0], -1).mean(-1)
