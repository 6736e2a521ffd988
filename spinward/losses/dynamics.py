"""Losses of models of an environment, one for each row; their callers average."""

import jax.numpy as jnp
from jax import Array

LOG_2PI = 1.8378770664093453


def gaussian_error(mean: Array, log_var: Array, target: Array) -> Array:
    """(mean - y)^2 / var + log var, averaged over the last axis: twice the negative log-likelihood
    per entry, but for a constant (Chua et al., 2018, arXiv:1805.12114, (1))."""
    return (jnp.square(mean - target) * jnp.exp(-log_var) + log_var).mean(-1)


def log_likelihood(mean: Array, log_var: Array, target: Array) -> Array:
    """log p(y), averaged over the last axis, in nats."""
    return -0.5 * (gaussian_error(mean, log_var, target) + LOG_2PI)
