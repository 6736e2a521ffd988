"""Curves of metrics over the seeds of a run, as a page draws them."""

import math
import threading
from typing import Any, NamedTuple

import numpy as np

from spinward.board import reading
from spinward.board.reading import RunRow
from spinward.board.runs import readable
from spinward.errors import DamagedFileError
from spinward.evaluation.statistics import estimate
from spinward.report.plot import last_seen
from spinward.store import files, points

POINTS = 1000  # of a curve that is sent
KEPT = 32  # runs whose logs are kept in memory


class LoggedPoints(NamedTuple):
    """The log points of a run, and the files they were read from."""

    stamps: tuple[Any, ...]
    points: list[dict[str, Any]]


class RunCurves:
    """Reads logs when they are asked for, and again when they have grown."""

    def __init__(self) -> None:
        self.logs: dict[Any, LoggedPoints] = {}
        self.lock = threading.Lock()

    def points(self, row: RunRow) -> list[dict[str, Any]]:
        """The log points of a run, with a list over seeds for each metric.

        Raises:
            DamagedFileError: a log is damaged, or the seeds of a metric change in number.
        """
        shards = [files.inside(row.path, p) for p in files.numbered(row.path / "shards")]
        places = [shard / reading.LOG for shard in shards]
        stamps = tuple(map(reading.stamp, places))
        with self.lock:
            known = self.logs.pop(row.path, None)
            if known is None or known.stamps != stamps:
                known = LoggedPoints(
                    stamps, merged(row, [points.read(p, row.path) for p in places])
                )
            self.logs[row.path] = known
            while len(self.logs) > KEPT:
                self.logs.pop(next(iter(self.logs)))
        return known.points

    def curve(self, row: RunRow, metric: str) -> dict[str, Any]:
        """The curve of a metric as JSON: its mean over seeds, and the bounds of its interval."""
        logged = self.points(row)
        names = dict.fromkeys(n for p in logged for n, v in p.items() if isinstance(v, list))
        mine = thinned([p for p in logged if metric in p])
        content: dict[str, Any] = {"name": readable(row.path.name), "metric": metric,
                                   "metrics": list(names), "steps": [], "value": [], "low": [],
                                   "high": [], "seeds": row.seeds, "interval": ""}  # fmt: skip
        if not mine:
            return content
        values = last_seen(np.array([p[metric] for p in mine], np.float64).T)
        over = estimate(values)
        bounds = {"value": over.value, "low": over.low, "high": over.high}
        return content | {
            "steps": [p["env_steps"] for p in mine],
            **{name: finite(x) for name, x in bounds.items()},
            "statistic": over.statistic,
            "interval": over.interval,
        }


def merged(row: RunRow, logs: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    whole = [points.merged(row.path, lines) for lines in zip(*logs, strict=False)]
    for point in whole:
        if any(len(v) != row.seeds for v in point.values() if isinstance(v, list)):
            at = f"iteration {point['iteration']}"
            raise DamagedFileError(f"{row.path}: its log has not {row.seeds} seeds at {at}")
    return whole


def thinned(logged: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most so many log points, evenly spaced, the last one among them."""
    every = max(1, math.ceil(len(logged) / POINTS))
    return logged[::-1][::every][::-1]


def finite(values: Any) -> list[float | None]:
    """Numbers as JSON has them, which has no infinities."""
    array = np.broadcast_to(np.asarray(values, np.float64), np.shape(values))
    return [float(f"{x:.6g}") if math.isfinite(x) else None for x in array.tolist()]
