"""Matches between players of a game for two, and their ratings.

Ratings are Elo's by maximum likelihood (Bradley and Terry, 1952): a player rated d points higher
is expected to score 1 / (1 + 10^(-d / 400)) of a game, where a draw is one half.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Game, Key, Obs
from spinward.search.opponents import at_random

Player = Callable[[Obs, Key], Array]  # from observations [games, ...] to actions [games]
PRIOR = 0.5  # games that each pair is taken to have drawn besides: no rating is infinite
POINTS = 400 / np.log(10)  # of Elo's scale
RESAMPLED = 200  # times, for the intervals


class Match(NamedTuple):
    """The games of one pair: results [games] for the first, 1, 1/2 or 0; in the first half of
    them it moves first."""

    first: int
    second: int
    results: np.ndarray


class Rating(NamedTuple):
    """A player's rating, with its interval of 95 %, and its share of the points."""

    points: float
    low: float
    high: float
    score: float


def tournament(
    game: Game, players: Sequence[Player], games: int, opening: int = 2, seed: int = 0
) -> list[Match]:
    """The matches of all pairs, `games` games each (an even number). The first `opening` plies of
    each game are random, so that games differ."""
    plies = [jax.jit(partial(ply, game, player)) for player in players]
    random = jax.jit(partial(ply, game, partial(at_random, game)))
    key, matches = jax.random.PRNGKey(seed), []
    for i in range(len(players)):
        for j in range(i + 1, len(players)):
            key, k_one, k_other = jax.random.split(key, 3)
            half = games // 2
            one = played(game, (plies[i], plies[j]), random, half, opening, k_one)
            other = played(game, (plies[j], plies[i]), random, half, opening, k_other)
            matches.append(Match(i, j, np.concatenate([one, 1.0 - other])))
    return matches


class Games(NamedTuple):
    """Games side by side, all with the same side to move."""

    state: Any
    obs: Obs
    over: Array  # [games]
    result: Array  # [games] for the side that moved first: 1, 1/2 or 0


def ply(game: Game, player: Player, table: Games, sign: Array, key: Key) -> Games:
    """The tables after a move in each game that is not over; `sign` is 1 where the first player
    moves and -1 where the second does."""
    k_act, k_step = jax.random.split(key)
    action = player(table.obs, k_act)
    keys = jax.random.split(k_step, action.shape[0])
    state, obs, reward, terminated, truncated = jax.vmap(game.step)(table.state, action, keys)
    ends = (terminated | truncated) & ~table.over
    result = jnp.where(ends, 0.5 + 0.5 * sign * reward, table.result)
    return Games(state, obs, table.over | terminated | truncated, result)


def played(
    game: Game,
    plies: tuple[Callable[..., Games], Callable[..., Games]],
    random: Callable[..., Games],
    games: int,
    opening: int,
    key: Key,
) -> np.ndarray:
    """The results [games] for the first player."""
    k_reset, key = jax.random.split(key)
    state, obs = jax.jit(jax.vmap(game.reset))(jax.random.split(k_reset, games))
    table = Games(state, obs, jnp.zeros(games, bool), jnp.full(games, 0.5))
    moves = 0
    while not bool(table.over.all()):
        key, k_ply = jax.random.split(key)
        move = random if moves < opening else plies[moves % 2]
        table = move(table, jnp.float32(1.0 - 2.0 * (moves % 2)), k_ply)
        moves += 1
    return np.asarray(table.result)


def ratings(matches: Sequence[Match], players: int, anchor: int = 0, seed: int = 0) -> list[Rating]:
    """The ratings of the players, of whom `anchor` is rated 0. Intervals are over resampled
    games."""
    random = np.random.default_rng(seed)
    best = fitted(points_of(matches, players), anchor)
    resampled = np.array(
        [
            fitted(points_of([redrawn(match, random) for match in matches], players), anchor)
            for _ in range(RESAMPLED)
        ]
    )
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    points = points_of(matches, players)
    score = points.sum(1) / np.maximum((points + points.T).sum(1), 1)
    return [Rating(*map(float, row)) for row in zip(best, low, high, score, strict=True)]


def redrawn(match: Match, random: np.random.Generator) -> Match:
    results = random.choice(match.results, len(match.results))
    return match._replace(results=results)


def points_of(matches: Sequence[Match], players: int) -> np.ndarray:
    """The points [i, j] that player i has won from player j."""
    points = np.zeros((players, players))
    for match in matches:
        points[match.first, match.second] += match.results.sum()
        points[match.second, match.first] += (1.0 - match.results).sum()
    return points


def fitted(points: np.ndarray, anchor: int) -> np.ndarray:
    """The ratings of largest likelihood, by Newton's method."""
    points = points + 0.5 * PRIOR * (1 - np.eye(len(points)))
    rating, free = np.zeros(len(points)), np.arange(len(points)) != anchor
    games = points + points.T
    for _ in range(50):
        expected = 1.0 / (1.0 + np.exp(rating[None] - rating[:, None]))
        gradient = (points - games * expected).sum(1)
        weight = games * expected * (1.0 - expected)
        curvature = np.diag(weight.sum(1)) - weight
        step = np.zeros(len(points))
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], gradient[free])
        rating = rating + np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-9:
            break
    return rating * POINTS
