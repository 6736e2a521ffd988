"""Games on at most nine cells, solved: the value of every position, from the ends backwards."""

import functools
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import MASK, Key, Obs, Spec
from spinward.errors import SettingsError

CELLS = 9  # of the largest board: 3^9 positions


@runtime_checkable
class Solvable(Protocol):
    """A game whose stones on the board are its whole state."""

    @property
    def spec(self) -> Spec: ...
    def legal(self, position: Any) -> Array: ...


@functools.cache
def solved(game: Any) -> np.ndarray:
    """The value, -1, 0 or 1, of every position [3^cells] for the side to move; see `number`.

    Raises:
        SettingsError: the board is too large, or there is more to a position than its stones.
    """
    if not isinstance(game, Solvable):
        raise SettingsError(
            f"exact play is known of TicTacToe, Hex and their kind, not of {type(game).__name__}"
        )
    rows, columns, _ = dict(game.spec.obs.items)["board"].shape  # type: ignore[union-attr]
    cells = rows * columns
    if cells > CELLS:
        raise SettingsError(f"exact play is known on {CELLS} cells at most; this board has {cells}")
    with jax.ensure_compile_time_eval():
        return _solved(game, rows, columns)


def _solved(game: Any, rows: int, columns: int) -> np.ndarray:
    cells = rows * columns
    stones = np.arange(3**cells)[:, None] // 3 ** np.arange(cells) % 3
    board = np.stack([stones == 1, stones == 2, np.zeros_like(stones, bool)], -1)
    board = board.reshape(-1, rows, columns, 3).astype(np.uint8)
    key = jax.random.key(0)

    def children(board: Array) -> tuple[Array, ...]:
        state = game.state_of({"board": board})
        legal = game.legal(state)
        actions = jnp.arange(legal.shape[0])
        after, _, reward, over, _ = jax.vmap(game.step, (None, 0, None))(state, actions, key)
        return jax.vmap(number)(after.mine, after.theirs), reward, over, legal

    child, reward, over, legal = (np.asarray(x) for x in jax.jit(jax.vmap(children))(board))
    value = np.zeros(3**cells, np.float32)
    for _ in range(cells + 1):  # each round is right for positions one ply farther from the end
        moves = np.where(legal, np.where(over, reward, -value[child]), -np.inf).max(1)
        value = np.where(np.isfinite(moves), moves, 0.0).astype(np.float32)
    return value


def number(mine: Array, theirs: Array) -> Array:
    """The number of a position: a digit of base 3 for each cell, 1 for own stones, 2 for theirs. A
    cell with both, after a move that is not legal, counts as theirs."""
    digits = jnp.where(theirs.reshape(-1), 2, mine.reshape(-1))
    return (digits * 3 ** jnp.arange(digits.shape[0])).sum()


def exact(game: Any, obs: Obs, key: Key) -> Array:
    """A move after which the game is worth the most, drawn from all such moves."""
    value = jnp.asarray(solved(game))

    def values(state: Any, legal: Array) -> Array:
        actions = jnp.arange(legal.shape[0])
        step = jax.vmap(game.step, (None, 0, None))
        after, _, reward, over, _ = step(state, actions, jax.random.key(0))
        later = -value[jax.vmap(number)(after.mine, after.theirs)]
        return jnp.where(legal, jnp.where(over, reward, later), -jnp.inf)

    results = jax.vmap(values)(jax.vmap(game.state_of)(obs), obs[MASK] != 0)
    tie = jax.random.uniform(key, results.shape, maxval=0.5)
    return (results + tie).argmax(-1).astype(jnp.int32)
