"""Losses of a value, one for each step; their callers average."""

import jax
import jax.numpy as jnp
from jax import Array


def huber(error: Array, kappa: float | Array = 1.0) -> Array:
    """Half the square within `kappa` of zero, linear beyond (Huber, 1964).

    With kappa 1 its gradient is DQN's temporal-difference error clipped to [-1, 1].
    """
    size = jnp.abs(error)
    quadratic = jnp.minimum(size, kappa)
    return 0.5 * jnp.square(quadratic) + kappa * (size - quadratic)


def cross_entropy(logits: Array, probs: Array) -> Array:
    """The cross-entropy of `probs` [..., n] and the softmax of `logits` [..., n]."""
    return -(probs * jax.nn.log_softmax(logits)).sum(-1)


def midpoints(quantiles: int) -> Array:
    """The probabilities [quantiles] below each of so many quantiles: midpoints of equal intervals.

    Dabney et al. (2018, arXiv:1710.10044), lemma 2.
    """
    return (jnp.arange(quantiles) + 0.5) / quantiles


def quantile_huber(quantiles: Array, samples: Array, kappa: float | Array = 1.0) -> Array:
    """The loss [...] that is least where `quantiles` [..., n] are the quantiles of `samples` [...,
    m].

    sum_i mean_j |tau_i - 1{u_ij < 0}| huber(u_ij) / kappa with u_ij = samples_j - quantiles_i
    (Dabney et al., 2018, arXiv:1710.10044, (10)). With kappa 0 it is the loss of quantile
    regression; a larger kappa moves the outer quantiles towards the mean.
    """
    error = samples[..., None, :] - quantiles[..., :, None]
    below = midpoints(quantiles.shape[-1])[:, None]
    side = jnp.abs(below - (jax.lax.stop_gradient(error) < 0.0))
    size = jnp.abs(error)
    quadratic = jnp.minimum(size, kappa)
    scaled = 0.5 * jnp.square(quadratic) / jnp.maximum(kappa, 1e-12) + size - quadratic
    return (side * scaled).mean(-1).sum(-1)
