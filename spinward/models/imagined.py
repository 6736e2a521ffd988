"""A fitted model as an environment with `reset` and `step`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Dict, Key, Spec, config, replace, struct


@struct
class State:
    obs: Array
    time: Array  # steps since the reset


def never(obs: Array) -> Array:
    """No observation ends an episode."""
    return jnp.zeros(obs.shape[:-1], bool)


def hopper(obs: Array) -> Array:
    """Hopper-v4: it stands, leans little, and moves within bounds."""
    stands = (obs[..., 0] > 0.7) & (jnp.abs(obs[..., 1]) < 0.2)
    return ~(stands & (jnp.abs(obs[..., 1:]) < 100.0).all(-1))


def walker2d(obs: Array) -> Array:
    """Walker2d-v4: it stands, neither too high nor too low, and leans little."""
    height, angle = obs[..., 0], obs[..., 1]
    return ~((height > 0.8) & (height < 2.0) & (jnp.abs(angle) < 1.0))


def inverted_pendulum(obs: Array) -> Array:
    """InvertedPendulum-v4: the pole leans little."""
    return ~(jnp.abs(obs[..., 1]) <= 0.2)


def within(x: Array, space: Box | Dict) -> Array:
    """`x` clipped to the bounds of its space, where that has any, as real observations are."""
    if not isinstance(space, Box) or not space.bounded:
        return x
    return jnp.clip(x, *(np.asarray(bound, np.float32) for bound in (space.low, space.high)))


def imagined_spec(real: Spec) -> Spec:
    """The spec of an imagined environment, whose actions are scaled as the model saw them."""
    action = real.action
    if not isinstance(action, Box):
        return real
    bounds = (-1.0, 1.0) if action.bounded else ()
    return replace(real, action=Box(action.shape, *bounds))


@config
class Imagined:
    """Starts from a real observation and follows `model` for `limit` steps.

    Actions are in [-1, 1] where those of the real environment have bounds. When an episode ends is
    no part of the model: `terminal` knows it from what is seen.
    """

    model: Any  # of one member: (obs, action, key) -> (next obs, reward)
    starts: Any  # with `seen(key)`: an observation to begin with
    real: Spec  # of the environment that is imagined
    limit: int = 100  # steps after which an episode is truncated
    terminal: Callable[[Array], Array] = never  # whether an observation ends the episode

    @property
    def spec(self) -> Spec:
        return imagined_spec(self.real)

    def reset(self, key: Key) -> tuple[State, Array]:
        obs = self.starts.seen(key)
        return State(obs, jnp.int32(0)), obs

    def step(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        obs, reward = self.model(state.obs, action, key)
        obs = within(obs, self.real.obs)
        time = state.time + 1
        terminated = self.terminal(obs)
        return State(obs, time), obs, reward, terminated, (time >= self.limit) & ~terminated


@config
class ImaginedByMembers:
    """Starts from a real observation; each step is taken by a random member of an ensemble.

    Copies step together, so that each member reads its rows at once.
    """

    world: Any  # an EnsembleWorld
    starts: Any  # with `seen(key)`: an observation to begin with
    real: Spec  # of the environment that is imagined
    limit: int = 100  # steps after which an episode is truncated

    @property
    def spec(self) -> Spec:
        return imagined_spec(self.real)

    def reset(self, key: Key) -> tuple[State, Array]:
        obs = self.starts.seen(key)
        return State(obs, jnp.int32(0)), obs

    def step(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        members = self.world.elites.shape[0]
        states, actions = jax.tree.map(lambda x: jnp.repeat(x[None], members, 0), (state, action))
        return jax.tree.map(lambda x: x[0], self.step_all(states, actions, key))

    def step_all(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        obs, reward, terminated = self.world.step(state.obs, action, key)
        time = state.time + 1
        return State(obs, time), obs, reward, terminated, (time >= self.limit) & ~terminated
