"""What workers of Ray cost, and what two of them give: PPO on MuJoCo's HalfCheetah.

    python -m benchmarks.workers [--repeats 3]

Each way is a process of its own, and they take turns. Cost is CPU seconds of all its processes for
a step, the same environments in one process against one worker, both pinned to one core. Speed is
wall seconds with a core for each worker, where an environment computes for a millisecond a step.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ENVS, ROLLOUT, ITERATIONS, FIRST = 8, 256, 12, 3
RESULT = Path("results/benchmarks/workers.json")
WAYS = {"one process": 0, "one worker": 1, "two workers": 2}


class Busy:
    """An environment whose steps compute for a millisecond."""

    seconds = 1e-3

    @property
    def spec(self) -> Any:
        from spinward.core import Box, Discrete, Spec

        return Spec(Box((4,)), Discrete(2))

    def open(self, envs: int) -> "BusyStepper":
        return BusyStepper(envs)


class BusyStepper:
    def __init__(self, envs: int) -> None:
        self.obs, self.no = np.zeros((envs, 4), np.float32), np.zeros(envs, bool)
        self.one = np.ones(envs, np.float32)

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        return self.obs

    def step(self, action: np.ndarray) -> Any:
        from spinward.core import Step

        until = time.thread_time() + Busy.seconds * len(self.obs)
        while time.thread_time() < until:
            pass
        return Step(self.obs, self.one, self.no, self.no, self.obs, self.one)

    def close(self) -> None:
        """Holds nothing."""


def cpu_seconds() -> float:
    """Of this process and all that descend from it and are alive, Ray's included."""
    parents, spent = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        rest = text.rpartition(")")[2].split()
        pid = int(path.parent.name)
        parents[pid], spent[pid] = int(rest[1]), int(rest[11]) + int(rest[12])
    total = 0
    for pid in spent:
        at = pid
        while at > 1 and at != os.getpid():
            at = parents.get(at, 0)
        total += spent[pid] if at == os.getpid() else 0
    return total / os.sysconf("SC_CLK_TCK")


def measured(workers: int, env: str, iterations: int) -> dict[str, float]:
    """Seconds for each thousand steps, once all is compiled and begun."""
    from spinward.run import device

    device.prepare()
    import jax

    from spinward.algorithms.ppo import PPO
    from spinward.envs import ids
    from spinward.experience.material import collected
    from spinward.experience.workers import Workers
    from spinward.loop import Parts
    from spinward.programs.choose import program
    from spinward.rewards.environment import Environment

    algorithm = PPO(envs=ENVS, rollout=ROLLOUT, epochs=4, minibatches=8)
    make = Busy if env == "busy" else partial(one_core, ids.make, env)
    if workers:
        source: Any = Workers(ENVS, ROLLOUT, make, algorithm, workers)
    else:
        source = collected(make(), ENVS, ROLLOUT, False)
    run = program(Parts(algorithm, source, Environment()))
    try:
        state = run.start(jax.vmap(jax.random.PRNGKey)(np.arange(1)))
        state, _ = run.advance(state, FIRST)
        cpu, wall = cpu_seconds(), time.perf_counter()
        run.advance(state, iterations)
        cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    finally:
        run.close()
    thousands = iterations * ENVS * ROLLOUT / 1000
    return {"cpu_s": cpu / thousands, "wall_s": wall / thousands}


def one_core(make: Any, name: str) -> Any:
    """The environment as a worker has it: with one process, or thread, of its own."""
    env = make(name)
    return env.on_one_core() if hasattr(env, "on_one_core") else env


def asked(way: str, env: str, iterations: int, cores: int) -> dict[str, float]:
    chosen = sorted(os.sched_getaffinity(0))[-cores:]
    words = [sys.executable, "-m", "benchmarks.workers", "--way", way, "--env", env]
    done = subprocess.run(
        [*words, "--iterations", str(iterations)],
        stdout=subprocess.PIPE, check=True, text=True, timeout=900,
        preexec_fn=lambda: os.sched_setaffinity(0, chosen),
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--way", default="", help=argparse.SUPPRESS)
    parser.add_argument("--env", default="", help=argparse.SUPPRESS)
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    ask = parser.parse_args()
    if ask.way:
        print(json.dumps(measured(WAYS[ask.way], ask.env, ask.iterations)))
        return
    cases = {
        "HalfCheetah-v5": ("cpu_s", 1, ("one process", "one worker")),
        "busy": ("wall_s", 2, ("one worker", "two workers")),
    }
    result: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "repeats": ask.repeats}
    for env, (unit, cores, ways) in cases.items():
        rows: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ask.repeats):
            for way in ways:
                rows[way].append(asked(way, env, ask.iterations, cores)[unit])
        first, second = (statistics.median(rows[way]) for way in ways)
        ratio = second / first - 1.0 if unit == "cpu_s" else first / second
        name = "cost of a worker" if unit == "cpu_s" else "gain of two workers"
        result[env] = {"unit": f"{unit} per 1000 steps", "cores": cores, **rows, name: ratio}
        print(env, json.dumps(result[env]), flush=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
