"""Our environments in JAX as `gymnasium.Env` and as `gymnasium.vector.VectorEnv`."""

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from spinward.core import Box, Dict, Discrete, Env, MultiDiscrete, Renders
from spinward.envs import given, ids
from spinward.errors import SettingsError
from spinward.trees import where


def space_of(space: Any) -> spaces.Space[Any]:
    """Gymnasium's word for a space of ours."""
    if isinstance(space, Dict):
        return spaces.Dict({name: space_of(box) for name, box in space.items})
    if isinstance(space, Discrete):
        return spaces.Discrete(space.n)
    if isinstance(space, MultiDiscrete):
        return spaces.MultiDiscrete(list(space.sizes))
    if not isinstance(space, Box):
        raise SettingsError(f"Gymnasium has no space for {space} as one array")
    dtype: Any = np.dtype(space.dtype)
    low, high = (np.broadcast_to(x, space.shape) for x in (space.low, space.high))
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        low, high = np.clip(low, info.min, info.max), np.clip(high, info.min, info.max)
    return spaces.Box(low.astype(dtype), high.astype(dtype), space.shape, dtype)


def opened(env: Any, settings: dict[str, Any]) -> Any:
    """An environment in JAX, by its name or as it is.

    Raises:
        SettingsError: it is on a host, or of texts.
    """
    if not given.is_ours(env):
        name, own = given.choice_of(env)
        env = ids.make(name, own | settings)
    if not isinstance(env, Env):
        raise SettingsError(f"{env!r:.80} is no environment in JAX that could be wrapped")
    return env


class AsGymnasium(gymnasium.Env[Any, Any]):
    """One environment: `AsGymnasium("CartPole-v1")`, or with an environment in JAX."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}

    def __init__(self, env: Any, render_mode: str | None = None, **settings: Any):
        self.env = opened(env, settings)
        if render_mode is not None and not isinstance(self.env, Renders):
            raise SettingsError(f"render_mode={render_mode}: {env} has no renderer")
        self.render_mode = render_mode
        self.observation_space = space_of(self.env.spec.obs)
        self.action_space = space_of(self.env.spec.action)
        self._reset, self._step = jax.jit(self.env.reset), jax.jit(self.env.step)

    def key(self) -> Any:
        return jax.random.PRNGKey(int(self.np_random.integers(2**31)))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.state, obs = self._reset(self.key())
        return jax.device_get(obs), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.state, *results = self._step(self.state, jnp.asarray(action), self.key())
        obs, reward, terminated, truncated = jax.device_get(results)
        return obs, float(reward), bool(terminated), bool(truncated), {}

    def render(self) -> Any:
        return self.env.render(self.state) if self.render_mode else None


class AsVectorEnv(VectorEnv[Any, Any, Any]):
    """`num_envs` environments as one compiled program. An ended one is reset in the step after, in
    which its action counts for nothing, as by Gymnasium's own `SyncVectorEnv`."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, env: Any, num_envs: int, **settings: Any):
        self.env, self.num_envs = opened(env, settings), num_envs
        spec = self.env.spec
        self.single_observation_space = space_of(spec.obs)
        self.single_action_space = space_of(spec.action)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._start, self._advance = jax.jit(self.start), jax.jit(self.advance)

    def start(self, key: Any) -> tuple[Any, Any]:
        return jax.vmap(self.env.reset)(jax.random.split(key, self.num_envs))  # type: ignore[no-any-return]

    def advance(self, state: Any, over: Any, action: Any, key: Any) -> tuple[Any, Any]:
        """The states after a step, and what is seen; environments that were `over` begin anew."""
        k_reset, k_step = jax.random.split(key)
        keys = jax.random.split(k_step, self.num_envs)
        stepped, obs, reward, *ends = jax.vmap(self.env.step)(state, action, keys)
        fresh = self.start(k_reset)
        state, obs = where(over, fresh, (stepped, obs))
        ends = [end & ~over for end in ends]
        return state, (obs, jnp.where(over, 0.0, reward), *ends)

    def key(self) -> Any:
        return jax.random.PRNGKey(int(self.np_random.integers(2**31)))

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.state, obs = self._start(self.key())
        self.over = np.zeros(self.num_envs, bool)
        return jax.device_get(obs), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        args = self.state, self.over, jnp.asarray(actions), self.key()
        self.state, seen = self._advance(*args)
        obs, reward, terminated, truncated = jax.device_get(seen)
        self.over = terminated | truncated
        return obs, np.asarray(reward, np.float64), terminated, truncated, {}
