"""Hex on a board of any size (Hein, 1942; Nash, 1948), without the rule that the second player may
swap sides.

The first player connects the top with the bottom, the second the left with the right. The side to
move always sees a board on which it connects top and bottom: the second player's board is
transposed, and so are its actions. Cell (r, c) touches (r-1, c), (r-1, c+1), (r, c-1), (r, c+1),
(r+1, c-1) and (r+1, c).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import config
from spinward.envs.boards import Board, Position

NAMES = {"Hex": "Hex"}


@config
class Hex(Board):
    """A chain of own stones from side to side wins. There are no draws."""

    size: int = 5  # cells along a side

    slanted = True

    @property
    def rows(self) -> int:  # type: ignore[override]
        return self.size

    @property
    def columns(self) -> int:  # type: ignore[override]
        return self.size

    def legal(self, position: Position) -> Array:
        return ~(position.mine | position.theirs).reshape(-1)

    def played(self, position: Position, action: Array) -> tuple[Position, Array, Array]:
        here = (jnp.arange(self.size**2) == action).reshape(self.size, self.size)
        mine = position.mine | here
        won = connected(mine)
        after = Position(position.theirs.T, mine.T, ~position.second)
        return after, won.astype(jnp.float32), won

    def symmetries(self) -> tuple[np.ndarray, np.ndarray]:
        cells = np.arange(self.size**2)
        both = np.stack([cells, cells[::-1]])  # half a turn
        return both, both

    def stones(self, state: Any) -> np.ndarray:
        stones = super().stones(state)
        return stones.T if bool(state.second) else stones

    def move_name(self, action: int, second: bool) -> str:
        row, column = divmod(action, self.size)
        cell = column * self.size + row if second else action
        return super().move_name(cell, second)


def connected(stones: Array) -> Array:
    """Whether a chain of `stones` [size, size] leads from the top to the bottom."""

    def grown(x: Array) -> Array:
        wide = jnp.pad(x, 1)
        near = (
            wide[:-2, 1:-1] | wide[:-2, 2:] | wide[1:-1, :-2]
            | wide[1:-1, 2:] | wide[2:, :-2] | wide[2:, 1:-1]
        )  # fmt: skip
        return (x | near) & stones

    first = stones & (jnp.arange(len(stones)) == 0)[:, None]
    state = first, grown(first)
    reached = jax.lax.while_loop(
        lambda x: (x[0] != x[1]).any(), lambda x: (x[1], grown(x[1])), state
    )
    return reached[1][-1].any()
