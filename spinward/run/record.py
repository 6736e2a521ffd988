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
from spinward.targets.diagnostics import PEAK

EPISODE = ("episode_return", "episode_length")  # means over episodes, not over iterations


class Interval:
    """What the iterations since the last log point came to, added up one after another: so that it
    does not depend on how many of them ran in a row, and a checkpoint can hold it."""

    def __init__(self, saved: dict[str, Any] | None = None) -> None:
        found = saved or {"count": 0, "sums": {}, "peaks": {}}
        self.count: int = found["count"]
        self.sums = {k: np.array(v, np.float64) for k, v in found["sums"].items()}
        self.peaks = {k: np.array(v, np.float64) for k, v in found["peaks"].items()}

    def add(self, metrics: Metrics) -> None:
        """With metrics [seed, iteration]."""
        values = {k: np.asarray(v, np.float64) for k, v in metrics.items() if k != "finite"}
        self.count += next(iter(values.values())).shape[1] if values else 0
        if "episodes" in values:  # means over episodes, not over iterations
            values |= {k: values[k] * values["episodes"] for k in EPISODE}
        for name, x in values.items():
            before = self.sums.get(name, np.zeros(len(x)))
            self.sums[name] = np.cumsum(np.concatenate([before[:, None], x], 1), 1)[:, -1]
            if name.startswith(PEAK):
                peak = self.peaks.get(name, np.full(len(x), -np.inf))
                self.peaks[name] = np.maximum(peak, x.max(1))

    def line(self, iteration: int, env_steps: int) -> dict[str, Any]:
        """One log point, a list over seeds for each metric; None where a seed ended no episode."""
        point: dict[str, Any] = {"iteration": iteration, "env_steps": env_steps}
        sums = dict(self.sums)
        ended = sums.pop("episodes", None)
        if ended is not None:
            point["episodes"] = ended.astype(int).tolist()
            for name in EPISODE:
                means = sums.pop(name) / np.maximum(ended, 1)
                pairs = zip(means.tolist(), ended, strict=True)
                point[name] = [mean if count else None for mean, count in pairs]
        return {**point, **{name: (total / self.count).tolist() for name, total in sums.items()}}

    def to_json(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        sums, peaks = (
            {k: v.tolist() for k, v in found.items()} for found in (self.sums, self.peaks)
        )
        return {"count": self.count, "sums": sums, "peaks": peaks}


class Log:
    """An open log; `size` is how much of it a checkpoint vouches for."""

    def __init__(self, path: Path, size: int | None = None):
        """Appends to `path`, of which the first `size` bytes are kept, all if None."""
        self.file = open(path, "ab")  # noqa: SIM115, closed by `close`
        if size is not None and self.file.tell() > size:
            self.file.truncate(size)
            self.file.seek(0, os.SEEK_END)  # else `tell` goes on from where the end was

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


class Tail:
    """Reads what a log has gained since it was last asked, each line once."""

    def __init__(self, path: Path) -> None:
        self.path, self.at, self.rest = path, 0, b""

    def read(self) -> list[dict[str, Any]]:
        """The whole lines that are new; none where the log is not there yet."""
        if not self.path.is_file():
            return []
        with open(self.path, "rb") as file:
            file.seek(self.at)
            gained = file.read()
        self.at += len(gained)
        *whole, self.rest = (self.rest + gained).split(b"\n")
        return [json.loads(line) for line in whole]
