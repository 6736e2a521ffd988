"""Values of the next state for actor-critic targets: smoothed, or with an entropy bonus."""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key


def soft_value(q: Array, log_prob: Array, alpha: float | Array) -> Array:
    """The soft value of a state, from one action sampled in it.

    V = min_i Q_i(s, a) - alpha log pi(a|s), a ~ pi, of values [critics, ...] (Haarnoja et al.,
    2018, arXiv:1812.05905, (3), with the smaller of two critics as in section 5).
    """
    return q.min(0) - alpha * log_prob


def soft_expectation(q: Array, log_probs: Array, alpha: float | Array) -> Array:
    """The expectation of `soft_value` over all actions [critics, ..., actions].

    V = sum_a pi(a|s) (min_i Q_i(s, a) - alpha log pi(a|s)) (Christodoulou, 2019,
    arXiv:1910.07207, (10)).
    """
    return (jnp.exp(log_probs) * (q.min(0) - alpha * log_probs)).sum(-1)


def smoothed(action: Array, key: Key, noise: float | Array, limit: float | Array) -> Array:
    """`action` with clipped normal noise of standard deviation `noise`, at most `limit`, and
    clipped to [-1, 1].

    The regulariser of TD3's target: similar actions have similar values (Fujimoto et al., 2018,
    arXiv:1802.09477, section 5.3).
    """
    noise = jnp.clip(noise * jax.random.normal(key, action.shape), -limit, limit)
    return jnp.clip(action + noise, -1.0, 1.0)
