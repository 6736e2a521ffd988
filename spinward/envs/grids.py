"""Grid worlds whose objects are found, end the episode or come back: the toys that learned rules
are trained on (Oh et al., 2020, arXiv:2007.08794, appendix A; Jackson et al., 2023,
arXiv:2310.02782).

A `Level` is data: one program plays any of them. `drawn` gives the same environment in one level
for good; without one, every episode is in a level of its own.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Discrete, Key, Spec, config, replace, struct

NAMES = {
    "Grid-Small": "random_small",
    "Grid-General": "random_general",
    "Grid-Dense": "dense",
    "Grid-Sparse": "sparse",
    "Grid-Long": "long",
    "Grid-Longer": "longer",
    "Grid-LongDense": "long_dense",
    "Grid-Scattered": "random_features",
    "Grid-RandSmall": "rand_small",
    "Grid-RandSparse": "rand_sparse",
    "Grid-RandVeryDense": "rand_very_dense",
}

MOVES = np.array(((0, 0), (-1, 0), (0, 1), (1, 0), (0, -1)))  # stay, up, right, down, left
BIG = 24  # pixels of a cell, in a picture for people
COLOURS = np.array(((206, 202, 190), (84, 96, 120), (92, 164, 240)), np.uint8)  # floor, wall, agent


@struct
class Level:
    """What varies between worlds of one size."""

    walls: Array  # bool [rows, columns]
    start: Array  # a cell's number, or -1 for any free one
    cell: Array  # [objects] where each is, unless they are scattered
    reward: Array  # [objects] for stepping onto it
    end: Array  # [objects] chance that the episode then terminates
    back: Array  # [objects] chance at each step that a missing one comes back
    limit: Array  # steps after which an episode is truncated


@struct
class State:
    level: Level
    at: Array  # the agent's cell
    cell: Array  # [objects]
    present: Array  # bool [objects]
    time: Array  # steps since the reset


@config
class Grid:
    """Stays or moves by a cell; what is seen is the number of the state, or planes of 0 and 1."""

    rows: int = 5  # cells from top to bottom
    columns: int = 5  # cells from left to right
    objects: int = 2  # objects that give rewards
    tabular: bool = True  # the number of (cell, which objects are there); if not, planes
    scattered: bool = False  # objects lie elsewhere in each episode, and after coming back
    draw: Callable[..., Level] | None = None  # (key, rows, columns, objects); small ones if None
    level: Any = None  # a Level, where all episodes are in one

    @property
    def spec(self) -> Spec:
        cells = self.rows * self.columns
        states = cells << self.objects
        seen = Box((1,), 0, states - 1, "int32")
        planes = Box((cells * (1 + self.objects),), 0, 1, "uint8")
        return Spec(seen if self.tabular else planes, Discrete(len(MOVES)))

    def sample_task(self, key: Key) -> "Grid":
        """The same environment, fixed to one sampled level."""
        return replace(self, level=self.one(key))

    def one(self, key: Key) -> Level:
        if self.level is not None:
            return self.level
        return (self.draw or small)(key, self.rows, self.columns, self.objects)

    @property
    def action_names(self) -> tuple[str, ...]:
        return "stay", "up", "right", "down", "left"

    def reset(self, key: Key) -> tuple[State, Array]:
        k_level, k_at, k_cell = jax.random.split(key, 3)
        level = self.one(k_level)
        cell = free(k_cell, level.walls, self.objects) if self.scattered else level.cell
        at = jnp.where(level.start < 0, one_of_free(k_at, level.walls, cell), level.start)
        state = State(level, at, cell, jnp.ones(self.objects, bool), jnp.int32(0))
        return state, self.seen(state)

    def step(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        level, (ends, comes) = state.level, jax.random.uniform(key, (2, self.objects))
        at = cell_after(level.walls, state.at, action)
        hit = state.present & (state.cell == at)
        back = ~state.present & (comes < level.back)
        cell = state.cell
        if self.scattered:
            anew = free(jax.random.fold_in(key, 1), level.walls, self.objects)
            cell = jnp.where(back, anew, cell)
        terminated = (hit & (ends < level.end)).any()
        time = state.time + 1
        state = State(level, at, cell, (state.present & ~hit) | back, time)
        truncated = (time >= level.limit) & ~terminated
        return state, self.seen(state), (hit * level.reward).sum(), terminated, truncated

    def seen(self, state: State) -> Array:
        cells = self.rows * self.columns
        if self.tabular:
            bits = (state.present << np.arange(self.objects)).sum()
            return (state.at + cells * bits)[None].astype(jnp.int32)
        places = jnp.concatenate([state.at[None], jnp.where(state.present, state.cell, -1)])
        return (places[:, None] == jnp.arange(cells)).reshape(-1).astype(jnp.uint8)

    def render(self, state: State) -> np.ndarray:
        """The grid from above: objects green for what they give, red for what they cost."""
        picture = COLOURS[np.asarray(state.level.walls).astype(int)].reshape(-1, 3)
        for cell, present, reward in zip(
            *map(np.asarray, (state.cell, state.present, state.level.reward)), strict=True
        ):
            if present:
                picture[cell] = (62, 200, 140) if reward > 0 else (206, 72, 72)
        picture[int(state.at)] = COLOURS[2]
        return picture.reshape(self.rows, self.columns, 3).repeat(BIG, 0).repeat(BIG, 1)


def cell_after(walls: Array, at: Array, action: Array) -> Array:
    """The cell after an action; walls and the edge stop one."""
    rows, columns = walls.shape
    place = jnp.stack(jnp.divmod(at, columns)) + jnp.asarray(MOVES)[action]
    inside = ((place >= 0) & (place < jnp.array([rows, columns]))).all()
    to = place[0] * columns + place[1]
    return jnp.where(inside & ~walls.reshape(-1)[jnp.clip(to, 0, walls.size - 1)], to, at)


def free(key: Key, walls: Array, count: int) -> Array:
    """So many different free cells [count]."""
    score = jnp.where(walls.reshape(-1), -1.0, jax.random.uniform(key, (walls.size,)))
    return jax.lax.top_k(score, count)[1]


def one_of_free(key: Key, walls: Array, taken: Array) -> Array:
    """A free cell that is not `taken` [n], from a single random number."""
    open_ = ~walls.reshape(-1) & (jnp.arange(walls.size)[:, None] != taken).all(1)
    rank = jnp.cumsum(open_)
    return (rank > jnp.floor(jax.random.uniform(key) * rank[-1])).argmax()


def log_uniform(key: Key, low: float, high: float, shape: tuple[int, ...] = ()) -> Array:
    return jnp.exp(jax.random.uniform(key, shape, minval=np.log(low), maxval=np.log(high)))


def rewards(key: Key, objects: int) -> Array:
    """The first in (0, 1], the others in [-1, 1)."""
    first, others = jax.random.split(key)
    rest = jax.random.uniform(others, (objects - 1,), minval=-1.0, maxval=1.0)
    return jnp.concatenate([1.0 - jax.random.uniform(first, (1,)), rest])


def small(key: Key, rows: int, columns: int, objects: int) -> Level:
    """A short world without inner walls, which a learned rule is quick to be trained in."""
    k_cell, k_reward, k_end, k_back, k_limit = jax.random.split(key, 5)
    walls = jnp.zeros((rows, columns), bool)
    return Level(
        walls,
        jnp.int32(-1),
        free(k_cell, walls, objects),
        rewards(k_reward, objects),
        log_uniform(k_end, 0.01, 1.0, (objects,)),
        log_uniform(k_back, 0.01, 0.3, (objects,)),
        jax.random.randint(k_limit, (), 20, 61),
    )


def general(key: Key, rows: int, columns: int, objects: int) -> Level:
    """Jackson et al.'s distribution: sides of 4 to `rows`, 1 to `objects` objects, up to 15 inner
    walls, and episodes of 20 to 750 steps. What lies beyond a side counts as wall."""
    k_side, k_walls, k_cell, k_objects, k_reward, k_end, k_back, k_limit = jax.random.split(key, 8)
    height, width = jax.random.randint(k_side, (2,), 4, jnp.array([rows, columns]) + 1)
    outside = (jnp.arange(rows)[:, None] >= height) | (jnp.arange(columns) >= width)
    # At most a quarter of the cells, or the smallest worlds would be walls alone.
    share = jnp.minimum(15.0 / (height * width), 0.25)
    walls = outside | (jax.random.uniform(k_walls, (rows, columns)) < share)
    present = jnp.arange(objects) < jax.random.randint(k_objects, (), 1, objects + 1)
    return Level(
        walls,
        jnp.int32(-1),
        jnp.where(present, free(k_cell, walls, objects), -1),
        rewards(k_reward, objects),
        log_uniform(k_end, 0.01, 1.0, (objects,)),
        log_uniform(k_back, 0.001, 0.1, (objects,)),
        jnp.round(log_uniform(k_limit, 20.0, 750.0)).astype(jnp.int32),
    )


# Rows, columns, steps of an episode, and of each object reward, chance to end and to come back.
WORLDS: dict[str, tuple[int, int, int, tuple[tuple[float, float, float], ...]]] = {
    "dense": (11, 11, 500, ((1, 0, 0.05), (1, 0, 0.05), (-1, 0.5, 0.1), (-1, 0, 0.5))),
    "sparse": (13, 13, 50, ((1, 1, 0), (-1, 1, 0))),
    "long": (11, 11, 1000, ((1, 0, 0.01), (1, 0, 0.01), (-1, 0.5, 1), (-1, 0.5, 1))),
    "longer": (7, 9, 2000, ((1, 0.1, 0.01),) * 2 + ((-1, 0.8, 1),) * 5),
    "long-dense": (11, 11, 2000, ((1, 0, 0.005),) * 4),
    "rand-small": (7, 7, 500, ((1, 0, 0.05), (1, 0, 0.05), (-1, 0.5, 0.1), (-1, 0, 0.5))),
    "rand-sparse": (7, 7, 50, ((1, 1, 1), (-1, 1, 1), (-1, 1, 1))),
    "rand-very-dense": (11, 11, 2000, ((1, 0, 1),)),
}


def inner_walls(name: str, rows: int, columns: int) -> np.ndarray:
    """Of the worlds that have any: a wall with two gaps, or four rooms."""
    walls = np.zeros((rows, columns), bool)
    if name == "longer":
        walls[rows // 2] = True
        walls[rows // 2, [1, columns - 2]] = False
    if name == "long-dense":
        walls[rows // 2], walls[:, columns // 2] = True, True
        for gap in (rows // 4, rows - 1 - rows // 4):
            walls[rows // 2, gap] = walls[gap, columns // 2] = False
    return walls


def named(name: str, tabular: bool | None = None) -> Grid:
    """A world of `WORLDS`: tabular with objects in their places, or `rand-` with them scattered."""
    rows, columns, limit, objects = WORLDS[name]
    scattered = name.startswith("rand-")
    walls = inner_walls(name, rows, columns)
    places = np.random.default_rng(0).permutation(np.flatnonzero(~walls.reshape(-1)))
    reward, end, back = (jnp.asarray(column, jnp.float32) for column in zip(*objects, strict=True))
    level = Level(
        jnp.asarray(walls), jnp.int32(-1), jnp.asarray(places[: len(objects)], jnp.int32), reward,
        end, back, jnp.int32(limit),
    )  # fmt: skip
    table = not scattered if tabular is None else tabular
    return Grid(rows, columns, len(objects), table, scattered, None, level)


def random_small() -> Grid:
    """Small worlds of any kind, each with its objects in their places."""
    return Grid()


def random_general() -> Grid:
    return Grid(10, 10, 5, draw=general)


def random_features() -> Grid:
    """Small worlds whose objects lie elsewhere in each episode, seen as planes."""
    return Grid(tabular=False, scattered=True)


dense, sparse, long, longer, long_dense, rand_small, rand_sparse, rand_very_dense = (
    partial(named, name) for name in WORLDS
)
