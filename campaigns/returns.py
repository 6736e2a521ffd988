"""Trains at full length what users have scores for, and keeps the curves in `results/returns/`.

    python -m campaigns.returns [NAME...] [--seeds N] [--run FOLDER]

With `--run` a finished run of that name is taken instead of training one. Each result holds the
curve of every seed, the training returns over the last tenth, the greedy returns of 100 episodes,
and the score to reach with where that comes from.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

RESULTS = Path("results/returns")


class Task(NamedTuple):
    algorithm: str
    env: str
    steps: int
    seeds: int
    target: float
    source: str


TASKS = {
    "ppo-cartpole": Task("ppo", "CartPole-v1", 500_000, 10, 490, "CleanRL 490.0, zoo 500"),
    "dqn-cartpole": Task("dqn", "CartPole-v1", 500_000, 10, 489, "CleanRL 488.7, zoo 500"),
    "ppo-acrobot": Task("ppo", "Acrobot-v1", 500_000, 10, -82, "baselines -81.8, CleanRL -86.4"),
    "dqn-acrobot": Task("dqn", "Acrobot-v1", 500_000, 10, -89, "CleanRL -91.5, in JAX -88.9"),
    "ppo-pendulum": Task("ppo", "Pendulum-v1", 100_000, 10, -172, "zoo -172.2, deterministic"),
    "dqn-breakout": Task("dqn", "MinAtar-Breakout", 5_000_000, 2, 10, "MinAtar's own curves"),
}


def keep(name: str, task: Task, run: Any) -> dict[str, Any]:
    from spinward.run import plot
    from spinward.run.results import curve, summary

    steps, returns = run.curves()
    greedy = run.evaluate(100).to_json()
    shown = curve(run)._replace(name=name, expected=task.target)
    plot.save(plot.figure([shown], f"{name}, {run.config['seeds']} seeds"), RESULTS / f"{name}.png")
    finite = [[None if np.isnan(x) else round(float(x), 2) for x in row] for row in returns]
    result = {
        "name": name,
        "date": time.strftime("%Y-%m-%d"),
        "target": task.target,
        "source": task.source,
        "training": summary(run) | {"mean": float(np.nanmean(run.final()))},
        "greedy": greedy,
        "config": run.config,
        "steps": steps.tolist(),
        "returns": finite,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result) + "\n")
    return result


def trained(task: Task, seeds: int) -> Any:
    import spinward as sw
    from spinward.experiments.presets import preset
    from spinward.run import settings

    kind = settings.find("algorithms", task.algorithm)
    chosen, reward = preset(kind, task.env, task.steps)
    count = seeds or task.seeds
    return sw.train(kind(**chosen), task.env, task.steps, count, reward=reward, out="runs/returns")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(TASKS)}; all if none")
    parser.add_argument("--seeds", type=int, default=0, help="in place of the task's own number")
    parser.add_argument("--run", default="", help="a finished run of the one name given")
    ask = parser.parse_args()
    if unknown := set(ask.names) - TASKS.keys():
        parser.error(f"unknown {', '.join(unknown)}; expected {', '.join(TASKS)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    missed = 0
    for name in ask.names or TASKS:
        task = TASKS[name]
        if ask.run:
            import spinward as sw

            run = sw.load(ask.run)
        else:
            run = trained(task, ask.seeds)
        result = keep(name, task, run)
        means = result["training"]["mean"], result["greedy"]["mean"]
        reached = max(means) >= task.target
        missed += not reached
        print(
            f"{name:<14} training {means[0]:8.1f}  greedy {means[1]:8.1f}  target {task.target}  "
            f"{'reached' if reached else 'MISSED'}",
            flush=True,
        )
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
