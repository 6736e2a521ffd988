"""Environments of gymnax (Lange, 2022) as JAX environments of ours."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Dict, Discrete, Key, Obs, Spec, config
from spinward.envs.foreign import making
from spinward.errors import SettingsError


@config
class Gymnax:
    """The environment that gymnax calls `id`, without its automatic reset."""

    id: str  # the environment's name in gymnax

    @property
    def spec(self) -> Spec:
        _, _, space, action = made(self.id)
        if hasattr(space, "spaces"):
            parts = tuple((name, box_of(self.id, part)) for name, part in space.spaces.items())
            return Spec(Dict(parts), action_of(self.id, action))
        return Spec(box_of(self.id, space), action_of(self.id, action))

    @property
    def limit(self) -> int:
        """Steps after which an episode is truncated; 0 where its parameters do not say."""
        _, params, *_ = made(self.id)
        return int(getattr(params, "max_steps_in_episode", 0))

    def reset(self, key: Key) -> tuple[Any, Obs]:
        env, params, *_ = made(self.id)
        obs, state = env.reset_env(key, params)
        return state, self._seen(obs)

    def step(self, state: Any, action: Array, key: Key) -> tuple[Any, Obs, Array, Array, Array]:
        env, params, *_ = made(self.id)
        obs, state, reward, done, _ = env.step_env(key, state, action, params)
        if hasattr(env, "is_truncated"):  # since 1.0 `done` knows nothing of time limits
            late, done = jnp.asarray(env.is_truncated(state, params)), jnp.asarray(done)
            terminated, truncated = done, late & ~done
        else:
            late = jnp.asarray(state.time >= params.max_steps_in_episode)
            terminated, truncated = done & ~late, done & late
        return state, self._seen(obs), jnp.float32(reward), terminated, truncated

    def _seen(self, obs: Any) -> Obs:
        space = made(self.id)[2]
        if hasattr(space, "spaces"):
            return {name: leaf_of(part, obs[name]) for name, part in space.spaces.items()}
        return leaf_of(space, obs)


@functools.lru_cache(maxsize=64)
def made(name: str) -> tuple[Any, Any, Any, Any]:
    """gymnax's environment, its parameters, and its spaces of observations and actions.

    Raises:
        SettingsError: gymnax is missing, or does not know the id.
    """
    with making("gymnax") as gymnax:
        try:
            env, params = gymnax.make(name)
        except ValueError as error:
            raise SettingsError(f"there is no environment {name!r} in gymnax: {error}") from error
        return env, params, env.observation_space(params), env.action_space(params)


def box_of(name: str, space: Any) -> Box:
    if hasattr(space, "n"):
        return Box((int(space.n),), 0.0, 1.0)
    if not hasattr(space, "low"):
        raise SettingsError(f"observation space {space} of gymnax's {name} is not supported")
    dtype = "uint8" if np.dtype(space.dtype) == np.uint8 else "float32"
    return Box(tuple(space.shape), bound_of(space.low), bound_of(space.high), dtype)


def bound_of(values: Any) -> Any:
    flat = np.asarray(values, np.float64).reshape(-1)
    return float(flat[0]) if (flat == flat[0]).all() else tuple(flat.tolist())


def action_of(name: str, space: Any) -> Box | Discrete:
    if hasattr(space, "n"):
        return Discrete(int(space.n))
    if not hasattr(space, "low"):
        raise SettingsError(f"action space {space} of gymnax's {name} is not supported")
    return Box(tuple(space.shape), bound_of(space.low), bound_of(space.high))


def leaf_of(space: Any, value: Any) -> Array:
    if hasattr(space, "n"):
        return jax.nn.one_hot(value, int(space.n))
    dtype = jnp.uint8 if np.dtype(space.dtype) == np.uint8 else jnp.float32
    return jnp.asarray(value, dtype).reshape(space.shape)
