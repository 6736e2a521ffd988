"""Environments of Navix (Pignatelli and others, 2024, arXiv:2407.19396), which are MiniGrid's in
JAX, as JAX environments of ours."""

import functools
from typing import Any

import jax.numpy as jnp
from jax import Array

from spinward.core import Box, Discrete, Key, Obs, Spec, config
from spinward.envs.foreign import making, unknown
from spinward.errors import SettingsError

TRUNCATION, TERMINATION = 1, 2  # Navix's kinds of a last step


@config
class Navix:
    """The environment that Navix calls `id`."""

    id: str  # the environment's name in Navix
    kwargs: tuple[tuple[str, object], ...] = ()  # of the environment, as pairs

    @property
    def spec(self) -> Spec:
        env = made(self.id, self.kwargs)
        seen, dtype = env.observation_space, str(jnp.dtype(env.observation_space.dtype))
        kind = dtype if dtype == "uint8" else "float32"
        box = Box(tuple(seen.shape), float(seen.minimum), float(seen.maximum), kind)
        return Spec(box, Discrete(int(env.action_space.maximum) + 1))

    @property
    def limit(self) -> int:
        """Steps after which an episode is truncated."""
        return int(made(self.id, self.kwargs).max_steps)

    def reset(self, key: Key) -> tuple[Any, Obs]:
        step = made(self.id, self.kwargs).reset(key)
        return step, self.seen(step)

    def step(self, state: Any, action: Array, key: Key) -> tuple[Any, Obs, Array, Array, Array]:
        env = made(self.id, self.kwargs)
        # Its `step` would also reset each environment at each step, to keep what had ended.
        step = env._step(state, action)
        over, late = step.step_type == TERMINATION, step.step_type == TRUNCATION
        return step, self.seen(step), jnp.float32(step.reward), over, late

    def seen(self, step: Any) -> Array:
        kept = step.observation.dtype == jnp.uint8
        return jnp.asarray(step.observation, jnp.uint8 if kept else jnp.float32)


@functools.lru_cache(maxsize=64)
def made(name: str, kwargs: tuple[tuple[str, object], ...]) -> Any:
    """Navix's environment.

    Raises:
        SettingsError: Navix is missing, or does not know the id or a setting.
    """
    with making("navix") as navix:
        known = navix.registry()
        if name not in known:
            raise unknown("environment in Navix", name, known, "navix.registry()")
        try:
            return navix.make(name, **dict(kwargs))
        except TypeError as error:
            raise SettingsError(f"Navix does not make {name!r} so: {error}") from error
