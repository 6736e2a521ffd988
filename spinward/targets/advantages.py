"""Advantages of the actions taken, from a batch [time, env] and values."""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Transition


def gae(
    batch: Transition, value: Array, next_value: Array, gamma: float | Array, lam: float | Array
) -> Array:
    """Generalised advantage estimates [time, env] (Schulman et al., 2016, arXiv:1506.02438, (16)).

    A_t = delta_t + gamma lam A_{t+1}, delta_t = r_t + gamma V(s_{t+1}) - V(s_t). The value of the
    true successor counts unless the step terminated; the trace ends with the episode, however it
    ended. A step of weight 0 has no advantage and passes none back.
    """
    delta = batch.reward + gamma * jnp.where(batch.terminated, 0.0, next_value) - value
    decay = jnp.where(batch.done, 0.0, gamma * lam)

    def back(advantage: Array, x: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        delta, decay, weight = x
        advantage = weight * (delta + decay * advantage)
        return advantage, advantage

    start = jnp.zeros_like(delta[0])
    return jax.lax.scan(back, start, (delta, decay, batch.weight), reverse=True, unroll=8)[1]
