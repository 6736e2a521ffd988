"""A run's numbers on disk: its metrics, and in a second file its times.

`metrics.jsonl` has a line for each log point with a list over seeds for each metric, and nothing
that two runs of the same seed would differ in. Times go to `times.jsonl`.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from spinward.core import Metrics
from spinward.errors import DamagedFileError
from spinward.store import files
from spinward.store.points import content
from spinward.targets.diagnostics import PEAK

EPISODE = ("episode_return", "episode_length")  # means over episodes, not over iterations


class Interval:
    """The sums of metrics since the last log point. They are added up one iteration at a time, so
    they do not depend on the chunks, and a checkpoint can hold them."""

    def __init__(self, saved: dict[str, Any] | None = None) -> None:
        state = saved or {"count": 0, "sums": {}, "running_max": {}}
        highest = state["running_max" if "running_max" in state else "peaks"]  # its older name
        self.count: int = state["count"]
        self.sums = {k: np.array(v, np.float64) for k, v in state["sums"].items()}
        self.running_max = {k: np.array(v, np.float64) for k, v in highest.items()}

    def add(self, metrics: Metrics) -> None:
        """Adds metrics [seed, iteration]."""
        values = {k: np.asarray(v, np.float64) for k, v in metrics.items() if k != "finite"}
        self.count += next(iter(values.values())).shape[1] if values else 0
        if "episodes" in values:  # means over episodes, not over iterations
            values |= {k: values[k] * values["episodes"] for k in EPISODE}
        for name, x in values.items():
            before = self.sums.get(name, np.zeros(len(x)))
            self.sums[name] = np.cumsum(np.concatenate([before[:, None], x], 1), 1)[:, -1]
            if name.startswith(PEAK):
                peak = self.running_max.get(name, np.full(len(x), -np.inf))
                self.running_max[name] = np.maximum(peak, x.max(1))

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
        """The JSON for a checkpoint."""
        sums, highest = (
            {k: v.tolist() for k, v in named.items()} for named in (self.sums, self.running_max)
        )
        return {"count": self.count, "sums": sums, "running_max": highest}


def interval(path: Path, info: dict[str, Any]) -> Interval:
    """The sums in a checkpoint since the last log point.

    Raises:
        DamagedFileError: nothing of that kind.
    """
    try:
        return Interval(info.get("interval"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedFileError(f"{path}: expected sums of metrics, found {error!r:.120}") from None


class Log:
    """An open log. A checkpoint vouches for its `size` and `digest`."""

    def __init__(self, path: Path, run: Path, size: int | None = None, digest: str | None = None):
        """Appends to `path`, of which the first `size` bytes are kept, all if None.

        Raises:
            DamagedFileError: these bytes were changed.
        """
        kept = content(path, run) if size is None else verified(path, run, size, digest)
        self.sha256 = hashlib.sha256(kept)
        if path.exists() and (path.stat().st_size > len(kept) or path.stat().st_nlink > 1):
            files.write_atomically(path, kept)  # another name of the file keeps what it has
        self.file = files.opened(path, run, "ab")

    def write(self, content: dict[str, Any]) -> None:
        text = json.dumps(content).encode() + b"\n"
        self.file.write(text)
        self.file.flush()
        self.sha256.update(text)

    def sync(self) -> int:
        """Syncs the log to disk, and returns its size in bytes."""
        os.fsync(self.file.fileno())
        return self.file.tell()

    def digest(self) -> str:
        """The SHA-256 of all that is in the log."""
        return self.sha256.hexdigest()

    def close(self) -> None:
        self.file.close()


def verified(path: Path, run: Path, size: int, digest: str | None) -> bytes:
    """The first bytes of a log, for which a checkpoint vouches; those of the first runs had no
    digest.

    Raises:
        DamagedFileError: the log is shorter, or has other bytes.
    """
    kept = content(path, run)[:size]
    if len(kept) < size:
        raise DamagedFileError(
            f"{path}: expected at least the {size:,} bytes that the last checkpoint vouches for, "
            f"found {len(kept):,}: the log was cut"
        )
    actual = hashlib.sha256(kept).hexdigest()
    if digest is not None and actual != digest:
        raise DamagedFileError(
            f"{path}: expected SHA-256 {digest:.12} of its first {size:,} bytes, which the last "
            f"checkpoint vouches for, found {actual:.12}: the log was changed"
        )
    return kept
