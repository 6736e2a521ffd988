"""A game for two as a task for one agent: a fixed opponent makes the other side's moves."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Dict, Game, Key, Obs, Spec, config, replace, struct
from spinward.errors import SettingsError
from spinward.learning.positions import learned
from spinward.search import opponents
from spinward.spaces import GAME_STATE

SIDES = ("either", "first", "second")
SETTINGS = ("opponent", "side")  # those that turn a game for two into a task


@struct
class State:
    """A game in which the agent is to move."""

    position: Any


@config
class Against:
    """The agent is asked for a move when its side is to move. Winning is worth 1, losing -1."""

    game: Any  # the game for two
    opponent: str = "one_ply"  # random, one_ply, minimaxN, uctN or exact
    side: str = "either"  # the agent's: first, second, or either by chance in each game

    @property
    def spec(self) -> Spec:
        spec = self.game.spec
        parts = tuple(part for part in spec.obs.items if part[0] != GAME_STATE)
        return replace(spec, obs=Dict(parts), players=1)

    def reply(self, obs: Obs, key: Key) -> Array:
        """The opponent's move."""
        one = jax.tree.map(lambda x: x[None], obs)
        return opponents.named(self.game, self.opponent)(one, key)[0]

    def reset(self, key: Key) -> tuple[State, Obs]:
        k_reset, k_side, k_reply, k_step = jax.random.split(key, 4)
        state, obs = self.game.reset(k_reset)
        after, seen, *_ = self.game.step(state, self.reply(obs, k_reply), k_step)
        second = jax.random.bernoulli(k_side) if self.side == "either" else self.side == "second"
        start = (state, obs), (after, seen)
        state, obs = jax.tree.map(lambda a, b: jnp.where(second, b, a), *start)
        return State(state), learned(obs)

    def step(self, state: State, action: Array, key: Key) -> tuple[State, Obs, Array, Array, Array]:
        k_own, k_reply, k_step = jax.random.split(key, 3)
        own = self.game.step(state.position, action, k_own)
        after, obs, reward, terminated, truncated = own
        over = terminated | truncated
        theirs = self.game.step(after, self.reply(obs, k_reply), k_step)
        both = jax.tree.map(lambda a, b: jnp.where(over, a, b), own, theirs)
        position, obs, _, terminated, truncated = both
        reward = reward - jnp.where(over, 0.0, theirs[2])
        return State(position), learned(obs), reward, terminated, truncated

    def render(self, state: State) -> np.ndarray:
        """The board."""
        return self.game.render(state.position)  # type: ignore[no-any-return]


def wrapped(name: str, env: Any, settings: dict[str, Any]) -> Any:
    """`env`, or the task that `settings` make of it.

    Raises:
        SettingsError: `env` is no game for two, or there is no such opponent or side.
    """
    if not settings:
        return env
    if not isinstance(env, Game):
        raise SettingsError(f"{name} is no game for two, and takes no {', '.join(settings)}")
    task = Against(env, **settings)
    if task.side not in SIDES:
        raise SettingsError(f"side={task.side!r} is not one of {', '.join(SIDES)}")
    opponents.named(env, task.opponent)
    return task
