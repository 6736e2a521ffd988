"""A run's numbers on disk: what was learned, and beside it how long that took.

`metrics.jsonl` has a line for each log point with a list over seeds for each metric, and nothing
that two runs of the same seed would differ in. Times go to `times.jsonl`.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from spinward.core import Metrics

EPISODE = ("episode_return", "episode_length")  # means over episodes, not over iterations


def line(metrics: Metrics, iteration: int, env_steps: int) -> dict[str, Any]:
    """One log point from metrics [seed, iterations]; None where a seed ended no episode."""
    metrics = {k: np.asarray(v, np.float64) for k, v in metrics.items() if k != "finite"}
    point: dict[str, Any] = {"iteration": iteration, "env_steps": env_steps}
    ended = metrics.pop("episodes", None)
    if ended is not None:
        count = ended.sum(1)
        point["episodes"] = count.astype(int).tolist()
        for name in EPISODE:
            total = (metrics.pop(name) * ended).sum(1)
            means = total / np.maximum(count, 1)
            point[name] = [m if n else None for m, n in zip(means.tolist(), count, strict=True)]
    return {**point, **{name: values.mean(1).tolist() for name, values in metrics.items()}}


class Log:
    """An open log; `size` is how much of it a checkpoint vouches for."""

    def __init__(self, path: Path, size: int | None = None):
        """Appends to `path`, of which the first `size` bytes are kept, all if None."""
        self.file = open(path, "ab")  # noqa: SIM115, closed by `close`
        if size is not None and self.file.tell() > size:
            self.file.truncate(size)

    def write(self, content: dict[str, Any]) -> None:
        self.file.write(json.dumps(content).encode() + b"\n")
        self.file.flush()

    def sync(self) -> int:
        """Makes the log safe on disk, and returns its size in bytes."""
        os.fsync(self.file.fileno())
        return self.file.tell()

    def close(self) -> None:
        self.file.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; what a killed process left unfinished at its end is skipped."""
    lines = []
    for text in path.read_bytes().split(b"\n") if path.is_file() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines
