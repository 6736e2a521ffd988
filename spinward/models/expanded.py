"""Imagined steps of a policy after a real step, by each member of an ensemble."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, Transition, replace
from spinward.models.branched import EnsembleWorld
from spinward.models.imagined import within

# from observations [..., dim]: actions, the bonus for them [...], their values [critics, ...]
Valued = Callable[[Array, Key], tuple[Array, Array, Array]]


class Path(NamedTuple):
    """A real step, and the imagined ones after it, by each member."""

    reward: Array  # [steps + 1, member, batch] with the bonus of the action, if it is imagined
    discount: Array  # [steps + 1, member, batch] gamma times the probability of going on
    value: Array  # [steps + 1, critic, member, batch] of the state after the step, with its bonus
    obs: Array  # [steps, member, batch, dim] before each imagined step
    action: Array  # [steps, member, batch, dim] of each imagined step
    bonus: Array  # [steps, member, batch] of that action


def imagined_path(
    world: EnsembleWorld,
    valued: Valued,
    first: Transition,
    steps: int,
    gamma: float | Array,
    key: Key,
) -> Path:
    """The path after the real steps `first` [batch], where `steps` are imagined."""
    members = world.model.members.least.shape[0]

    def predict(one: Any, obs: Array, action: Array) -> tuple[Array, Array]:
        mean = replace(world.model, members=one, sampled=False)
        return mean(obs, action, key)

    def step(obs: Array, key: Key) -> tuple[Array, tuple[Array, ...]]:
        action, bonus, q = valued(obs, key)
        next_obs, reward = jax.vmap(predict)(world.model.members, obs, action)
        next_obs = within(next_obs, world.real.obs)
        ends = world.end_probability(obs, action, next_obs)
        return next_obs, (reward + bonus, gamma * (1.0 - ends), q + bonus, obs, action, bonus)

    def each(x: Array) -> Array:
        return jnp.broadcast_to(x, (members, *x.shape))

    k_steps, k_last = jax.random.split(key)
    start = each(first.next_obs.astype(jnp.float32))
    last, parts = jax.lax.scan(step, start, jax.random.split(k_steps, steps))
    reward, discount, value, obs, action, bonus = parts
    _, final_bonus, q = valued(last, k_last)
    real = each(first.reward)[None], each(gamma * (1.0 - first.terminated))[None]
    return Path(
        jnp.concatenate([real[0], reward]),
        jnp.concatenate([real[1], discount]),
        jnp.concatenate([value, (q + final_bonus)[None]]),
        obs,
        action,
        bonus,
    )
