"""Kitchens seen from above, in place of a robot's: a point moves, and may carry a block.

Scenes differ in walls, colours and things that lie about. There are six tasks: go to one of three
zones, or bring the block there. What touches the block holds it from then on. Observations are the
task, and a picture with the own position, or a list of where everything is; actions are moves in
both directions.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spinward.core import Box, Dict, Spec
from spinward.data import writer
from spinward.data.card import Card
from spinward.data.layout import layout_of
from spinward.data.mixing import finish

SIZE, CELLS, ZONES = 32, 16, 3  # pixels; cells that paths are searched on; coloured zones
TASKS = tuple(f"{verb} {colour}" for verb in ("go to", "bring the block to")
              for colour in ("red", "green", "blue"))  # fmt: skip
STEP, NEAR, TOUCH, LIMIT, NOISE = 0.08, 0.1, 0.09, 40, 0.15
TASK, MOVES = ("task", Box((len(TASKS),), 0.0, 1.0)), Box((2,), -1.0, 1.0)
LISTED = 26  # numbers: zones, block and wall from the own place; the own place; colours
PICTURES = Spec(
    Dict((("image", Box((SIZE, SIZE, 3), 0.0, 255.0, "uint8")), ("position", Box((2,))), TASK)),
    MOVES,
)
LISTS = Spec(Dict((TASK, ("things", Box((LISTED,))))), MOVES)
Act = Callable[[dict[str, np.ndarray]], np.ndarray]  # from observations to actions [n, 2]


class Room(NamedTuple):
    """What a kitchen looks like."""

    walls: np.ndarray  # [wall, 4]: left, top, right, bottom
    floor: np.ndarray  # colours in [0, 255]
    bricks: np.ndarray
    zones: np.ndarray  # [zone, 3]
    things: np.ndarray  # [thing, 5]: the place and the colour of what lies about

    @classmethod
    def of(cls, number: int, seed: int) -> "Room":
        rng = np.random.default_rng((seed, number))
        middle, length = rng.uniform(0.3, 0.7, 2), rng.uniform(0.35, 0.55)
        half = np.array([0.03, length / 2])[:: rng.choice((-1, 1))]
        wall = np.concatenate([middle - half, middle + half])[None]
        colours = 255 * np.eye(3) * rng.uniform(0.7, 1.0, (3, 1)) + rng.uniform(0, 60, (3, 3))
        things = np.concatenate([rng.uniform(0, 1, (4, 2)), rng.uniform(40, 160, (4, 3))], 1)
        shades = rng.uniform(60, 190, 3), rng.uniform(20, 120, 3)
        return cls(wall, *shades, colours.clip(0, 255), things)

    def blocked(self, at: np.ndarray) -> np.ndarray:
        """Whether places [..., 2] lie in a wall or outside."""
        left, right = self.walls[:, :2], self.walls[:, 2:]
        inside = ((at[..., None, :] >= left) & (at[..., None, :] <= right)).all(-1).any(-1)
        return np.asarray(inside | (at < 0).any(-1) | (at > 1).any(-1))

    def free(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Random places [*shape, 2] that are not in a wall."""
        at = rng.uniform(0.06, 0.94, (*shape, 2))
        while (bad := self.blocked(at)).any():
            at[bad] = rng.uniform(0.06, 0.94, (int(bad.sum()), 2))
        return at


class Kitchen:
    """Copies [n] of a scene, each with its own places and one task."""

    def __init__(
        self, scene: Room, task: int, count: int, rng: np.random.Generator, spec: Spec = LISTS
    ):
        self.scene, self.task, self.count, self.rng, self.spec = scene, task, count, rng, spec
        places = scene.free(rng, (count, ZONES + 2))
        self.zones, self.block, self.agent = places[:, :ZONES], places[:, -2], places[:, -1]
        self.held = np.zeros(count, bool)
        self.destination = self.zones[:, task % ZONES]

    @property
    def carries(self) -> bool:
        return self.task >= ZONES

    def solved(self) -> np.ndarray:
        place = self.block if self.carries else self.agent
        return np.linalg.norm(place - self.destination, axis=-1) < NEAR

    def observe(self) -> dict[str, np.ndarray]:
        task = np.broadcast_to(np.eye(len(TASKS), dtype=np.float32)[self.task], (self.count, 6))
        if self.spec == PICTURES:
            return {"image": self.image(), "position": self.agent.astype(np.float32), "task": task}
        return {"task": task, "things": self.things()}

    def things(self) -> np.ndarray:
        """Where everything is [n, number], and its colours."""
        colours = np.concatenate([self.scene.floor, self.scene.zones.reshape(-1)]) / 255
        walls = np.repeat(self.scene.walls[0].reshape(1, 2, 2), self.count, 0)
        around = np.concatenate([self.zones, self.block[:, None], walls], 1) - self.agent[:, None]
        seen = np.concatenate([around, self.agent[:, None]], 1)
        fixed = np.repeat(colours[None], self.count, 0)
        return np.concatenate([seen.reshape(self.count, -1), fixed], 1).astype(np.float32)

    def step(self, action: np.ndarray) -> None:
        move = STEP * np.clip(action, -1, 1)
        for part in (move, move * (1, 0), move * (0, 1)):  # along a wall, if not through it
            target = self.agent + part
            goes = ~self.scene.blocked(target) & (move != 0).any(-1)
            self.agent = np.where(goes[:, None], target, self.agent)
            move = np.where(goes[:, None], 0.0, move)
        near = np.linalg.norm(self.agent - self.block, axis=-1) < TOUCH
        self.held |= near & self.carries
        self.block = np.where(self.held[:, None], self.agent, self.block)

    def image(self) -> np.ndarray:
        """Pictures [n, pixel, pixel, 3]."""
        line = (np.arange(SIZE) + 0.5) / SIZE
        pixels = np.stack(np.meshgrid(line, line), -1)  # [pixel, pixel, (x, y)]
        wall = self.scene.blocked(pixels)[..., None]
        floor = np.where(wall, self.scene.bricks, self.scene.floor).astype(np.uint8)
        for thing in self.scene.things:
            floor[np.linalg.norm(pixels - thing[:2], axis=-1) < 0.05] = thing[2:]
        picture = np.repeat(floor[None], self.count, 0)

        def disc(at: np.ndarray, radius: float, colour: Any) -> None:
            x, y = np.square(line - at[:, :1]), np.square(line - at[:, 1:])
            picture[x[:, None] + y[:, :, None] < radius**2] = colour

        for i in range(ZONES):
            disc(self.zones[:, i], NEAR, self.scene.zones[i])
        disc(self.block, 0.06, (255, 255, 255))
        disc(self.agent, 0.05, (0, 0, 0))
        return picture


def distances(scene: Room, destination: np.ndarray) -> np.ndarray:
    """The steps [n, cell, cell] from each cell, x first, to that of a place [n, 2], around the
    walls."""
    line = (np.arange(CELLS) + 0.5) / CELLS
    wall = scene.blocked(np.stack(np.meshgrid(line, line, indexing="ij"), -1))
    far = np.full((len(destination), CELLS + 2, CELLS + 2), np.inf)
    x, y = np.minimum((destination * CELLS).astype(int), CELLS - 1).T
    inner = far[:, 1:-1, 1:-1]
    inner[np.arange(len(destination)), x, y] = 0.0
    for _ in range(3 * CELLS):
        around = [far[:, 1 + i : CELLS + 1 + i, 1 + j : CELLS + 1 + j] + np.hypot(i, j)
                  for i in (-1, 0, 1) for j in (-1, 0, 1)]  # fmt: skip
        inner[:] = np.where(wall & (inner != 0.0), np.inf, np.min(around, 0))
    return inner


class Demonstrator:
    """Goes around walls to the destination, and fetches the block first where it is asked to."""

    def __init__(self, kitchen: Kitchen):
        self.kitchen = kitchen
        self.to_goal = distances(kitchen.scene, kitchen.destination)
        self.to_block = distances(kitchen.scene, kitchen.block)

    def __call__(self) -> np.ndarray:
        kitchen, out = self.kitchen, []
        for i, at in enumerate(kitchen.agent):
            fetches = kitchen.carries and not kitchen.held[i]
            destination = kitchen.block[i] if fetches else kitchen.destination[i]
            out.append(towards((self.to_block if fetches else self.to_goal)[i], at, destination))
        return np.array(out) + NOISE * kitchen.rng.normal(size=(kitchen.count, 2))


def towards(far: np.ndarray, at: np.ndarray, destination: np.ndarray) -> np.ndarray:
    """A move from a place along the shortest way."""
    x, y = np.minimum((at * CELLS).astype(int), CELLS - 1)
    near = [(i, j) for i in range(max(x - 1, 0), min(x + 2, CELLS))
            for j in range(max(y - 1, 0), min(y + 2, CELLS))]  # fmt: skip
    best = min(near, key=lambda cell: far[cell])
    destination = destination if far[x, y] <= 1.5 else (np.array(best) + 0.5) / CELLS
    move = (destination - at) / STEP
    return move / max(1.0, float(np.linalg.norm(move)))


def demonstrations(
    scene: Room, task: int, count: int, rng: np.random.Generator, spec: Spec = LISTS
) -> list[dict[str, Any]]:
    """Episodes that solve a task, as steps."""
    kitchen = Kitchen(
        scene, task, count + count // 2 + 4, rng, spec
    )  # some begin at the destination
    act, alive = Demonstrator(kitchen), ~kitchen.solved()
    seen, done, actions, ended = [kitchen.observe()], [kitchen.solved()], [], []
    for _ in range(LIMIT):
        actions.append(act().clip(-1, 1).astype(np.float32))
        kitchen.step(actions[-1])
        seen.append(kitchen.observe())
        done.append(kitchen.solved())
        if np.any(done, 0).all():
            break
    for i in np.flatnonzero(alive & np.any(done, 0))[:count]:
        length = int(np.argmax([d[i] for d in done]))
        obs = {k: np.stack([s[k][i] for s in seen[: length + 1]]) for k in seen[0]}
        over = np.arange(length) == length - 1
        ended.append({
            "obs": {k: x[:-1] for k, x in obs.items()},
            "next_obs": {k: x[1:] for k, x in obs.items()},
            "action": np.stack([a[i] for a in actions[:length]]),
            "reward": over.astype(np.float32), "terminated": over,
            "truncated": np.zeros(length, bool),
        })  # fmt: skip
    return ended


def record(path: Path, episodes: list[dict[str, Any]], source: str, spec: Spec = LISTS) -> None:
    """Writes demonstrations as a data set."""

    def joined(name: str) -> Any:
        parts = [episode[name] for episode in episodes]
        if isinstance(parts[0], dict):
            return {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}
        return np.concatenate(parts)

    fields = {name: joined(name) for name in episodes[0]}
    last = np.cumsum([len(episode["reward"]) for episode in episodes]) - 1
    with writer.created(path) as folder:
        store = writer.Writer(folder, layout_of(spec, {}))
        store.add(fields, last, np.arange(len(last)), np.zeros(len(last), int))
        finish(folder, Card(spec.obs, spec.action, source), "kitchens")


def success(
    act: Act, scene: Room, task: int, count: int, rng: np.random.Generator, spec: Spec = LISTS
) -> float:
    """The share of episodes in which a policy solves a task."""
    kitchen = Kitchen(scene, task, count, rng, spec)
    done = kitchen.solved()
    counted = ~done
    for _ in range(LIMIT):
        kitchen.step(np.asarray(act(kitchen.observe())))
        done |= kitchen.solved()
    return float(done[counted].mean())
