"""Rooms in a row with a noisy television: a reward that is far off, and a sight that never ends.

The television is that of Burda et al. (2018, arXiv:1808.04355, section 5): it shows noise while its
button is pressed. An agent that seeks new observations stays with it; the cells that acting can
reach are elsewhere. Rooms have a floor of their own colour, and doors where chance puts them.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Discrete, Key, Spec, config, replace, struct
from spinward.envs.maze import AHEAD, BIG

NAMES = {"Rooms": "Rooms", "Rooms-Narrow": "narrow"}

VIEW = 7  # cells seen around the agent, from side to side
SCREEN = 3  # columns of the television beside them
PRESS = 4  # the action after those of `AHEAD`
WALL, GOAL, AGENT = (84, 96, 120), (62, 200, 140), (92, 164, 240)
FLOORS = ((206, 202, 190), (204, 160, 110), (150, 186, 214), (190, 160, 206), (214, 206, 120))


@struct
class State:
    walls: Array  # bool [size + 2, columns]
    goal: Array  # row and column
    at: Array  # row and column
    screen: Array  # uint8 [VIEW, SCREEN, 3], black where the button was not pressed
    time: Array  # steps since the reset


@config
class Rooms:
    """Goes to one of four sides, or presses the button. The goal pays 1 and ends the episode."""

    rooms: int = 4  # in a row
    size: int = 5  # cells along the side of a room
    tv: bool = True  # there is a button to press

    @property
    def spec(self) -> Spec:
        box = Box((VIEW, VIEW + SCREEN, 3), 0, 255, "uint8")
        return Spec(box, Discrete(5 if self.tv else 4))

    @property
    def columns(self) -> int:
        return self.rooms * (self.size + 1) + 1

    @property
    def limit(self) -> int:
        """Steps after which an episode is truncated."""
        return 40 * self.rooms

    @property
    def cells(self) -> int:
        """Where one can be: in rooms, and in the doors between them."""
        return self.rooms * self.size**2 + self.rooms - 1

    @property
    def action_names(self) -> tuple[str, ...]:
        return "up", "right", "down", "left", *(("press",) if self.tv else ())

    def reset(self, key: Key) -> tuple[State, Array]:
        k_doors, k_goal, k_start = jax.random.split(key, 3)
        column = jnp.arange(self.columns)
        doors = jax.random.randint(k_doors, (self.rooms + 1,), 1, self.size + 1)
        row = jnp.arange(self.size + 2)[:, None]
        open_ = (row == doors[column // (self.size + 1)]) & (column > 0)
        wall = (column % (self.size + 1) == 0) & ~open_
        edge = (row == 0) | (row == self.size + 1) | (column == self.columns - 1)
        place = jax.random.randint(k_goal, (2,), 1, self.size + 1)
        goal = place + jnp.array([0, (self.rooms - 1) * (self.size + 1)])
        at = jax.random.randint(k_start, (2,), 1, self.size + 1)
        if self.rooms == 1:
            at = jnp.where((at == goal).all(), at % self.size + 1, at)
        dark = jnp.zeros((VIEW, SCREEN, 3), jnp.uint8)
        state = State(wall | edge, goal, at, dark, jnp.int32(0))
        return state, self.seen(state)

    def step(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        pressed = action == PRESS
        ahead = state.at + jnp.asarray(AHEAD)[jnp.minimum(action, 3)]
        goes = ~pressed & ~state.walls[ahead[0], ahead[1]]
        noise = jax.random.bits(key, state.screen.shape, jnp.uint8)
        at = jnp.where(goes, ahead, state.at)
        screen = jnp.where(pressed, noise, jnp.uint8(0))
        state = replace(state, at=at, screen=screen, time=state.time + 1)
        reached = (at == state.goal).all()
        late = (state.time >= self.limit) & ~reached
        return state, self.seen(state), reached.astype(jnp.float32), reached, late

    def seen(self, state: State) -> Array:
        """The cells around, and the screen [7, 10, 3]."""
        picture = self.picture(state)
        around = jnp.pad(picture, ((VIEW, VIEW), (VIEW, VIEW), (0, 0)))
        corner = state.at + VIEW - VIEW // 2
        view = jax.lax.dynamic_slice(around, (*corner, 0), (VIEW, VIEW, 3))
        return jnp.concatenate([view, state.screen], 1)

    def picture(self, state: State) -> Array:
        """The colours of all cells, without the agent."""
        room = jnp.arange(self.columns) // (self.size + 1) % len(FLOORS)
        floor = jnp.broadcast_to(jnp.asarray(FLOORS, jnp.uint8)[room], (*state.walls.shape, 3))
        picture = jnp.where(state.walls[..., None], jnp.asarray(WALL, jnp.uint8), floor)
        row, column = (jnp.arange(n) for n in state.walls.shape)
        here = ((row == state.goal[0])[:, None] & (column == state.goal[1]))[..., None]
        return jnp.where(here, jnp.asarray(GOAL, jnp.uint8), picture)

    def render(self, state: State) -> np.ndarray:
        """All rooms from above, the screen beside them."""
        above = np.array(self.picture(state))
        above[tuple(np.asarray(state.at))] = AGENT
        screen = np.zeros((len(above), SCREEN + 1, 3), np.uint8)
        rows = min(len(above), VIEW)
        screen[:rows, 1:] = np.asarray(state.screen)[:rows]
        return np.concatenate([above, screen], 1).repeat(BIG, 0).repeat(BIG, 1)


def narrow() -> Rooms:
    """More of them, which one sees whole from within."""
    return Rooms(rooms=6, size=3)
