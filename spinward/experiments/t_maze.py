"""A policy with a memory finds its way in a T-maze, and one without earns one half (Bakker, 2002).

A sign at the start says where to turn at the end of a corridor. Here it is ten steps long.
"""

from pathlib import Path
from typing import Any

from spinward.algorithms.a2c import A2C
from spinward.algorithms.ppo import PPO
from spinward.algorithms.trpo import TRPO
from spinward.experiments.reproduction import Reproduction, Row, row_of, trained
from spinward.report import plot

STEPS, EPISODES = 200_000, 2000
SEEDS = {"laptop": 4, "paper": 10}
SETTINGS: dict[str, Any] = {"envs": 16, "rollout": 64, "hidden": (32,), "minibatches": 4}
AGENTS: dict[str, Any] = {
    "PPO without a memory": PPO(**SETTINGS, lr=3e-3),
    "PPO, LSTM": PPO(**SETTINGS, lr=3e-3, recurrent="lstm"),
    "PPO, GRU": PPO(**SETTINGS, lr=3e-3, recurrent="gru"),
    "A2C, LSTM": A2C(envs=2, rollout=32, hidden=(32,), lr=2e-3, normalise=True, recurrent="lstm"),
    "TRPO, LSTM": TRPO(**SETTINGS, recurrent="lstm"),
}
RULE = "the rule: every memory earns 0.95 or more, and without one the interval of 0.5 has one half"


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    count = seeds or SEEDS[scale]
    rows: list[Row] = []
    curves: list[plot.Curve] = []
    for name, algorithm in AGENTS.items():
        slug = name.lower().replace(",", "").replace(" ", "-")
        learned = trained(algorithm, "T-Maze", STEPS, count, out, f"t-maze-{slug}")
        published = 1.0 if algorithm.recurrent else 0.5
        rows.append(row_of(name, learned.evaluate(EPISODES).per_seed, published))
        curves.append(plot.Curve(name, *learned.curves()))
    picture = out / "curves.png"
    plot.save(plot.figure(curves, f"T-Maze, {count} seeds"), picture)
    # One standard deviation of the mean over all episodes is 0.5 / sqrt(n); four of them are meant.
    half = abs(rows[0].measured - 0.5) <= 4 * 0.5 / (count * EPISODES) ** 0.5
    solved = all(row.measured >= 0.95 for row in rows[1:])
    verdict = "reproduced" if half and solved else "not reproduced"
    return Reproduction("t-maze", scale, rows, verdict, RULE, [picture])
