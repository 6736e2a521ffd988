"""C51, QR-DQN and REM beside DQN on MinAtar: same network, steps and seeds.

    python -m campaigns.minatar [--games G...] [--algorithms A...] [--steps N] [--seeds N] [--table]

Each run's curve and returns are kept in `results/returns/minatar/`, whence `--table` alone reads
them: a picture of each game, and how likely a run of the other beats one of DQN's over the last
tenth of training, exploration included. Steps are MinAtar's frames.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path("results/returns/minatar")
GAMES = ("Breakout", "Asterix")
ALGORITHMS = ("dqn", "c51", "qr_dqn", "rem")
EPISODES = 100


def trained(game: str, algorithm: str, steps: int, seeds: int) -> dict[str, Any]:
    import spinward as sw
    from spinward.presets.choice import preset
    from spinward.store import settings

    kind, env = settings.find("algorithms", algorithm), f"MinAtar-{game}"
    chosen, reward = preset(kind, env, steps)
    run = sw.train(kind(**chosen), env, steps, seeds, reward=reward, out="runs/returns")
    at, returns = run.curves()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "training": run.final().tolist(),
        "greedy": run.evaluate(EPISODES).to_json(),
        "steps": at.tolist(),
        "returns": [[None if np.isnan(x) else round(float(x), 2) for x in row] for row in returns],
        "config": run.config,
    }


def pictured(game: str, found: dict[str, dict[str, Any]]) -> None:
    from spinward.report import plot

    curves = [
        plot.Curve(name, np.array(one["steps"]), np.array(one["returns"], float))
        for name, one in found.items()
    ]
    seeds = len(next(iter(found.values()))["returns"])
    plot.save(plot.figure(curves, f"MinAtar-{game}, {seeds} seeds"), RESULTS / f"{game}.png")


def table(steps: int) -> list[dict[str, Any]]:
    """What is on record: returns, and the probability of improvement over DQN of the same steps."""
    from spinward.evaluation.statistics import described, probability_of_improvement

    rows = []
    for game in GAMES:
        paths = {name: RESULTS / f"{name}-{game}-{steps}.json" for name in ALGORITHMS}
        found = {name: json.loads(p.read_text()) for name, p in paths.items() if p.exists()}
        if not found:
            continue
        pictured(game, found)
        for name, one in found.items():
            row = {"game": game, "algorithm": name, "steps": steps, **described(one["training"])}
            row["greedy"] = one["greedy"]["mean"]
            if name != "dqn" and "dqn" in found:
                others = found["dqn"]["training"]
                row["over_dqn"] = probability_of_improvement(one["training"], others)
            rows.append(row)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--games", nargs="*", default=GAMES, choices=GAMES)
    parser.add_argument("--algorithms", nargs="*", default=ALGORITHMS, choices=ALGORITHMS)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="train nothing")
    ask = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    for game in () if ask.table else ask.games:
        for name in ask.algorithms:
            result = trained(game, name, ask.steps, ask.seeds)
            (RESULTS / f"{name}-{game}-{ask.steps}.json").write_text(json.dumps(result) + "\n")
            print(f"{game} {name}: {np.round(result['training'], 2)}", flush=True)
    rows = table(ask.steps)
    (RESULTS / f"table-{ask.steps}.json").write_text(json.dumps(rows, indent=1) + "\n")
    for row in rows:
        print(
            f"{row['game']:<9} {row['algorithm']:<7} {row['value']:6.2f} "
            f"({row['interval']}: {row['low']:.2f} to {row['high']:.2f}), "
            f"greedy {row['greedy']:6.2f}"
            + (f", P(over DQN) {row['over_dqn']:.2f}" if "over_dqn" in row else "")
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
