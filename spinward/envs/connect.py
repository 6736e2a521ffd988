"""Games in which a line of own stones wins: tic-tac-toe, connect four, and others of their kind."""

from functools import reduce
from operator import and_

import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import config
from spinward.envs.boards import LETTERS, Board, Position, mirrored, turned

NAMES = {"TicTacToe": "tic_tac_toe", "ConnectFour": "Connect"}


@config
class Connect(Board):
    """`line` own stones in a row, a column or a diagonal win; a full board is a draw."""

    rows: int = 6  # of the board
    columns: int = 7  # of the board
    line: int = 4  # stones that win
    gravity: bool = True  # stones fall to the lowest empty cell of a column; if not, any cell

    @property
    def actions(self) -> int:
        return self.columns if self.gravity else self.rows * self.columns

    def legal(self, position: Position) -> Array:
        empty = ~(position.mine | position.theirs)
        return empty[0] if self.gravity else empty.reshape(-1)

    def played(self, position: Position, action: Array) -> tuple[Position, Array, Array]:
        taken = position.mine | position.theirs
        if self.gravity:
            row, column = self.rows - 1 - taken[:, action].sum(), action
        else:
            row, column = action // self.columns, action % self.columns
        here = (jnp.arange(self.rows) == row)[:, None] & (jnp.arange(self.columns) == column)
        mine = position.mine | here
        won = has_line(mine, self.line)
        over = won | (mine | position.theirs).all()
        return Position(position.theirs, mine, ~position.second), won.astype(jnp.float32), over

    def symmetries(self) -> tuple[np.ndarray, np.ndarray]:
        if self.gravity:
            return mirrored(self.rows, self.columns), mirrored(1, self.columns)
        square = self.rows == self.columns
        cells = turned(self.rows) if square else mirrored(self.rows, self.columns)
        return cells, cells

    def move_name(self, action: int, second: bool) -> str:
        return LETTERS[action] if self.gravity else super().move_name(action, second)


def has_line(stones: Array, line: int) -> Array:
    """Whether `stones` [rows, columns] have so many next to each other in a line."""
    rows, columns = stones.shape

    def line_along(down: int, right: int) -> Array:
        high, wide = rows - down * (line - 1), columns - abs(right) * (line - 1)
        if high < 1 or wide < 1:
            return jnp.bool_(False)
        first = (line - 1) if right < 0 else 0
        starts = [(i * down, first + i * right) for i in range(line)]
        return reduce(and_, [stones[r : r + high, c : c + wide] for r, c in starts]).any()

    return line_along(0, 1) | line_along(1, 0) | line_along(1, 1) | line_along(1, -1)


def tic_tac_toe() -> Connect:
    """Three in a line on nine cells."""
    return Connect(3, 3, 3, gravity=False)
