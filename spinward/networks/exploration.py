"""Random actions among greedy ones."""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, Obs
from spinward.networks.torso import mask, uniform_choice


def greedy(q: Array) -> Array:
    """The best of actions [..., actions]."""
    return q.argmax(-1).astype(jnp.int32)


def epsilon_greedy(q: Array, obs: Obs, key: Key, epsilon: float | Array) -> Array:
    """The best of actions [..., actions], or with probability `epsilon` any that is allowed."""
    k_coin, k_action = jax.random.split(key)
    random = uniform_choice(k_action, mask(obs), q.shape)
    coin = jax.random.uniform(k_coin, q.shape[:-1]) < epsilon
    return jnp.where(coin, random, greedy(q))


def linear_epsilon(steps: Array, over: int, final: float | Array) -> Array:
    """The share of random actions: from 1 to `final` within `over` env steps, then constant."""
    return jnp.maximum(final, 1.0 - (1.0 - final) * steps / float(over))
