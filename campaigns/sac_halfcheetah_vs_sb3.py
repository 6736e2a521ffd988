"""SAC on HalfCheetah-v5 beside Stable-Baselines3: same settings, steps and seeds, both in one run.

    python -m campaigns.sac_halfcheetah_vs_sb3 [--steps N] [--warmup N] [--seeds N]

It needs `.venv-bench` (`benchmarks/setup.sh`). Kept in `results/returns/sac_halfcheetah_vs_sb3/`:
the training curve of each seed of both, and their returns over episodes without exploration.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "returns" / "sac_halfcheetah_vs_sb3"
PEER = ROOT / ".venv-bench" / "bin" / "python"
ENV, EPISODES = "HalfCheetah-v5", 20
SETTINGS = {
    "lr": 3e-4,
    "gamma": 0.99,
    "tau": 0.005,
    "batch": 256,
    "capacity": 100_000,
    "hidden": [256, 256],
}


def ours(steps: int, warmup: int, seeds: int) -> dict[str, Any]:
    """The random steps of the warm-up count, as they do for the other side."""
    import spinward as sw

    chosen = {**SETTINGS, "hidden": tuple(SETTINGS["hidden"]), "warmup": warmup}  # type: ignore[arg-type]
    before_s = time.process_time()
    run = sw.train(sw.SAC(**chosen), f"gymnasium:{ENV}", steps - warmup, seeds, out="runs/returns")
    cpu_s = time.process_time() - before_s
    at, returns = run.curves()
    curves = [[None if np.isnan(x) else float(x) for x in row] for row in returns]
    found = {"steps": (np.asarray(at) + warmup).tolist(), "returns": curves}
    return {**found, "greedy": run.evaluate(EPISODES).to_json(), "cpu_s": cpu_s}


def theirs(steps: int, warmup: int, seeds: int) -> dict[str, Any]:
    """Each seed in a process of its own."""
    runs = []
    for seed in range(seeds):
        told = {**SETTINGS, "steps": steps, "warmup": warmup, "seed": seed, "env": ENV}
        told["episodes"] = EPISODES
        command = [str(PEER), "-m", "campaigns.sac_by_sb3", json.dumps(told)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    return {"seeds": runs, "cpu_s": sum(run["cpu_s"] for run in runs)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50_000, help="of each seed, warm-up included")
    parser.add_argument("--warmup", type=int, default=10_000, help="of these, at random")
    parser.add_argument("--seeds", type=int, default=2)
    ask = parser.parse_args()
    if not PEER.exists():
        print(f"{PEER} is missing: run benchmarks/setup.sh", file=sys.stderr)
        return 2
    result = {"date": time.strftime("%Y-%m-%d"), "env": ENV, "settings": SETTINGS, **vars(ask)}
    result["ours"] = ours(ask.steps, ask.warmup, ask.seeds)
    result["sb3"] = theirs(ask.steps, ask.warmup, ask.seeds)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "result.json").write_text(json.dumps(result) + "\n")
    mine = result["ours"]["greedy"]["per_seed"]
    other = [run["greedy"] for run in result["sb3"]["seeds"]]
    print(f"greedy returns of each seed: ours {np.round(mine, 1)}, sb3 {np.round(other, 1)}")
    print(f"CPU-seconds: ours {result['ours']['cpu_s']:.0f}, sb3 {result['sb3']['cpu_s']:.0f}")
    return int(np.mean(mine) < min(other))


if __name__ == "__main__":
    sys.exit(main())
