"""The metrics of a log point in other forms."""

import math
from typing import Any


def by_seed(point: dict[str, Any]) -> list[dict[str, float]]:
    """The finite metrics of each seed, from a log point with lists over seeds."""
    lists = {name: value for name, value in point.items() if isinstance(value, list)}
    seeds = max(map(len, lists.values()), default=0)
    return [
        {
            name: float(values[seed])
            for name, values in lists.items()
            if isinstance(values[seed], int | float) and math.isfinite(values[seed])
        }
        for seed in range(seeds)
    ]


def flat(metrics: list[dict[str, float]]) -> dict[str, float]:
    """The means over the seeds that have a metric; with several seeds also `seed_I/NAME`, of the
    I-th seed of the run."""
    named: dict[str, list[float]] = {}
    for values in metrics:
        for name, value in values.items():
            named.setdefault(name, []).append(value)
    means = {name: sum(values) / len(values) for name, values in named.items()}
    if len(metrics) == 1:
        return means
    own = {f"seed_{i}/{n}": v for i, values in enumerate(metrics) for n, v in values.items()}
    return means | own
