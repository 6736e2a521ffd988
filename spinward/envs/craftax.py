"""Environments of Craftax (Matthews and others, 2024, arXiv:2402.16801) as JAX environments of
ours."""

import functools
from typing import Any

import jax.numpy as jnp
from jax import Array

from spinward.core import Key, Obs, Spec, config
from spinward.envs.foreign import making
from spinward.envs.gymnax import action_of, box_of, leaf_of
from spinward.errors import SettingsError

ENDLESS = 2**31 - 1  # a time limit that no episode meets


@config
class Craftax:
    """The environment that Craftax calls `id`, without its automatic reset."""

    id: str  # the environment's name in Craftax

    @property
    def spec(self) -> Spec:
        _, _, seen, action = made(self.id)
        return Spec(box_of(self.id, seen), action_of(self.id, action))

    @property
    def limit(self) -> int:
        """Steps after which an episode is truncated."""
        return int(made(self.id)[1].max_timesteps)

    def reset(self, key: Key) -> tuple[Any, Obs]:
        env, params, seen, _ = made(self.id)
        obs, state = env.reset_env(key, params)
        return state, leaf_of(seen, obs)

    def step(self, state: Any, action: Array, key: Key) -> tuple[Any, Obs, Array, Array, Array]:
        env, params, seen, _ = made(self.id)
        obs, state, reward, done, _ = env.step_env(key, state, action, params)
        # `done` is also true at the time limit: what else ends an episode is asked for without one.
        over = jnp.asarray(env.is_terminal(state, params.replace(max_timesteps=ENDLESS)))
        late = jnp.asarray(done) & ~over
        return state, leaf_of(seen, obs), jnp.float32(reward), over, late


@functools.lru_cache(maxsize=16)
def made(name: str) -> tuple[Any, Any, Any, Any]:
    """Craftax's environment, its parameters, and its spaces of observations and actions.

    Raises:
        SettingsError: Craftax is missing, or does not know the id.
    """
    with making("craftax.craftax_env") as module:
        try:
            env = module.make_craftax_env_from_name(name, auto_reset=False)
        except ValueError as error:
            raise SettingsError(f"there is no environment {name!r} in Craftax") from error
        params = env.default_params
        return env, params, env.observation_space(params), env.action_space(params)
