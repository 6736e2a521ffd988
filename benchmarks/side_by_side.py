"""`python -m benchmarks.side_by_side CHECKOUT [NAME...]`: this checkout beside another one of ours.

Each pair is one run of either, one after the other, on the same core; the first to run alternates.
Either side keeps its compiled programs from pair to pair: what is compared is training.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import Request
from benchmarks.processes import OURS_PYTHON, ROOT, run
from benchmarks.workload import Workload
from benchmarks.workloads import ALL

ROWS = (
    "ppo_cartpole_jax", "ppo_cartpole_gym", "dqn_cartpole_jax", "dqn_cartpole_gym", "sac_pendulum",
    "grpo_tokens",
)  # fmt: skip


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.side_by_side", description=__doc__)
    parser.add_argument("checkout", type=Path, help="folder of the other checkout")
    parser.add_argument("names", nargs="*", default=ROWS, metavar="NAME", help=", ".join(ALL))
    parser.add_argument("--pairs", type=int, default=3, help="runs of each side")
    parser.add_argument("--steps", type=float, default=1.0, help="times the workload's env steps")
    parser.add_argument("--out", type=Path, help="file to write; standard output otherwise")
    return parser.parse_args()


def cost(workload: Workload, folder: Path, times: float, seed: int, cache: str) -> dict[str, float]:
    """The CPU-seconds of training and of all, in a checkout."""
    side = next(side for side in workload.sides if side.name == "spinward")
    steps, settings = int(workload.env_steps * times), {**workload.settings, **side.settings}
    request = Request(workload.algorithm, side.env, settings, steps, side.seeds, seed, side.variant)
    command = [str(OURS_PYTHON), "-m", side.script, json.dumps(asdict(request))]
    more = {"XDG_CACHE_HOME": cache, "PYTHONPATH": str(folder)}
    ended = run(command, 1, more, folder)
    if ended.code:
        raise SystemExit(f"{folder}: {ended.error.strip()[-600:]}")
    answer = json.loads(ended.output.splitlines()[-1])
    return {name: answer[name] for name in ("cpu_s_train", "cpu_s_total", "env_steps_train")}


def compared(workload: Workload, other: Path, pairs: int, times: float) -> dict[str, Any]:
    """The costs of both checkouts, and the ratios of the other's to ours, above 1 where ours is
    faster."""
    costs: dict[str, list[dict[str, float]]] = {"this": [], "other": []}
    folders = {"this": ROOT, "other": other.resolve()}
    caches = {name: tempfile.mkdtemp(prefix="spinward-bench-") for name in folders}
    for pair in range(pairs):
        for name in sorted(folders, reverse=pair % 2 == 0):
            costs[name].append(cost(workload, folders[name], times, pair, caches[name]))
        print(f"  {workload.name}: {pair + 1}/{pairs}", file=sys.stderr, flush=True)
    per_step = {
        name: [each["cpu_s_train"] / each["env_steps_train"] for each in rows]
        for name, rows in costs.items()
    }
    ratios = [b / a for a, b in zip(per_step["this"], per_step["other"], strict=True)]
    for cache in caches.values():
        shutil.rmtree(cache)
    best = min(per_step["other"]) / min(per_step["this"])
    return {
        "workload": workload.name,
        "training": {"median": median(ratios), "of_the_quickest": best, "pairs": ratios},
        "costs": costs,
    }


def commit(folder: Path) -> str:
    words = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(words, capture_output=True, text=True).stdout.strip()


def main() -> None:
    ask = options()
    load = os.getloadavg()
    rows = [compared(ALL[name], ask.checkout, ask.pairs, ask.steps) for name in ask.names]
    content = {
        "this": commit(ROOT),
        "other": commit(ask.checkout),
        "when": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "cores": os.cpu_count(),
        "load": {"before": load, "after": os.getloadavg()},
        "rows": rows,
    }
    text = json.dumps(content, indent=1) + "\n"
    if ask.out:
        ask.out.parent.mkdir(parents=True, exist_ok=True)
        ask.out.write_text(text)
    for row in rows:
        print(f"{row['workload']:<20} {row['training']['median']:.2f} times as fast in training")
    if not ask.out:
        print(text)


if __name__ == "__main__":
    main()
