"""Targets for action values, from windows of replayed steps [window, batch]."""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Transition


def n_step(batch: Transition, next_value: Array, gamma: float | Array) -> Array:
    """Sum of `window` discounted rewards and the value of the state after them [batch].

    y = sum_k gamma^k r_k + gamma^n V(s_n) (Sutton and Barto, 2018, (7.1)), where `next_value`
    [window, batch] is of each step's true successor. The window ends early where an episode does:
    with no value if it terminated, with that of its last state if it was truncated.
    """
    ends = batch.done.at[-1].set(True)

    def back(target: Array, x: tuple[Array, ...]) -> tuple[Array, None]:
        reward, terminated, ends, value = x
        future = jnp.where(ends, jnp.where(terminated, 0.0, value), target)
        return reward + gamma * future, None

    start = jnp.zeros_like(batch.reward[0])
    steps = (batch.reward, batch.terminated, ends, next_value)
    target, _ = jax.lax.scan(back, start, steps, reverse=True)
    return jax.lax.stop_gradient(target)
