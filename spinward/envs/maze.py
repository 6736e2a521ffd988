"""A maze in pixels, from the agent's view: apples, and a portal that is worth finding again.

After the Labyrinth task of Mnih et al. (2016, arXiv:1602.01783, section 5.6), as small as a laptop
wants it: cells in place of a 3-D engine. Every episode is in another maze, so what was learned of
one is of use in it alone, and a policy without a memory has to search for the portal every time.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Discrete, Key, Spec, config, replace, struct

NAMES = {"Maze": "Maze"}

VIEW = 7  # cells seen ahead, and from left to right
PIXELS = 4  # of a cell, in what is seen
MAZES = 2000  # to learn in, and as many held out
OPENINGS = 0.1  # share of inner walls that are opened, so that there is more than one way
HIDDEN, FLOOR, WALL, APPLE, PORTAL = range(5)
COLOURS = np.array(
    ((0, 0, 0), (206, 202, 190), (84, 96, 120), (206, 72, 72), (62, 200, 140)), np.uint8
)
AHEAD = np.array(((-1, 0), (0, 1), (1, 0), (0, -1)))  # by direction, clockwise from north
BIG = 24  # pixels of a cell, in a picture for people


@struct
class State:
    walls: Array  # bool [size, size]
    apples: Array  # bool [size, size], those not eaten
    orchard: Array  # bool [size, size], where they come back
    portal: Array  # row and column
    at: Array  # row and column
    facing: Array  # a row of `AHEAD`
    time: Array  # steps since the reset


@config
class Maze:
    """Turns left, turns right, or goes ahead. An apple gives 1. The portal gives 10, moves the
    agent to a random place, and puts all apples back."""

    size: int = 9  # cells along a side, walls included; odd
    apples: int = 4  # in each maze
    limit: int = 300  # steps after which an episode is truncated
    held_out: bool = False  # mazes that are never learned in

    @property
    def spec(self) -> Spec:
        side = VIEW * PIXELS
        return Spec(Box((side, side, 3), 0, 255, "uint8"), Discrete(3))

    @property
    def action_names(self) -> tuple[str, ...]:
        return "left", "right", "up"

    def reset(self, key: Key) -> tuple[State, Array]:
        k_maze, k_cells, k_facing = jax.random.split(key, 3)
        pool = mazes(self.size, self.held_out)
        walls = jnp.asarray(pool)[jax.random.randint(k_maze, (), 0, len(pool))]
        cells = free_cells(k_cells, walls, self.apples + 2)
        orchard = jnp.zeros(walls.size, bool).at[cells[2:]].set(True).reshape(walls.shape)
        portal, at = (jnp.stack(jnp.divmod(cells[i], self.size)) for i in range(2))
        facing = jax.random.randint(k_facing, (), 0, 4)
        state = State(walls, orchard, orchard, portal, at, facing, jnp.int32(0))
        return state, seen(state)

    def step(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        turn = (action == 1).astype(jnp.int32) - (action == 0)
        facing = (state.facing + turn) % 4
        ahead = state.at + jnp.asarray(AHEAD)[state.facing]
        goes = (action == 2) & ~state.walls[ahead[0], ahead[1]]
        at = jnp.where(goes, ahead, state.at)
        here = cell(at, self.size)
        eaten = (state.apples & here).any()
        through = (at == state.portal).all()
        free = state.walls | cell(state.portal, self.size)
        anywhere = jnp.stack(jnp.divmod(free_cells(key, free, 1)[0], self.size))
        state = replace(
            state,
            apples=jnp.where(through, state.orchard, state.apples & ~here),
            at=jnp.where(through, anywhere, at),
            facing=facing,
            time=state.time + 1,
        )
        reward = eaten.astype(jnp.float32) + 10.0 * through
        return state, seen(state), reward, jnp.bool_(False), state.time >= self.limit

    def render(self, state: State) -> np.ndarray:
        """The maze from above, the agent facing its darker side, beside what it sees."""
        above = COLOURS[np.asarray(cells_of(state))].repeat(BIG, 0).repeat(BIG, 1)
        corner = np.asarray(state.at) * BIG
        above[corner[0] : corner[0] + BIG, corner[1] : corner[1] + BIG] = (92, 164, 240)
        nose = corner + BIG // 3 * (1 + AHEAD[int(state.facing)])
        above[nose[0] : nose[0] + BIG // 3, nose[1] : nose[1] + BIG // 3] = (24, 60, 120)
        scale = -(-above.shape[0] // (VIEW * PIXELS))
        view = np.asarray(seen(state)).repeat(scale, 0).repeat(scale, 1)
        return np.concatenate([above, view[: above.shape[0], : above.shape[0]]], 1)


def cell(at: Array, size: int) -> Array:
    """A grid of bool [size, size] that is true at one place."""
    row, column = jnp.arange(size)[:, None], jnp.arange(size)
    return (row == at[0]) & (column == at[1])


def free_cells(key: Key, taken: Array, count: int) -> Array:
    """`count` different cells that are not taken, as numbers."""
    score = jnp.where(taken.reshape(-1), -1.0, jax.random.uniform(key, (taken.size,)))
    return jax.lax.top_k(score, count)[1]


def cells_of(state: State) -> Array:
    """What is in each cell."""
    cells = jnp.where(state.walls, WALL, jnp.where(state.apples, APPLE, FLOOR))
    return jnp.where(cell(state.portal, len(state.walls)), PORTAL, cells)


def seen(state: State) -> Array:
    """The picture [28, 28, 3] of what lies ahead, in which walls hide what is behind them."""
    around = jnp.pad(cells_of(state), VIEW, constant_values=WALL)
    ahead = jnp.asarray(AHEAD)[state.facing]
    right = jnp.asarray(AHEAD)[(state.facing + 1) % 4]
    far, aside = np.divmod(np.arange(VIEW * VIEW), VIEW)
    places = (
        state.at + VIEW + far[:, None] * ahead + (aside[:, None] - VIEW // 2) * right
    )  # the nearest row first
    cells = around[places[:, 0], places[:, 1]]
    behind = jnp.asarray(between()) @ (cells == WALL).astype(jnp.float32)
    cells = jnp.where(behind > 0, HIDDEN, cells).reshape(VIEW, VIEW)[::-1]
    return jnp.asarray(COLOURS)[cells].repeat(PIXELS, 0).repeat(PIXELS, 1)


@functools.cache
def between() -> np.ndarray:
    """Which cells lie on the straight line to each cell that is seen [49, 49], in between."""
    lines = np.zeros((VIEW, VIEW, VIEW, VIEW), np.float32)
    for far, aside in np.ndindex(VIEW, VIEW):
        across = aside - VIEW // 2
        steps = max(far, abs(across))
        for i in range(1, steps):
            on = round(i * far / steps), VIEW // 2 + round(i * across / steps)
            lines[far, aside][on] = 1.0
    return lines.reshape(VIEW * VIEW, VIEW * VIEW)


@functools.cache
def mazes(size: int, held_out: bool) -> np.ndarray:
    """Different mazes [maze, size, size] of bool, by depth-first search; none is in both sets."""
    random = np.random.default_rng(size)
    different: dict[bytes, np.ndarray] = {}
    for _ in range(20 * MAZES):
        walls = carved(size, random)
        different.setdefault(walls.tobytes(), walls)
        if len(different) == 2 * MAZES:
            break
    half = len(different) // 2
    whole = np.stack(list(different.values()))
    return whole[half:] if held_out else whole[:half]


def carved(size: int, random: np.random.Generator) -> np.ndarray:
    """One maze: a tree of passages between the cells at odd places, and some openings more."""
    walls = np.ones((size, size), bool)
    path = [(1, 1)]
    walls[1, 1] = False
    while path:
        row, column = path[-1]
        near = [(row + 2 * y, column + 2 * x) for y, x in AHEAD]
        near = [(y, x) for y, x in near if 0 < y < size and 0 < x < size and walls[y, x]]
        if not near:
            path.pop()
            continue
        y, x = near[random.integers(len(near))]
        walls[y, x] = walls[(y + row) // 2, (x + column) // 2] = False
        path.append((y, x))
    inner = [(y, x) for y, x in np.ndindex(size, size) if (y + x) % 2 and 0 < y < size - 1]
    for y, x in inner:
        if 0 < x < size - 1 and random.random() < OPENINGS:
            walls[y, x] = False
    return walls
