"""Environments of Brax (Freeman and others, 2021, arXiv:2106.13281) and of MuJoCo Playground (Zakka
and others, 2025, arXiv:2502.08844) as JAX environments of ours, which know their time limits."""

import functools
import math
from typing import Any

import jax.numpy as jnp
from jax import Array

from spinward.core import Box, Dict, Key, Obs, Spec, config, struct
from spinward.envs.foreign import making, unknown
from spinward.errors import SettingsError

PRIVILEGED = "privileged_state"  # Playground's name of what only critics see
Kwargs = tuple[tuple[str, object], ...]


@struct
class Timed:
    """A state of theirs, and the steps since the reset."""

    theirs: Any
    time: Array


@config
class Brax:
    """The environment that Brax calls `id`."""

    id: str  # the environment's name in Brax
    kwargs: Kwargs = ()  # of the environment, as pairs
    limit: int = 1000  # steps after which an episode is truncated

    def check(self) -> None:
        if self.limit < 1:
            raise SettingsError(f"limit={self.limit} must be at least 1")

    @property
    def spec(self) -> Spec:
        return spec_of(brax_env(self.id, self.kwargs))

    def reset(self, key: Key) -> tuple[Timed, Obs]:
        return reset(brax_env(self.id, self.kwargs), key)

    def step(self, state: Timed, action: Array, key: Key) -> tuple[Any, Obs, Array, Array, Array]:
        return step(brax_env(self.id, self.kwargs), self.limit, state, action)


@config
class Playground:
    """The environment that MuJoCo Playground calls `id`."""

    id: str  # the environment's name in MuJoCo Playground
    kwargs: Kwargs = ()  # of its configuration, as pairs

    @property
    def limit(self) -> int:
        """Steps after which an episode is truncated."""
        return playground_env(self.id, self.kwargs)[1]

    @property
    def spec(self) -> Spec:
        return spec_of(playground_env(self.id, self.kwargs)[0])

    def reset(self, key: Key) -> tuple[Timed, Obs]:
        return reset(playground_env(self.id, self.kwargs)[0], key)

    def step(self, state: Timed, action: Array, key: Key) -> tuple[Any, Obs, Array, Array, Array]:
        return step(*playground_env(self.id, self.kwargs), state, action)


def spec_of(env: Any) -> Spec:
    """The spaces of an environment of theirs, whose actions lie between -1 and 1."""
    sizes = env.observation_size
    parts = sizes.items() if isinstance(sizes, dict) else [("", sizes)]
    boxes = [(our_name(name), box_of(size)) for name, size in parts]
    obs = boxes[0][1] if boxes[0][0] == "" else Dict(tuple(sorted(boxes)))
    return Spec(obs, Box((int(env.action_size),), -1.0, 1.0))


def our_name(part: str) -> str:
    return "privileged" if part == PRIVILEGED else part


def box_of(size: Any) -> Box:
    shape = tuple(int(n) for n in size) if isinstance(size, tuple | list) else (int(size),)
    return Box(shape, -math.inf, math.inf)


def reset(env: Any, key: Key) -> tuple[Timed, Obs]:
    state = env.reset(key)
    return Timed(state, jnp.int32(0)), seen(state.obs)


def step(
    env: Any, limit: int, state: Timed, action: Array
) -> tuple[Timed, Obs, Array, Array, Array]:
    theirs = env.step(state.theirs, action)
    time = state.time + 1
    over = theirs.done > 0.5
    reward = jnp.float32(theirs.reward)
    return Timed(theirs, time), seen(theirs.obs), reward, over, (time >= limit) & ~over


def seen(obs: Any) -> Obs:
    if isinstance(obs, dict):
        return {our_name(name): jnp.asarray(part, jnp.float32) for name, part in obs.items()}
    return jnp.asarray(obs, jnp.float32)


@functools.lru_cache(maxsize=16)
def brax_env(name: str, kwargs: Kwargs) -> Any:
    """Brax's environment.

    Raises:
        SettingsError: Brax is missing, or does not know the id or a setting.
    """
    with making("brax.envs") as envs:
        try:
            return envs.get_environment(name, **dict(kwargs))
        except KeyError as error:
            raise SettingsError(f"there is no environment {name!r} in Brax") from error
        except TypeError as error:
            raise SettingsError(f"Brax does not make {name!r} so: {error}") from error


@functools.lru_cache(maxsize=16)
def playground_env(name: str, kwargs: Kwargs) -> tuple[Any, int]:
    """MuJoCo Playground's environment, and its time limit.

    Raises:
        SettingsError: MuJoCo Playground is missing, or does not know the id or a setting.
    """
    with making("mujoco_playground") as package:
        registry = package.registry
        if name not in registry.ALL_ENVS:
            what = "environment in MuJoCo Playground"
            raise unknown(what, name, registry.ALL_ENVS, "registry.ALL_ENVS")
        settings: Any = registry.get_default_config(name)
        own = {"impl": "jax", **dict(kwargs)} if "impl" in settings else dict(kwargs)
        if odd := own.keys() - settings.keys():
            said = f"MuJoCo Playground's {name} has no setting {min(odd)!r}"
            raise SettingsError(f"{said}; it has {', '.join(sorted(settings))}")
        limit = int(dict(kwargs).get("episode_length", settings.episode_length))  # type: ignore[call-overload]
        return registry.load(name, config_overrides=own), limit
