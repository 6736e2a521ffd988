"""MuJoCo at a million steps, one run after another at the lowest priority, for as long as it takes.

    python -m campaigns.mujoco [NAME...] [--runs FOLDER] [--results FOLDER] [--list]

A run is one seed of one algorithm in one task, with the settings of its kind of environment. It
goes on from its last checkpoint when the campaign is started again. Its row is written to
`results/returns/mujoco/` when it is complete: commit, settings, seed, CPU seconds, the learning
curve, and the return of each evaluation episode. Rows that are there are not run again.
"""

import argparse
import fcntl
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
STEPS = 1_000_000  # the random ones of the warm-up included
EPISODES = 100  # without exploration, at the end


class Job(NamedTuple):
    algorithm: str
    task: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.algorithm}-{self.task}-{self.seed}"


def jobs() -> list[Job]:
    """Every run in the order in which they are wanted."""
    first = [
        ("sac", "HalfCheetah-v4"),
        ("td3", "HalfCheetah-v4"),
        ("sac", "Hopper-v4"),
        ("td3", "Hopper-v4"),
        ("ddpg", "HalfCheetah-v4"),
        ("sac", "Walker2d-v4"),
        ("td3", "Walker2d-v4"),
    ]
    on_policy = [(a, f"{t}-v4") for t in ("Ant", "Swimmer") for a in ("ppo", "trpo")]
    newer = [(a, t.replace("v4", "v5")) for a, t in first]
    ordered = [Job(a, t, 1000) for a, t in first]
    ordered += [Job(a, t, seed) for seed in (1001, 1002) for a, t in first]
    ordered += [Job(a, t, seed) for seed in (1000, 1001, 1002) for a, t in on_policy]
    return ordered + [Job(a, t, 1000) for a, t in newer]


class Meter:
    """The CPU seconds of a run over all its sessions, and the commit it belongs to."""

    def __init__(self, path: Path, commit: str):
        from spinward.run.provenance import cpu_seconds

        self.path, self.clock, self.began = path, cpu_seconds, cpu_seconds()
        held = json.loads(path.read_text()) if path.exists() else {"commit": commit, "cpu_s": 0.0}
        if held["commit"] != commit:
            raise SystemExit(
                f"{path.parent} was begun by commit {held['commit']}, and this is {commit}: "
                "check that commit out, or remove the folder"
            )
        self.commit, self.before = commit, held["cpu_s"]

    @property
    def seconds(self) -> float:
        return round(self.before + self.clock() - self.began, 1)

    def write(self, point: Any = None) -> None:
        from spinward.run.files import write_atomically

        content = {"commit": self.commit, "cpu_s": self.seconds}
        write_atomically(self.path, json.dumps(content).encode())


def trained(job: Job, runs: Path) -> tuple[Any, Meter]:
    """The finished run of a job, begun or gone on with."""
    from spinward.experiments.presets import preset
    from spinward.run import run, settings
    from spinward.run.experiment import Experiment
    from spinward.run.provenance import commit

    kind, env = settings.find("algorithms", job.algorithm), f"envpool:{job.task}"
    folder = runs / job.name
    if not (folder / "config.json").exists():
        chosen, reward = preset(kind, env, STEPS)
        algorithm = kind(**chosen)
        steps = STEPS - getattr(algorithm, "warmup", 0)
        run.create(Experiment(algorithm, env, steps, seed=job.seed, reward=reward), runs, job.name)
    meter = Meter(folder / "cpu.json", commit())
    found = run.load(folder)
    found.train(meter.write, checkpoint_s=300.0)
    meter.write()
    return found, meter


def row(job: Job, run: Any, meter: Meter) -> dict[str, Any]:
    at, returns = run.curves()
    score = run.evaluate(EPISODES)
    warmup = run.config["algorithm"].get("warmup", 0)
    return {
        "name": job.name,
        "algorithm": job.algorithm,
        "env": run.config["env"],
        "seed": job.seed,
        "date": time.strftime("%Y-%m-%d"),
        "commit": meter.commit,
        "command": f"python -m campaigns.mujoco {job.name}",
        "cpu_s": meter.seconds,
        "config": run.config,
        "evaluation": {
            "mode": score.mode,
            "mean": float(score.returns.mean()),
            "returns": np.round(score.returns[0], 2).tolist(),
        },
        "training": float(run.final()[0]),
        "steps": (at + warmup).tolist(),
        "returns": [None if np.isnan(x) else round(float(x), 2) for x in returns[0]],
    }


def run_all(chosen: list[Job], runs: Path, results: Path) -> int:
    from spinward.errors import SpinwardError, Stopped
    from spinward.run.files import write_atomically

    failed = 0
    for job in chosen:
        path = results / f"{job.name}.json"
        if path.exists():
            continue
        print(f"{time.strftime('%F %T')} {job.name}", flush=True)
        try:
            result = row(job, *trained(job, runs))
        except Stopped as stopped:
            print(stopped, flush=True)
            return stopped.exit_code
        except SpinwardError as error:  # the others may go on; this one is tried again next time
            print(f"{job.name}: {error}", flush=True)
            failed += 1
            continue
        write_atomically(path, (json.dumps(result) + "\n").encode())
        print(
            f"{time.strftime('%F %T')} {job.name}: greedy {result['evaluation']['mean']:.1f}, "
            f"training {result['training']:.1f}, {result['cpu_s']:.0f} CPU-seconds",
            flush=True,
        )
    return int(failed > 0)


def main() -> int:
    known = {job.name: job for job in jobs()}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("names", nargs="*", help="as --list prints them; all if none")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "mujoco")
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "returns" / "mujoco")
    parser.add_argument("--list", action="store_true", help="print the names, and run nothing")
    ask = parser.parse_args()
    if unknown := set(ask.names) - known.keys():
        parser.error(f"unknown {', '.join(sorted(unknown))}; --list prints what there is")
    if ask.list:
        print("\n".join(known))
        return 0
    os.nice(19)  # whatever else runs here comes first
    for folder in (ask.runs, ask.results):
        folder.mkdir(parents=True, exist_ok=True)
    with open(ask.runs / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another campaign holds {ask.runs}", file=sys.stderr)
            return 2
        return run_all([known[n] for n in ask.names or known], ask.runs, ask.results)


if __name__ == "__main__":
    sys.exit(main())
