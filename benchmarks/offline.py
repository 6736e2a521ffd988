"""Updates per CPU-second on logged data, beside d3rlpy: `python -m benchmarks.offline`.

17 observations, 6 actions, batches of 256, the networks that d3rlpy has by default, and one pinned
core. The sides take turns. d3rlpy lives in .venv-d3rlpy (`python3 -m venv .venv-d3rlpy`, then `pip
install "torch>=2.6" "d3rlpy==2.8.1"` there). Sampling of batches is a part of what is measured.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
PEER = ROOT / ".venv-d3rlpy/bin/python"
ROWS, OBS, ACTIONS, BATCH = 100_000, 17, 6, 256
UPDATES = {"bc": 2400, "td3_bc": 800, "iql": 800, "cql": 200}  # a few seconds each
NETWORKS = {"hidden": (256, 256), "batch": BATCH}
OURS: dict[str, dict[str, Any]] = {
    "bc": {**NETWORKS, "activation": "relu"},
    "td3_bc": NETWORKS,
    "iql": NETWORKS,
    "cql": {**NETWORKS, "samples": 10, "lagrange": True},
}


def arrays(rows: int) -> tuple[Any, Any, Any, Any]:
    """The same random steps for both sides."""
    import numpy as np

    random = np.random.default_rng(0)
    obs = random.normal(size=(rows, OBS)).astype(np.float32)
    action = random.uniform(-1.0, 1.0, (rows, ACTIONS)).astype(np.float32)
    reward = random.normal(size=rows).astype(np.float32)
    ends = np.arange(rows) % 1000 == 999
    return obs, action, reward, ends


def ours(name: str, updates: int) -> float:
    """CPU seconds of so many updates by Spinward, after those that compile."""
    from spinward.run import device

    device.prepare()
    import jax
    import numpy as np

    from spinward.core import Box, Spec, Transition
    from spinward.experience.material import Data, source_for
    from spinward.loop import Parts
    from spinward.programs.choose import program
    from spinward.rewards.environment import Environment
    from spinward.store import settings

    obs, action, reward, ends = arrays(ROWS)
    spec = Spec(Box((OBS,)), Box((ACTIONS,), -1.0, 1.0))
    steps = Transition(
        obs, action, reward, ends, ends & False, np.roll(obs, -1, 0), np.ones_like(reward), {}
    )
    algorithm = settings.find("algorithms", name)(**OURS[name])
    source = source_for(algorithm.wants(spec), None, Data(steps, spec))
    run = program(Parts(algorithm, source, Environment()))
    state = run.start(jax.random.PRNGKey(0)[None])
    state, _ = run.advance(state, 1)  # compiles
    began = time.process_time()
    state, _ = run.advance(state, updates // algorithm.updates)
    jax.block_until_ready(state)
    return time.process_time() - began


def theirs(name: str, updates: int) -> float:
    """The same by d3rlpy, whose loop is its `update` on batches of its own buffer."""
    import d3rlpy
    import torch

    torch.set_num_threads(1)
    obs, action, reward, ends = arrays(ROWS)
    data = d3rlpy.dataset.MDPDataset(obs, action, reward, ends)
    kinds = {
        "bc": d3rlpy.algos.BCConfig,
        "td3_bc": d3rlpy.algos.TD3PlusBCConfig,
        "iql": d3rlpy.algos.IQLConfig,
        "cql": d3rlpy.algos.CQLConfig,
    }
    algorithm = kinds[name](batch_size=BATCH).create(device=False)
    algorithm.build_with_dataset(data)
    for _ in range(20):
        algorithm.update(data.sample_transition_batch(BATCH))
    began = time.process_time()
    for _ in range(updates):
        algorithm.update(data.sample_transition_batch(BATCH))
    return time.process_time() - began


def measured(side: str, name: str, updates: int, core: int) -> float:
    """Updates per CPU-second of one side, in a process of its own on one core."""
    python = sys.executable if side == "ours" else str(PEER)
    words = ["taskset", "-c", str(core), python, "-m", "benchmarks.offline"]
    words += ["--side", side, "--only", name, "--updates", str(updates)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return updates / float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--only", default="", choices=["", *UPDATES])
    parser.add_argument("--side", default="", choices=["", "ours", "theirs"])
    parser.add_argument("--updates", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="a JSON file of all numbers")
    ask = parser.parse_args()
    if ask.side:
        side = ours if ask.side == "ours" else theirs
        print(side(ask.only, ask.updates))
        return
    rows = {}
    for name in [ask.only] if ask.only else UPDATES:
        rates: dict[str, list[float]] = {"ours": [], "theirs": []}
        for repeat in range(ask.repeats):
            for side in list(rates)[:: 1 if repeat % 2 else -1]:
                updates = UPDATES[name] // (1 if side == "ours" else 4)
                updates = max(updates // 100 * 100, 100) if side == "ours" else updates
                rates[side].append(measured(side, name, updates, ask.core))
        ratio = median(rates["ours"]) / median(rates["theirs"])
        rows[name] = {**rates, "ratio": ratio}
        mine, other = (median(rates[side]) for side in rates)
        print(f"{name:<8}{mine:8.0f} beside {other:8.0f} updates per CPU-second: {ratio:.2f}x")
    if ask.out:
        ask.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
