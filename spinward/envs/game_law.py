"""Checks that a game for two follows the law of `core.Game`, by playing it at random."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import MASK, Game, Obs

GAMES = 32  # played side by side


class Played(NamedTuple):
    """What one ply of each game shows: [games]."""

    legal: Array  # whether any move is legal
    same: Array  # whether the observation determines the state: the next position is the same
    refused: Array  # whether a move that is not legal ends the game without a win
    reward: Array
    over: Array
    second: Array  # whether the second player moved


def play(game: Game, plies: int, seed: int = 0) -> Played:
    """Random legal games, which begin again when they end: [plies, games]."""

    def one(carry: tuple[Any, Obs, Array], key: Any) -> tuple[Any, Played]:
        state, obs, second = carry
        k_act, k_step, k_reset = jax.random.split(key, 3)
        legal = obs[MASK] != 0
        action = jax.random.categorical(k_act, jnp.where(legal, 0.0, -jnp.inf))
        illegal = jax.random.categorical(k_act, jnp.where(legal, -jnp.inf, 0.0))
        after, seen, reward, terminated, truncated = game.step(state, action, k_step)
        again = game.step(game.state_of(obs), action, k_step)
        same = [(a == b).all() for a, b in zip(*map(jax.tree.leaves, ((seen, reward), again[1:3])))]  # noqa: B905
        wrong = game.step(state, illegal, k_step)
        refused = legal.all() | (wrong[3] & (wrong[2] <= 0.0))
        over = terminated | truncated
        row = Played(legal.any(), jnp.stack(same).all(), refused, reward, over, second)
        fresh = (*game.reset(k_reset), jnp.bool_(False))
        return jax.tree.map(lambda a, b: jnp.where(over, a, b), fresh, (after, seen, ~second)), row

    def game_of(key: Any) -> Played:
        k_reset, k_plies = jax.random.split(key)
        start = (*game.reset(k_reset), jnp.bool_(False))
        return jax.lax.scan(one, start, jax.random.split(k_plies, plies))[1]

    keys = jax.random.split(jax.random.key(seed), GAMES)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(game_of))(keys))  # type: ignore[no-any-return]


def findings(game: Game, plies: int) -> list[tuple[bool, str, str, str, str]]:
    """Rows (ok, what, expected, found, fix), one for each clause of the law."""
    seen = play(game, plies)
    decided = seen.over & (seen.reward != 0)
    early = ~seen.over & (seen.reward != 0)
    lost = bool(decided.any() and (seen.reward[decided] < 0).all())
    bounded = bool((np.abs(seen.reward) <= 1).all())
    rows = [
        (
            bool(seen.legal.all()), "legal moves", "at least one while a game goes on",
            "a position without any", "end the game there, or offer a move that passes",
        ),
        (
            bool(seen.refused.all()), "illegal moves", "a loss for who makes one",
            "a game that goes on, or is won, after one", "check the move against action_mask",
        ),
        (
            bool(seen.same.all()), "observation", "all there is to know of the state",
            "another successor from state_of(obs)", "show in obs all that step depends on",
        ),
        (
            not early.any() and bounded, "result", "0 until the end, then -1 to 1",
            "another", "return the result of the game when it ends, and 0 before",
        ),
        (
            not lost, "side of the result", "the mover's", "every game lost by its last mover",
            "return 1 where the side that just moved has won",
        ),
    ]  # fmt: skip
    return [
        (ok, what, want, want if ok else got, "" if ok else fix)
        for ok, what, want, got, fix in rows
    ]
