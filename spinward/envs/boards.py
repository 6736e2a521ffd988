"""What board games for two have in common: positions, observations, symmetries and pictures.

A position is seen by the side to move: `mine` are its own stones. `board` of an observation has
three planes [rows, columns]: own stones, the other side's, and ones where the side to move is the
second player.
"""

import abc
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import MASK, Box, Dict, Discrete, Game, Key, Obs, Spec, struct
from spinward.envs.canvas import BLUE, GREY, MIST, ORANGE, Canvas
from spinward.errors import SettingsError

BOARD = "board"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SIGNS = np.array([".", "x", "o"])  # an empty cell, the first player's stone, the second's
CELL = 40  # pixels along the side of a cell


@struct
class Position:
    """The stones on a board, as the side to move sees them."""

    mine: Array  # bool [rows, columns]
    theirs: Array  # bool [rows, columns]
    second: Array  # bool: whether the second player is to move


class Drawing(abc.ABC):
    """The board of `rows` by `columns` of a game, in signs and as a picture."""

    rows: int
    columns: int
    slanted: ClassVar[bool] = False  # each row lies half a cell to the right of that above

    @abc.abstractmethod
    def stones(self, state: Any) -> np.ndarray:
        """The board [rows, columns] as people see it: 1 where the first player has a stone, 2 where
        the second has."""

    def signs(self, state: Any) -> np.ndarray:
        """A letter for each cell [rows, columns]: x is the first player, o the second."""
        return SIGNS[self.stones(state)]

    def text(self, state: Any) -> str:
        """The board in signs."""
        lines = [f"{self.rows - i:>2} " + " ".join(row) for i, row in enumerate(self.signs(state))]
        lines.append("   " + " ".join(LETTERS[: self.columns]))
        return "\n".join(" " * (i * self.slanted) + line for i, line in enumerate(lines))

    def move_name(self, action: int, second: bool) -> str:
        """An action as people name it: the column's letter and the row's number, from below."""
        row, column = divmod(action, self.columns)
        return f"{LETTERS[column]}{self.rows - row}"

    def render(self, state: Any) -> np.ndarray:
        """The board as pixels [height, width, 3]; the first player is blue."""
        centre = ((self.columns - 1) / 2, (self.rows - 1) / 2)
        size = (self.columns + 1) * CELL, (self.rows + 1) * CELL
        canvas = Canvas(CELL, centre, *size)
        for (row, column), stone in np.ndenumerate(self.stones(state)):
            place = float(column), float(self.rows - 1 - row)
            canvas.disc(place, 0.45, GREY)
            canvas.disc(place, 0.42, (MIST, BLUE, ORANGE)[stone])
        return canvas.pixels()


class Board(Drawing):
    """A game on a board of `rows` by `columns`. A game says which moves are `legal`, and what is
    `played` by one. A move that is not legal loses."""

    @property
    def actions(self) -> int:
        """The number of actions: one for each cell, unless a game says otherwise."""
        return self.rows * self.columns

    @abc.abstractmethod
    def legal(self, position: Position) -> Array:
        """Which actions are legal: bool [actions]."""

    @abc.abstractmethod
    def played(self, position: Position, action: Array) -> tuple[Position, Array, Array]:
        """After a legal action: the position as the next side sees it, the mover's reward, and
        whether the game is over."""

    def start(self) -> Position:
        """The position at the start of a game."""
        empty = jnp.zeros((self.rows, self.columns), bool)
        return Position(empty, empty, jnp.bool_(False))

    @property
    def spec(self) -> Spec:
        board = Box((self.rows, self.columns, 3), 0, 1, "uint8")
        mask = Box((self.actions,), 0, 1, "uint8")
        obs = Dict(((BOARD, board), (MASK, mask)))
        return Spec(obs, Discrete(self.actions), players=2)

    def reset(self, key: Key) -> tuple[Position, Obs]:
        position = self.start()
        return position, self.seen(position)

    def step(
        self, state: Position, action: Array, key: Key
    ) -> tuple[Position, Obs, Array, Array, Array]:
        allowed = self.legal(state)[action]
        after, reward, over = self.played(state, action)
        reward = jnp.where(allowed, reward, -1.0).astype(jnp.float32)
        return after, self.seen(after), reward, over | ~allowed, jnp.bool_(False)

    def seen(self, position: Position) -> Obs:
        second = jnp.broadcast_to(position.second, position.mine.shape)
        planes = jnp.stack([position.mine, position.theirs, second], -1)
        return {BOARD: planes.astype(jnp.uint8), MASK: self.legal(position).astype(jnp.uint8)}

    def state_of(self, obs: Obs) -> Position:
        board = obs[BOARD] != 0
        return Position(board[..., 0], board[..., 1], board[..., 0, 0, 2])

    def symmetries(self) -> tuple[np.ndarray, np.ndarray]:
        """Permutations that change nothing about the game, of cells [n, rows * columns] and of
        actions [n, actions]: entry i is where the new entry i is taken from. The first changes
        nothing."""
        return same(self.rows * self.columns), same(self.actions)

    def plies(self, obs: Obs) -> Array:
        """The stones [batch] placed since the start of a game."""
        first = self.seen(self.start())[BOARD]
        count: Array = obs[BOARD][..., :2].sum((-3, -2, -1)) - first[..., :2].sum()
        return count

    def stones(self, state: Any) -> np.ndarray:
        mine, theirs = np.asarray(state.mine), np.asarray(state.theirs)
        first, second = (theirs, mine) if bool(state.second) else (mine, theirs)
        return first + 2 * second


def same(count: int) -> np.ndarray:
    """The permutation that changes nothing, [1, count]."""
    return np.arange(count)[None]


def mirrored(rows: int, columns: int) -> np.ndarray:
    """Left and right exchanged, after no change: cells [2, rows * columns]."""
    cells = np.arange(rows * columns).reshape(rows, columns)
    return np.stack([cells.ravel(), cells[:, ::-1].ravel()])


def turned(side: int) -> np.ndarray:
    """The eight turns and reflections of a square: cells [8, side * side]."""
    cells = np.arange(side * side).reshape(side, side)
    turns = [np.rot90(cells, i) for i in range(4)]
    return np.stack([x.ravel() for turn in turns for x in (turn, turn.T)])


def rules(env: Any, name: str) -> Game:
    """`env`, if it is a game for two.

    Raises:
        SettingsError: it is none.
    """
    if isinstance(env, Game):
        return env
    raise SettingsError(
        f"{name} is no game for two; there are TicTacToe, ConnectFour, Hex, Othello, and Pgx's as "
        "pgx:chess, without an opponent"
    )
