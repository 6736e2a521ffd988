"""Values of states from actions that logged data support."""

import jax
import jax.numpy as jnp
from jax import Array

LOW = -1e9  # the value of an action outside the support, as for forbidden actions


def between_critics(q: Array, lam: float | Array) -> Array:
    """lam min_i Q_i + (1 - lam) max_i Q_i of values [critics, ...] (Fujimoto et al., 2019,
    arXiv:1812.02900, (13))."""
    return lam * q.min(0) + (1.0 - lam) * q.max(0)


def supported(q: Array, logits: Array, threshold: float | Array) -> Array:
    """`q` [..., actions] with a very low value for each action whose probability under `logits` is
    at most `threshold` times the likeliest's (Fujimoto et al., 2019, arXiv:1910.01708, (8)).

    The likeliest action is always supported.
    """
    log_probs = jax.nn.log_softmax(logits)
    likeliest = log_probs.max(-1, keepdims=True)
    within = (log_probs - likeliest > jnp.log(threshold)) | (log_probs == likeliest)
    return jnp.where(within, q, LOW)
