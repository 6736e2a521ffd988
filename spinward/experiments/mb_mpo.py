"""Meta-policy optimisation in learned models reaches a return in far fewer real steps than PPO and
TRPO (Clavera et al., 2018, arXiv:1809.05214: two orders of magnitude).

The laptop's scale is Pendulum and MuJoCo's Reacher; the paper's adds InvertedPendulum and
HalfCheetah. A method has reached the return at the first point of a seed's learning curve that has
it; a seed that never does counts with all of its steps, so that factors are rather too small.
Settings are the command line's.

A point of MB-MPO's is of 1,000 steps or more, for a few episodes reach a return by chance. What an
episode takes counts in full: in InvertedPendulum none of 500 steps can end before each of a
method's environments, side by side, has taken as many.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spinward.algorithms.ddpg import DDPG
from spinward.algorithms.mb_mpo import MBMPO
from spinward.algorithms.ppo import PPO
from spinward.algorithms.sac import SAC
from spinward.algorithms.td3 import TD3
from spinward.algorithms.trpo import TRPO
from spinward.experiments.reproduction import Reproduction, Row, row_of, trained
from spinward.experiments.verdicts import above, all_of
from spinward.presets.choice import preset
from spinward.report import plot
from spinward.run.run import Run

WANTED_FACTOR = 10.0
RULE = (
    "the rule: in each environment every seed reaches the return, and the interval of the factor "
    f"in real steps, seed by seed, lies above {WANTED_FACTOR:g} over PPO and over TRPO, and above "
    "1 over SAC, DDPG and TD3"
)


class ControlTask(NamedTuple):
    env: str
    wanted: float  # return in training
    steps: dict[Any, int]  # real steps of each method
    more: dict[str, Any]  # settings of MB-MPO beside its preset


POINT = 1_000  # real steps, the fewest for a point of a curve of few
WANTED = {PPO: WANTED_FACTOR, TRPO: WANTED_FACTOR, SAC: 1.0, DDPG: 1.0, TD3: 1.0}
PENDULUM = ControlTask(
    "Pendulum-v1",
    -250.0,
    {MBMPO: 6_000, PPO: 300_000, TRPO: 600_000, SAC: 20_000, DDPG: 20_000, TD3: 20_000},
    {},
)
REACHER = ControlTask(
    "Reacher-v5",
    -10.0,
    {MBMPO: 5_000, PPO: 200_000, TRPO: 200_000, SAC: 20_000, DDPG: 20_000, TD3: 20_000},
    {},
)
POLE = ControlTask(
    "InvertedPendulum-v5",
    500.0,  # of the 1000 that an episode can earn
    {MBMPO: 15_000, PPO: 150_000, TRPO: 150_000},
    {},
)
CHEETAH = ControlTask(
    "HalfCheetah-v4",
    1500.0,
    {MBMPO: 200_000, PPO: 1_000_000, TRPO: 2_000_000},
    {"envs": 5, "rollout": 400, "model_hidden": (512, 512), "updates": 30, "imagined": 50,
     "horizon": 200, "inner_lr": 1e-3, "capacity": 200_000},
)  # fmt: skip
SIZES: dict[str, tuple[int, list[ControlTask]]] = {
    "laptop": (5, [PENDULUM, REACHER]),
    "paper": (5, [PENDULUM, REACHER, POLE, CHEETAH]),
}


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    usual, tasks = SIZES[scale]
    rows: list[Row] = []
    pictures, parts = [], []
    for task in tasks:
        reached_at = {}
        curves = []
        for kind, steps in task.steps.items():
            done = one(task, kind, steps, seeds or usual, out)
            curves.append(plot.Curve(kind.__name__, *done.curves()))
            reached_at[kind] = reached(*done.curves(), task.wanted)
            at = np.where(np.isfinite(reached_at[kind]), reached_at[kind], steps)
            missed = int((~np.isfinite(reached_at[kind])).sum())
            missing = f" ({missed} seeds never)" if missed else ""
            what = f"{task.env}: real steps of {kind.__name__} to {task.wanted:g}{missing}"
            rows += [
                row_of(what, at),
                row_of(f"{task.env}: {kind.__name__}, last tenth", done.final()),
            ]
            reached_at[kind] = at
            if kind is MBMPO and missed:
                parts.append("not reproduced")
        for kind in [k for k in WANTED if k in task.steps]:
            factor = row_of(f"{task.env}: factor over {kind.__name__}", factors(reached_at, kind))
            rows.append(factor)
            parts.append(above(factor, WANTED[kind]))
        pictures.append(out / f"{task.env.lower()}.png")
        plot.save(plot.figure(curves, f"{task.env}, {seeds or usual} seeds"), pictures[-1])
    return Reproduction("mb-mpo", scale, rows, all_of(*parts), RULE, pictures)


def one(task: ControlTask, kind: Any, steps: int, seeds: int, out: Path) -> Run:
    settings, reward = preset(kind, task.env, steps)
    more = task.more if kind is MBMPO else {}
    name = f"mb-mpo-{kind.__name__.lower()}-{task.env}"
    method = kind(**settings | more)
    logs = min(100, steps // POINT)
    return trained(method, task.env, steps, seeds, out, name, reward=reward, shards=1, logs=logs)


def reached(steps: np.ndarray, returns: np.ndarray, wanted: float) -> np.ndarray:
    """The step [seed] at which the return was first there; NaN where it never was."""
    enough = returns >= wanted  # false where no episode ended
    return np.where(enough.any(1), steps[enough.argmax(1)].astype(float), np.nan)


def factors(reached_at: dict[Any, np.ndarray], kind: Any) -> np.ndarray:
    """How many times MB-MPO's steps another method takes, seed by seed."""
    return reached_at[kind] / reached_at[MBMPO]
