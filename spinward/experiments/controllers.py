"""Data of known quality: what controllers written by hand do in our tasks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Env, Key, Memory, Obs, Policy, Transition
from spinward.experience.material import Data
from spinward.experience.rollout import Rollout
from spinward.programs.seeds import compiled
from spinward.spaces import Box

Act = Callable[[Obs, Memory, Key], tuple[Array, Memory, dict[str, Any]]]


def balance(obs: Array) -> Array:
    """CartPole: pushes to where the pole falls."""
    x, x_dot, theta, theta_dot = obs.T
    return ((theta + 0.5 * theta_dot + 0.05 * x + 0.1 * x_dot) > 0).astype(jnp.int32)


def swing_up(obs: Array) -> Array:
    """Pendulum: adds energy until the top is near, and holds it there (Astrom and Furuta, 2000)."""
    cos, sin, speed = obs.T
    energy = speed**2 / 6.0 + 5.0 * (cos - 1.0)  # of a rod of length 1 and mass 1; 0 at the top
    pump = -2.0 * energy * jnp.where(speed == 0.0, 1.0, jnp.sign(speed))
    hold = -(16.0 * sin + 4.0 * speed)
    torque = jnp.where((cos > 0.9) & (jnp.abs(speed) < 4.0), hold, pump)
    return jnp.clip(torque / 2.0, -1.0, 1.0)[:, None]


def noisy(controller: Callable[[Array], Array], env: Env, noise: float, random_share: float) -> Act:
    """What a policy does: the controller's choice with noise, and chance in a share of steps."""
    space = env.spec.action

    def act(obs: Obs, memory: Memory, key: Key) -> tuple[Array, Memory, dict[str, Any]]:
        k_coin, k_random, k_noise = jax.random.split(key, 3)
        action = controller(obs)
        if isinstance(space, Box):
            action = jnp.clip(action + noise * jax.random.normal(k_noise, action.shape), -1.0, 1.0)
        random = space.sample(k_random, (obs.shape[0],))
        coin = jax.random.uniform(k_coin, (obs.shape[0],)) < random_share
        return jnp.where(coin.reshape(-1, *[1] * (action.ndim - 1)), random, action), memory, {}

    return act


def played(
    key: Key, env: Any, controller: Any, noise: float, random_share: float, envs: int, steps: int
) -> Transition:
    """Steps [time, env] of a controller."""
    source = Rollout(env, envs, steps)
    policy = Policy(noisy(controller, env, noise, random_share), lambda envs: ())
    return source.collect(source.init(key, ()), policy, key)[1]


STATIC = ("env", "controller", "noise", "random_share", "envs", "steps")


def data_of(
    env: Env,
    controller: Callable[[Array], Array],
    rows: int,
    noise: float = 0.0,
    random_share: float = 0.0,
    seed: int = 0,
    envs: int = 10,
) -> Data:
    """Steps of one environment after another; where they were cut, the last is truncated."""
    key, settings = jax.random.PRNGKey(seed), (env, controller, noise, random_share, envs)
    batch = compiled(played, 0, STATIC)(key, *settings, rows // envs)
    batch = jax.tree.map(np.array, batch)
    batch.truncated[-1] |= ~batch.terminated[-1]
    steps = jax.tree.map(lambda x: np.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:]), batch)
    return Data(steps, env.spec)


def both(one: Data, other: Data) -> Data:
    """The steps of one data set after another's."""
    steps = jax.tree.map(lambda a, b: np.concatenate([a, b]), one.steps, other.steps)
    return one._replace(steps=steps)


def mean_return(data: Data) -> float:
    """The mean return of the longest episodes where none terminated, else of all."""
    steps: Any = data.steps
    number = np.concatenate([[0], np.cumsum(steps.done)[:-1]])
    returns, lengths = np.bincount(number, steps.reward), np.bincount(number)
    whole = (lengths == lengths.max()) if not steps.terminated.any() else lengths > 0
    return float(returns[whole].mean())
