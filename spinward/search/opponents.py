"""Fixed opponents in games for two: at random, one ply ahead, minimax, UCT with playouts, and exact
play on the smallest boards.

An opponent is a function from observations [batch, ...] and a key to actions [batch].
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import MASK, Game, Key, Obs
from spinward.errors import SettingsError, nearest
from spinward.search.exact import exact, solved
from spinward.search.trees import uct

Opponent = Callable[[Obs, Key], Array]


def at_random(game: Game, obs: Obs, key: Key) -> Array:
    """A legal action, uniformly."""
    logits = jnp.where(obs[MASK] != 0, 0.0, -jnp.inf)
    return jax.random.categorical(key, logits).astype(jnp.int32)


def one_ply(game: Game, obs: Obs, key: Key) -> Array:
    """A move that wins at once; otherwise one after which the other side cannot win at once;
    otherwise any."""
    return minimax(game, obs, key, 2)


def minimax(game: Game, obs: Obs, key: Key, depth: int) -> Array:
    """The best move by looking `depth` plies ahead; what is not over by then is worth 0. Equal
    moves are drawn from at random."""
    state = jax.vmap(game.state_of)(obs)
    values = jax.vmap(partial(action_values, game, depth=depth))(state, obs[MASK] != 0)
    tie = jax.random.uniform(key, values.shape, maxval=1e-3)
    return (values + tie).argmax(-1).astype(jnp.int32)


def action_values(game: Game, state: Any, legal: Array, depth: int) -> Array:
    """The values [actions] of moves for the side to move; -inf for a move that is not legal."""
    key = jax.random.key(0)  # rules draw nothing
    actions = jnp.arange(legal.shape[0], dtype=jnp.int32)
    after, obs, reward, terminated, truncated = jax.vmap(game.step, (None, 0, None))(
        state, actions, key
    )
    if depth == 1:
        value = reward
    else:
        deeper = jax.vmap(partial(action_values, game, depth=depth - 1))(after, obs[MASK] != 0)
        value = jnp.where(terminated | truncated, reward, reward - deeper.max(-1))
    return jnp.where(legal, value, -jnp.inf)


def by_uct(game: Game, obs: Obs, key: Key, simulations: int) -> Array:
    """The most visited move of UCT, whose leaves are valued by one game played at random."""
    return uct(game, partial(playout, game), obs, key, simulations).action


def playout(game: Game, obs: Obs, key: Key) -> tuple[Array, Array]:
    """Even logits, and the result of one game played at random from each position."""
    batch, actions = obs[MASK].shape
    state = jax.vmap(game.state_of)(obs)

    def ply(x: tuple[Any, ...]) -> tuple[Any, ...]:
        state, obs, total, sign, over, key = x
        key, k_act, k_step = jax.random.split(key, 3)
        action = at_random(game, obs, k_act)
        keys = jax.random.split(k_step, batch)
        state, obs, reward, terminated, truncated = jax.vmap(game.step)(state, action, keys)
        total = total + jnp.where(over, 0.0, sign * reward)
        return state, obs, total, -sign, over | terminated | truncated, key

    over = (obs[MASK] == 0).all(-1)
    start = (state, obs, jnp.zeros(batch), jnp.float32(1.0), over, key)
    last = jax.lax.while_loop(lambda x: ~x[4].all(), ply, start)
    return jnp.zeros((batch, actions)), last[2]


NAMES = (
    "random, one_ply, minimaxN (N plies ahead), uctN (N simulations), exact (nine cells at most)"
)


def named(game: Any, name: str) -> Opponent:
    """The opponent called `name`: `random`, `one_ply`, `minimax4`, `uct100` and the like.

    Raises:
        SettingsError: there is none.
    """
    plain = {"random": at_random, "one_ply": one_ply, "exact": exact}
    if name == "exact":
        solved(game)
    if name in plain:
        return partial(plain[name], game)
    if (count := number_after("uct", name)) > 1:
        return partial(by_uct, game, simulations=count)
    if depth := number_after("minimax", name):
        return partial(minimax, game, depth=depth)
    near = nearest(name, [*plain, "uct100", "minimax2"])
    hint = f"; did you mean {near[0]}?" if near else ""
    raise SettingsError(f"there is no opponent {name!r}; known are {NAMES}{hint}")


def number_after(word: str, name: str) -> int:
    """The number that follows `word` in `name`; 0 where none does."""
    rest = name.removeprefix(word)
    return int(rest) if rest != name and rest.isdecimal() else 0
