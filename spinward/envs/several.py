"""Several environments as one: `reset` samples the environment and its task."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Discrete, Key, Spec, config, replace, struct
from spinward.envs.delayed_chain import DelayedChain
from spinward.envs.grids import Grid, random_features
from spinward.errors import SettingsError

NAMES = {"Toys": "toys", "Toys-Features": "toys_in_features"}


@struct
class State:
    which: Array
    states: tuple[Any, ...]


@config
class Several:
    """All of `envs` step side by side, and one of them is looked at. What is seen is padded to the
    longest, and where one has fewer actions, the others count as its last."""

    envs: Any  # a tuple of Env
    which: Any = None  # the number of one, where all episodes are in it

    @property
    def kinds(self) -> int:
        return len(self.envs)

    @property
    def spec(self) -> Spec:
        specs = [env.spec for env in self.envs]
        boxes = [spec.obs for spec in specs]
        same = len({box.dtype for box in boxes}) == 1 and {len(box.shape) for box in boxes} == {1}
        if not same or any(not isinstance(spec.action, Discrete) for spec in specs):
            raise SettingsError("several environments as one need vectors of one type, and choices")
        size = max(box.size for box in boxes)
        high = float(max(np.max(box.high) for box in boxes))
        low = float(min(np.min(box.low) for box in boxes))
        actions = max(spec.action.n for spec in specs)
        return Spec(Box((size,), low, high, boxes[0].dtype), Discrete(actions))

    def sample_task(self, key: Key) -> "Several":
        """The same, in one of them and one of its tasks for good."""
        k_which, *keys = jax.random.split(key, self.kinds + 1)
        envs = tuple(env.sample_task(k) for env, k in zip(self.envs, keys, strict=True))
        return replace(self, envs=envs, which=self.one(k_which))

    def one(self, key: Key) -> Array:
        return jax.random.randint(key, (), 0, self.kinds) if self.which is None else self.which

    def reset(self, key: Key) -> tuple[State, Array]:
        k_which, *keys = jax.random.split(key, self.kinds + 1)
        which = self.one(k_which)
        starts = [env.reset(k) for env, k in zip(self.envs, keys, strict=True)]
        states, obs = zip(*starts, strict=True)
        return State(which, states), self.of_env(which, map(self.padded, obs))

    def step(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        keys = jax.random.split(key, self.kinds)
        answers = [
            env.step(inner, jnp.minimum(action, env.spec.action.n - 1), k)
            for env, inner, k in zip(self.envs, state.states, keys, strict=True)
        ]
        states, obs, *rest = zip(*answers, strict=True)
        selected = [self.of_env(state.which, part) for part in (map(self.padded, obs), *rest)]
        return State(state.which, states), *selected  # type: ignore[return-value]

    def padded(self, obs: Array) -> Array:
        return jnp.pad(obs, (0, self.spec.obs.shape[0] - obs.shape[0]))  # type: ignore[union-attr]

    def of_env(self, which: Array, values: Any) -> Array:
        return jnp.stack(list(values))[which]


def toys() -> Several:
    """Small grids and delayed chains, by the number of their state."""
    return Several((Grid(), DelayedChain()))


def toys_in_features() -> Several:
    """Small grids with scattered objects and delayed chains, as vectors of 0 and 1."""
    return Several((random_features(), DelayedChain(tabular=False)))
