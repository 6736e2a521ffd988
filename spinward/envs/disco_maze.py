"""A maze whose walls change their colours with every step, without any reward.

The random disco maze of Badia et al. (2020, arXiv:2002.06038, section 4.1), smaller: another maze
in every episode, walls of five colours drawn anew at each step, an end on touching one, and no
reward. What is asked is how many cells an agent comes to that is moved by novelty alone.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Discrete, Key, Spec, config, replace, struct
from spinward.envs.maze import AHEAD, BIG, cell, free_cells, mazes

NAMES = {"Disco-Maze": "DiscoMaze", "Disco-Small": "small"}

DISCO = ((206, 72, 72), (62, 200, 140), (92, 124, 240), (222, 196, 80), (190, 96, 206))
FLOOR, AGENT = (0, 0, 0), (255, 255, 255)


@struct
class State:
    walls: Array  # bool [size, size]
    colours: Array  # of each wall: a row of `DISCO` [size, size]
    at: Array  # row and column
    time: Array  # steps since the reset


@config
class DiscoMaze:
    """Goes north, east, south or west; a wall ends the episode, and the reward is always 0."""

    size: int = 11  # cells along a side, walls included; odd; the paper has 21
    limit: int = 150  # steps after which an episode is truncated
    held_out: bool = False  # mazes that are never learned in

    @property
    def spec(self) -> Spec:
        return Spec(Box((self.size, self.size, 3), 0, 255, "uint8"), Discrete(4))

    @property
    def action_names(self) -> tuple[str, ...]:
        return "up", "right", "down", "left"

    def reset(self, key: Key) -> tuple[State, Array]:
        k_maze, k_at, k_colours = jax.random.split(key, 3)
        pool = mazes(self.size, self.held_out)
        walls = jnp.asarray(pool)[jax.random.randint(k_maze, (), 0, len(pool))]
        at = jnp.stack(jnp.divmod(free_cells(k_at, walls, 1)[0], self.size))
        state = State(walls, self.sample_colours(k_colours), at, jnp.int32(0))
        return state, seen(state)

    def sample_colours(self, key: Key) -> Array:
        return jax.random.randint(key, (self.size, self.size), 0, len(DISCO))

    def step(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        ahead = state.at + jnp.asarray(AHEAD)[action]
        hit = state.walls[ahead[0], ahead[1]]
        at = jnp.where(hit, state.at, ahead)
        state = replace(state, at=at, colours=self.sample_colours(key), time=state.time + 1)
        late = (state.time >= self.limit) & ~hit
        return state, seen(state), jnp.float32(0.0), hit, late

    def render(self, state: State) -> np.ndarray:
        return np.asarray(seen(state)).repeat(BIG, 0).repeat(BIG, 1)


def seen(state: State) -> Array:
    """The whole maze from above [size, size, 3]."""
    disco = jnp.asarray(DISCO, jnp.uint8)[state.colours]
    picture = jnp.where(state.walls[..., None], disco, jnp.asarray(FLOOR, jnp.uint8))
    here = cell(state.at, len(state.walls))[..., None]
    return jnp.where(here, jnp.asarray(AGENT, jnp.uint8), picture)


def small() -> DiscoMaze:
    """Nine places and the passages between them, which a laptop has the time to learn."""
    return DiscoMaze(size=7, limit=100)
