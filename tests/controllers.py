"""Data of known quality: what controllers written by hand do in our tasks.

It is no test file; tests import it by name.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from spinward.core import Policy
from spinward.experience.material import Data
from spinward.experience.rollout import Rollout
from spinward.spaces import Box


def balance(obs):
    """CartPole: pushes to where the pole falls."""
    x, x_dot, theta, theta_dot = obs.T
    return ((theta + 0.5 * theta_dot + 0.05 * x + 0.1 * x_dot) > 0).astype(jnp.int32)


def swing_up(obs):
    """Pendulum: adds energy until the top is near, and holds it there."""
    cos, sin, speed = obs.T
    energy = speed**2 / 6.0 + 5.0 * (cos - 1.0)  # of a rod of length 1 and mass 1; 0 at the top
    pump = -2.0 * energy * jnp.where(speed == 0.0, 1.0, jnp.sign(speed))
    hold = -(16.0 * sin + 4.0 * speed)
    torque = jnp.where((cos > 0.9) & (jnp.abs(speed) < 4.0), hold, pump)
    return jnp.clip(torque / 2.0, -1.0, 1.0)[:, None]


def noisy(controller, env, noise, random_share=0.0):
    """`act` of a policy: the controller's choice, with noise or chance in a share of the steps."""
    box = isinstance(env.spec.action, Box)

    def act(obs, memory, key):
        k_coin, k_random, k_noise = jax.random.split(key, 3)
        action, envs = controller(obs), obs.shape[0]
        if box:
            action = jnp.clip(action + noise * jax.random.normal(k_noise, action.shape), -1.0, 1.0)
            random = jax.random.uniform(k_random, action.shape, minval=-1.0, maxval=1.0)
        else:
            random = jax.random.randint(k_random, (envs,), 0, env.spec.action.n)
        coin = jax.random.uniform(k_coin, (envs,)) < random_share
        return jnp.where(coin.reshape(-1, *[1] * (action.ndim - 1)), random, action), memory, {}

    return act


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4, 5))
def played(env, controller, noise, random_share, envs, steps, key):
    source = Rollout(env, envs, steps)
    policy = Policy(noisy(controller, env, noise, random_share), lambda envs: ())
    return source.collect(source.init(key, ()), policy, key)[1]


def data_of(env, controller, rows, noise=0.0, random_share=0.0, seed=0, envs=10):
    """Steps of one environment after another; where they were cut, the last is truncated."""
    batch = played(env, controller, noise, random_share, envs, rows // envs, jax.random.key(seed))
    batch = jax.tree.map(np.array, batch)
    batch.truncated[-1] |= ~batch.terminated[-1]
    steps = jax.tree.map(lambda x: np.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:]), batch)
    return Data(steps, env.spec)


def both(one, other):
    """The steps of one data set after another's."""
    steps = jax.tree.map(lambda a, b: np.concatenate([a, b]), one.steps, other.steps)
    return one._replace(steps=steps)


def mean_return(data):
    """The mean return of the whole episodes of a data set."""
    done = data.steps.done
    number = np.concatenate([[0], np.cumsum(done)[:-1]])
    returns, lengths = np.bincount(number, data.steps.reward), np.bincount(number)
    whole = (lengths == lengths.max()) if not data.steps.terminated.any() else lengths > 0
    return float(returns[whole].mean())
