"""A corridor that ends in a T (Bakker, 2002): what was seen first says where to turn last.

Departs from the paper: the agent walks by itself, so that only memory is asked for. A policy
without one, whatever it is, earns one half of what there is.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Discrete, Key, Spec, config, struct

NAMES = {"T-Maze": "TMaze"}

CELL = 24  # pixels of a cell in a picture
FLOOR, WALL, WALKER, GOAL = (236, 236, 230), (44, 52, 64), (58, 110, 190), (62, 156, 106)


@struct
class State:
    sign: Array  # 1: the reward is on the right; -1: on the left
    time: Array  # steps since the reset, which is how far the walker has come


@config
class TMaze:
    length: int = 10  # steps through the corridor, after which one turns

    @property
    def spec(self) -> Spec:
        return Spec(Box((2,), -1.0, 1.0), Discrete(2))

    def reset(self, key: Key) -> tuple[State, Array]:
        state = State(jax.random.rademacher(key, (), jnp.float32), jnp.int32(0))
        return state, self.seen(state)

    def seen(self, state: State) -> Array:
        """The sign, at the first sight alone, and whether this is the junction."""
        sign = jnp.where(state.time == 0, state.sign, 0.0)
        return jnp.stack([sign, (state.time == self.length).astype(jnp.float32)])

    def step(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        turned = state.time >= self.length
        reached = turned & ((action == 1) == (state.sign > 0))
        state = State(state.sign, state.time + 1)
        return state, self.seen(state), reached.astype(jnp.float32), turned, jnp.bool_(False)

    def render(self, state: Any) -> np.ndarray:
        """The maze from above as uint8 pixels [5 * 24, (length + 3) * 24, 3]."""
        cells = np.empty((5, self.length + 3, 3), np.uint8)
        cells[:] = WALL
        cells[2, 1:-1] = cells[1:4, -2] = FLOOR
        cells[3 if state.sign > 0 else 1, -2] = GOAL
        cells[2, 1 + min(int(state.time), self.length)] = WALKER
        return cells.repeat(CELL, 0).repeat(CELL, 1)
