"""A policy with a memory finds its way in a T-maze, and one without earns one half (Bakker, 2002).

A sign at the start says where to turn at the end of a corridor. Here it is ten steps long.
"""

from pathlib import Path
from typing import Any

from spinward.algorithms.a2c import A2C
from spinward.algorithms.ppo import PPO
from spinward.algorithms.trpo import TRPO
from spinward.experiments.reproduction import Reproduction, Row, first_seed, row_of, trained
from spinward.experiments.verdicts import above, all_of
from spinward.report import plot

STEPS, EPISODES = 200_000, 2000
SEEDS = {"laptop": 5, "paper": 10}
SETTINGS: dict[str, Any] = {"envs": 16, "rollout": 64, "hidden": (32,), "minibatches": 4}
AGENTS: dict[str, Any] = {
    "PPO without a memory": PPO(**SETTINGS, lr=3e-3),
    "PPO, LSTM": PPO(**SETTINGS, lr=3e-3, recurrent="lstm"),
    "PPO, GRU": PPO(**SETTINGS, lr=3e-3, recurrent="gru"),
    "A2C, LSTM": A2C(envs=2, rollout=32, hidden=(32,), lr=2e-3, normalise=True, recurrent="lstm"),
    "TRPO, LSTM": TRPO(**SETTINGS, recurrent="lstm"),
}
SOLVED = 0.95
RULE = (
    f"the rule: the interval of every memory lies above {SOLVED}, and without one the mean lies "
    "within four binomial standard deviations of one half, which is all that chance earns"
)


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    count = seeds or SEEDS[scale]
    rows: list[Row] = []
    curves: list[plot.Curve] = []
    for name, algorithm in AGENTS.items():
        slug = name.lower().replace(",", "").replace(" ", "-")
        learned = trained(algorithm, "T-Maze", STEPS, count, out, f"t-maze-{slug}")
        published = 1.0 if algorithm.recurrent else 0.5
        rows.append(row_of(name, learned.evaluate(EPISODES, seed=first_seed()).per_seed, published))
        curves.append(plot.Curve(name, *learned.curves()))
    picture = out / "curves.png"
    plot.save(plot.figure(curves, f"T-Maze, {count} seeds"), picture)
    return Reproduction("t-maze", scale, rows, *verdict_of(rows, count * EPISODES), [picture])


def verdict_of(rows: list[Row], episodes: int) -> tuple[str, str]:
    """The verdict on the agent without a memory, whose episodes these are, and on all others."""
    std = 0.5 / episodes**0.5  # of the mean of all episodes, each of which earns 0 or 1
    half = abs(rows[0].measured - 0.5) <= 4 * std
    memories = {row.what: above(row, SOLVED) for row in rows[1:]}
    unsure = [what for what, part in memories.items() if part != "reproduced"]
    why = f"not surely: {', '.join(unsure)} ({RULE})" if unsure else RULE
    return all_of("reproduced" if half else "not reproduced", *memories.values()), why
