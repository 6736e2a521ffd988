"""Presets on tasks that they were not chosen on, beside Stable-Baselines3's defaults.

    python -m campaigns.presets [ALGORITHM...] [--tasks NAME...] [--seeds N] [--summary]

Both sides take equally many steps, warm-up included, and are scored by whole episodes without
exploration; seeds begin at 1000. A row is one seed of one side of one algorithm in one task: a file
in `results/presets/`, and rows that are there are not run again. It needs `.venv-bench`
(`benchmarks/setup.sh`) for the other side, and Box2D and MuJoCo in both.

The rule, written before the first row: a side's score in a task is the mean over seeds of the mean
return. Ours is at least as good if it is no lower than the other's, or lower by no more than 2 per
cent of the distance from a random policy to the better of the two. An algorithm passes if that
holds in eight of ten tasks. A task with fewer than 3 seeds of each side is not judged but shown.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "presets"
PEER = ROOT / ".venv-bench" / "bin" / "python"
OURS, SB3, RANDOM = "ours", "sb3", "random"
EPISODES, FIRST, SEEDS, WANTED = 50, 1000, 3, 0.8
TOLERANCE = 0.02  # of the distance from a random policy


class Task(NamedTuple):
    name: str
    env: str  # an id of Gymnasium
    steps: int
    kwargs: dict[str, Any] = {}


# On these, with seeds below 1000, the presets were chosen; none of them is in a list to judge by.
TUNED_ON = (
    "CartPole-v1",
    "Acrobot-v1",
    "MountainCar-v0",
    "LunarLander-v3",
    "LunarLanderContinuous-v3",
    "Pendulum-v1",
    "MountainCarContinuous-v0",
    "HalfCheetah-v4",
    "Hopper-v4",
    "Walker2d-v4",
)
CLIFF = {"max_episode_steps": 200}
DISCRETE = (
    Task("Taxi", "Taxi-v4", 100_000),
    Task("FrozenLake8x8", "FrozenLake8x8-v1", 100_000),
    Task("FrozenLake-dry", "FrozenLake-v1", 50_000, {"is_slippery": False}),
    Task("CliffWalking", "CliffWalking-v1", 50_000, CLIFF),
    Task("CliffWalking-slippery", "CliffWalkingSlippery-v1", 50_000, CLIFF),
    Task("Blackjack", "Blackjack-v1", 50_000),
)
CONTINUOUS = (
    Task("InvertedPendulum", "InvertedPendulum-v5", 50_000),
    Task("InvertedDoublePendulum", "InvertedDoublePendulum-v5", 50_000),
    Task("Reacher", "Reacher-v5", 50_000),
    Task("Swimmer", "Swimmer-v5", 50_000),
    Task("Pusher", "Pusher-v5", 50_000),
    Task("BipedalWalker", "BipedalWalker-v3", 100_000),
)
JUDGED_ON = {
    "ppo": (*DISCRETE[:2], *DISCRETE[3:5], *CONTINUOUS),
    "dqn": DISCRETE,
    "sac": CONTINUOUS,
    "td3": CONTINUOUS,
}


class Row(NamedTuple):
    algorithm: str
    task: Task
    side: str
    seed: int

    @property
    def path(self) -> Path:
        return RESULTS / f"{self.algorithm}-{self.task.name}-{self.side}-{self.seed}.json"


def wanted(algorithms: list[str], tasks: list[str], seeds: int) -> list[Row]:
    """The rows in the order in which they are run: every task has a seed before any has two."""
    return [
        Row(algorithm, task, side, seed)
        for seed in range(FIRST, FIRST + seeds)
        for algorithm in algorithms
        for task in JUDGED_ON[algorithm]
        if not tasks or task.name in tasks
        for side in (OURS, SB3, RANDOM)
    ]


def by_us(row: Row) -> dict[str, Any]:
    import spinward as sw
    from spinward.presets.choice import choose
    from spinward.presets.kinds import task_of
    from spinward.run.experiment import EnvChoice
    from spinward.run.provenance import cpu_seconds
    from spinward.store import settings

    task, kind = row.task, settings.find("algorithms", row.algorithm)
    env = EnvChoice(task.env, task.kwargs)
    choice = choose(kind, task_of(env.name, env.make()), task.steps)
    algorithm = kind(**choice.settings)
    steps = task.steps - (algorithm.warmup if row.algorithm != "ppo" else 0)
    began_s = cpu_seconds()
    run = sw.train(
        algorithm,
        task.env,
        steps,
        seed=row.seed,
        reward=choice.reward,
        out="runs/presets",
        env_kwargs=task.kwargs,
    )
    cpu_s = cpu_seconds() - began_s
    returns = run.evaluate(EPISODES, seed=row.seed).returns[0].tolist()
    return {"returns": returns, "cpu_s": cpu_s, "preset": choice.name, "config": run.config}


def by_sb3(row: Row) -> dict[str, Any]:
    ask = {
        "algorithm": RANDOM if row.side == RANDOM else row.algorithm,
        "env": row.task.env,
        "kwargs": row.task.kwargs,
        "steps": row.task.steps,
        "seed": row.seed,
        "episodes": EPISODES,
    }
    command = [str(PEER), "-m", "campaigns.presets_by_sb3", json.dumps(ask)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def run_row(row: Row) -> None:
    from spinward.run.provenance import commit
    from spinward.store.files import write_atomically

    answer = by_us(row) if row.side == OURS else by_sb3(row)
    returns = np.round(answer.pop("returns"), 3)
    result = {
        "algorithm": row.algorithm,
        "task": row.task.name,
        "side": row.side,
        "seed": row.seed,
        "env": row.task.env,
        "kwargs": row.task.kwargs,
        "steps": row.task.steps,
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        "command": f"python -m campaigns.presets {row.algorithm} --tasks {row.task.name}",
        "mean": float(returns.mean()),
        "returns": returns.tolist(),
        **answer,
        "cpu_s": round(answer["cpu_s"], 1),
    }
    write_atomically(row.path, (json.dumps(result) + "\n").encode())
    print(f"{time.strftime('%T')} {row.path.stem}: {result['mean']:.1f}", flush=True)


def judged(algorithm: str) -> list[dict[str, Any]]:
    """A line for each task of an algorithm, with what its rows on record say."""
    lines = []
    for task in JUDGED_ON[algorithm]:
        means: dict[str, list[float]] = {OURS: [], SB3: [], RANDOM: []}
        for side, values in means.items():
            paths = sorted(RESULTS.glob(f"{algorithm}-{task.name}-{side}-*.json"))
            values += [json.loads(path.read_text())["mean"] for path in paths]
        seeds = min(len(means[OURS]), len(means[SB3]))
        if seeds and means[RANDOM]:
            score = {side: float(np.mean(values)) for side, values in means.items()}
            line = {"algorithm": algorithm, "task": task.name, "steps": task.steps, "seeds": seeds}
            as_good = at_least_as_good(score[OURS], score[SB3], score[RANDOM])
            lines.append({**line, **score, "as_good": as_good, "judged": seeds >= SEEDS})
    return lines


def at_least_as_good(ours: float, theirs: float, by_chance: float) -> bool:
    """Whether the rule calls our score at least as good as theirs."""
    return ours >= theirs - TOLERANCE * abs(max(ours, theirs) - by_chance)


def summary() -> dict[str, Any]:
    """Writes what is on record to `summary.json`, and prints it."""
    from spinward.run.provenance import commit

    rows = [line for algorithm in JUDGED_ON for line in judged(algorithm)]
    verdicts = {}
    for algorithm, tasks in JUDGED_ON.items():
        mine = [line for line in rows if line["algorithm"] == algorithm]
        counted = [line["as_good"] for line in mine if line["judged"]]
        verdict = "not judged: too few seeds or tasks"
        if len(counted) == len(tasks):
            verdict = "passed" if np.mean(counted) >= WANTED else "missed"
        verdicts[algorithm] = {
            "tasks": len(tasks),
            "judged": len(counted),
            "as_good": int(sum(counted)),
            "shown_as_good": sum(line["as_good"] for line in mine),
            "verdict": verdict,
        }
    result = {"rule": (__doc__ or "").partition("\n\nThe rule, ")[2], "rows": rows}
    result = {**result, "verdicts": verdicts, "tuned_on": list(TUNED_ON)}
    result |= {"date": time.strftime("%Y-%m-%d"), "commit": commit()}
    (RESULTS / "summary.json").write_text(json.dumps(result, indent=1) + "\n")
    for line in rows:
        scores = "  ".join(f"{side} {line[side]:9.1f}" for side in (OURS, SB3, RANDOM))
        mark = "as good" if line["as_good"] else "below"
        print(f"{line['algorithm']:<5}{line['task']:<24}{line['seeds']} seeds  {scores}  {mark}")
    for algorithm, verdict in verdicts.items():
        print(f"{algorithm}: {verdict}")
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("algorithms", nargs="*", help=f"of {', '.join(JUDGED_ON)}; all if none")
    parser.add_argument("--tasks", nargs="*", default=[], help="by their names; all if none")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="from 1000 on")
    parser.add_argument("--summary", action="store_true", help="run nothing")
    ask = parser.parse_args()
    if unknown := set(ask.algorithms) - JUDGED_ON.keys():
        parser.error(f"unknown {', '.join(unknown)}; expected {', '.join(JUDGED_ON)}")
    if not ask.summary and not PEER.exists():
        print(f"{PEER} is missing: run benchmarks/setup.sh", file=sys.stderr)
        return 2
    RESULTS.mkdir(parents=True, exist_ok=True)
    if not ask.summary:
        for row in wanted(ask.algorithms or list(JUDGED_ON), ask.tasks, ask.seeds):
            if not row.path.exists():
                run_row(row)
    summary()
    return 0


if __name__ == "__main__":
    sys.exit(main())
