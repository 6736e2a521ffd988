"""Othello on a board of any even size. The last action passes, and is legal only where no other is.

The start is the usual one: the second player's discs are on the main diagonal of the four middle
cells.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import config
from spinward.envs.boards import Board, Position, turned

NAMES = {"Othello": "Othello"}

AROUND = tuple((r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if (r, c) != (0, 0))


@config
class Othello(Board):
    """More discs at the end win. A game ends when neither side can place a disc."""

    size: int = 6  # cells along a side, an even number

    @property
    def rows(self) -> int:  # type: ignore[override]
        return self.size

    @property
    def columns(self) -> int:  # type: ignore[override]
        return self.size

    @property
    def actions(self) -> int:
        return self.size**2 + 1

    def start(self) -> Position:
        low = self.size // 2 - 1
        empty = jnp.zeros((self.size, self.size), bool)
        mine = empty.at[low, low + 1].set(True).at[low + 1, low].set(True)
        theirs = empty.at[low, low].set(True).at[low + 1, low + 1].set(True)
        return Position(mine, theirs, jnp.bool_(False))

    def legal(self, position: Position) -> Array:
        places = self.places(position.mine, position.theirs).reshape(-1)
        return jnp.append(places, ~places.any())

    def places(self, mine: Array, theirs: Array) -> Array:
        """Where a disc of `mine` would turn others: bool [size, size]."""
        empty = ~(mine | theirs)
        flips = jnp.zeros_like(mine)
        for shift in SHIFTS:
            flips |= shift(self.run(shift, mine, theirs)) & empty
        return flips

    def run(self, shift: Callable[[Array], Array], start: Array, through: Array) -> Array:
        """The cells of `through` that are reached from `start` by going one way."""
        x = shift(start) & through
        for _ in range(self.size - 3):
            x |= shift(x) & through
        return x

    def played(self, position: Position, action: Array) -> tuple[Position, Array, Array]:
        mine, theirs = position.mine, position.theirs
        here = (jnp.arange(self.size**2) == action).reshape(mine.shape)  # nowhere for a pass
        turned_over = jnp.zeros_like(mine)
        for shift in SHIFTS:
            run = self.run(shift, here, theirs)
            turned_over |= run & (shift(run) & mine).any()
        mine, theirs = mine | here | turned_over, theirs & ~turned_over
        over = ~(self.places(mine, theirs) | self.places(theirs, mine)).any()
        ahead = mine.sum(dtype=jnp.int32) - theirs.sum(dtype=jnp.int32)
        reward = jnp.where(over, jnp.sign(ahead), 0).astype(jnp.float32)
        return Position(theirs, mine, ~position.second), reward, over

    def symmetries(self) -> tuple[np.ndarray, np.ndarray]:
        cells = turned(self.size)
        passing = np.full((len(cells), 1), self.size**2)
        return cells, np.concatenate([cells, passing], 1)

    def move_name(self, action: int, second: bool) -> str:
        return "pass" if action == self.size**2 else super().move_name(action, second)


def shifted(down: int, right: int) -> Callable[[Array], Array]:
    """Moves a board one cell; nothing enters from beyond its edge."""

    def shift(x: Array) -> Array:
        size = len(x)
        return jnp.pad(x, 1)[1 - down : 1 - down + size, 1 - right : 1 - right + size]

    return shift


SHIFTS = tuple(shifted(*way) for way in AROUND)
