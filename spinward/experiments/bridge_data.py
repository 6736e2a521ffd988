"""A few demonstrations of a task in a new scene, joined with those of other tasks in other scenes,
teach more than they do alone (Ebert et al., 2021, arXiv:2109.13396).

In a kitchen a point goes to coloured zones and carries a block; demonstrations are scripted. The
policy reads lists of where everything is, and pictures of 32 x 32 pixels at the scale of the paper
alone, as pictures need ten times the updates. Published are mean successes of a robot over ten
tasks, 22 % from the target's demonstrations alone and 50 % jointly, which are not for these tasks:
the bars are this project's own.
"""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from spinward.algorithms.bc import BC
from spinward.data.mixing import Filter, mix
from spinward.data.steps import open_data
from spinward.experience.material import source_for
from spinward.experiments import kitchens
from spinward.experiments.kitchens import LISTS, PICTURES, Room
from spinward.experiments.looking import Looking
from spinward.experiments.reproduction import Reproduction, Row, first_seed, row_of
from spinward.experiments.verdicts import above, all_of
from spinward.loop import Parts
from spinward.programs.choose import program
from spinward.programs.seeds import compiled
from spinward.rewards.environment import Environment

SCENES, NEW = 7, 7  # of the bridge; the number of the target's
TARGET, SUPPORT = 3, 4  # the task that is demonstrated there, and one that the bridge alone has
DEMONSTRATIONS, BRIDGE = 10, 20  # of the target; of each task in each scene of the bridge
SHARES = (0.1, 0.3, 0.5)  # of the target in a joint set
EPISODES, POINTS = 200, 15.0
COPYING: dict[str, Any] = {"hidden": (128, 128), "batch": 128, "activation": "relu"}
SEEDS = {"laptop": 5, "paper": 20}
CLAIMED = "joint 0.3"  # the share that the claim is made of, whatever is best
RULE = (
    f"the rule: over seeds, the interval of what {CLAIMED} does more often than the target's "
    f"demonstrations alone lies above {POINTS:g} points, that of what it does more than the bridge "
    "alone above 0, and in the new scene the task that only the bridge has succeeds more often "
    "than random moves do (the interval of the difference above 0)"
)


class Size(NamedTuple):
    """What the policy reads, and how long it learns."""

    spec: Any = LISTS
    learner: Any = BC(**COPYING)
    updates: int = 4000
    bridge: int = BRIDGE  # demonstrations of each task in each scene
    episodes: int = EPISODES


SIZES = {"laptop": Size(), "paper": Size(PICTURES, BC(**COPYING, network=Looking.init), 40_000)}


class Successes(NamedTuple):
    """Successes in the new scene, in percent."""

    target: float  # at the task that was demonstrated there
    support: float  # at the one that was demonstrated elsewhere alone


def recorded(folder: Path, seed: int, size: Size) -> None:
    """The demonstrations of both sets."""
    rng = np.random.default_rng(first_seed() + seed)
    scenes = [Room.of(number, first_seed() + seed) for number in range(SCENES + 1)]
    bridge = [
        episode
        for scene in scenes[:SCENES]
        for task in range(len(kitchens.TASKS))
        for episode in kitchens.demonstrations(scene, task, size.bridge, rng, size.spec)
    ]
    target = kitchens.demonstrations(scenes[NEW], TARGET, DEMONSTRATIONS, rng, size.spec)
    kitchens.record(folder / "bridge", bridge, "scripted, 7 scenes", size.spec)
    kitchens.record(folder / "target", target, "scripted, the new scene", size.spec)
    for share in SHARES:
        paths, weights = [folder / "target", folder / "bridge"], [share, 1.0 - share]
        mix(paths, folder / f"joint {share}", weights, 0, Filter(), seed, repeat=True)


def learned(data: Path, seed: int, size: Size) -> kitchens.Act:
    """What is copied from a data set."""
    steps = open_data(data, size.spec, memory_gib=float("inf"))
    learner = size.learner
    parts = Parts(learner, source_for(learner.wants(size.spec), None, steps), Environment())
    run = program(parts)
    state = run.start(jax.random.PRNGKey(first_seed() + seed)[None])
    state, _ = run.advance(state, max(1, size.updates // learner.updates))
    model = jax.tree.map(lambda x: x[0], state.agent).model
    mode = compiled(lambda model, obs: model(obs).mode(), 0)
    return lambda obs: np.asarray(mode(model, obs))


def scored(act: kitchens.Act, seed: int, size: Size) -> Successes:
    scene = Room.of(NEW, first_seed() + seed)
    shares = []
    for task in (TARGET, SUPPORT):
        rng = np.random.default_rng((first_seed() + seed, task))  # the same places for all
        shares.append(100.0 * kitchens.success(act, scene, task, size.episodes, rng, size.spec))
    return Successes(*shares)


def compared(seed: int, size: Size) -> dict[str, Successes]:
    """The successes of each set, and of random moves."""
    rng = np.random.default_rng((first_seed() + seed, 99))
    chance = scored(lambda obs: rng.uniform(-1, 1, (len(obs["task"]), 2)), seed, size)
    scores = {"random moves": chance}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recorded(folder, seed, size)
        for data in ("target", "bridge", *(f"joint {share}" for share in SHARES)):
            scores[data] = scored(learned(folder / data, seed, size), seed, size)
    return scores


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    count = seeds or SEEDS[scale]
    return concluded(scale, [compared(seed, SIZES[scale]) for seed in range(count)])


def concluded(scale: str, scores: list[dict[str, Successes]]) -> Reproduction:
    """The rows and the verdict, from the scores of each seed."""

    def more(what: str, part: str, other: str) -> Row:
        pairs = [(vars_of(s[CLAIMED])[part], vars_of(s[other])[part]) for s in scores]
        return row_of(what, [a - b for a, b in pairs])

    rows = [
        more(f"{CLAIMED} above the target alone, points", "target", "target"),
        more(f"{CLAIMED} above the bridge alone, points", "target", "bridge"),
        more(f"{CLAIMED} above random moves, task of the bridge alone, points", "support",
             "random moves"),
    ]  # fmt: skip
    parts = {row.what: above(row, bar) for row, bar in zip(rows, (POINTS, 0.0, 0.0), strict=True)}
    for name in scores[0]:
        for part, task in (("target", "the target's task"), ("support", "a task of the bridge")):
            values = [vars_of(s[name])[part] for s in scores]
            published = {"target": 22.0, CLAIMED: 50.0}.get(name) if part == "target" else None
            rows.append(row_of(f"{name}: {task}, % of episodes", values, published))
    failing = [what for what, part in parts.items() if part != "reproduced"]
    why = f"not surely: {'; '.join(failing)} ({RULE})" if failing else RULE
    return Reproduction("bridge-data", scale, rows, all_of(*parts.values()), why)


def vars_of(score: Successes) -> dict[str, Any]:
    return score._asdict()
