"""The log points in a run's folder, and their metrics in other forms. Nothing here needs JAX, so a
page of runs starts at once."""

import json
import math
from pathlib import Path
from typing import Any

from spinward.errors import DamagedFileError
from spinward.store import files

LIMIT = 2**28  # bytes of a log


def content(path: Path, run: Path) -> bytes:
    """The bytes of a log; none where there is no file."""
    try:
        return files.read(path, run, LIMIT)
    except FileNotFoundError:
        return b""


def read(path: Path, run: Path) -> list[dict[str, Any]]:
    """The complete lines of a log; an unfinished line of a killed process at its end is skipped.

    Raises:
        DamagedFileError: a line is no log point.
    """
    lines = []
    for i, text in enumerate(content(path, run).split(b"\n")[:-1], 1):
        try:
            lines.append(checked(json.loads(text)))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise DamagedFileError(
                f"{path}: line {i} is no log point ({error!r:.100}); `spinward resume` writes what "
                "follows the last checkpoint anew"
            ) from None
    return lines


class Tail:
    """Reads the new lines of a log, each line once."""

    def __init__(self, path: Path, run: Path) -> None:
        self.path, self.run, self.at, self.rest = path, run, 0, b""

    def read(self) -> list[dict[str, Any]]:
        """The new complete lines; none if there is no log yet."""
        if not self.path.is_file():
            return []
        with files.opened(self.path, self.run, "rb") as file:
            file.seek(self.at)
            gained = file.read()
        self.at += len(gained)
        *whole, self.rest = (self.rest + gained).split(b"\n")
        return [json.loads(line) for line in whole]


def checked(point: Any) -> dict[str, Any]:
    """A log point: its place, and numbers or lists of a number for each seed.

    Raises:
        ValueError, TypeError, KeyError: it is none.
    """
    for name in ("iteration", "env_steps"):
        if type(point[name]) is not int or not 0 <= point[name] < 2**63:
            raise ValueError(f"{name} {point[name]!r:.40}")
    for name, values in point.items():
        known = values if isinstance(values, list) else [values]
        if not all(x is None or type(x) in (int, float) for x in known):
            raise ValueError(f"{name} {values!r:.40}")
    return point  # type: ignore[no-any-return]


def merged(run: Path, lines: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    """One log point with the seeds of all shards.

    Raises:
        DamagedFileError: the shards are at different points, or have different metrics.
    """
    whole = dict(lines[0])
    for line in lines[1:]:
        if line.keys() != whole.keys() or line["iteration"] != whole["iteration"]:
            raise DamagedFileError(
                f"{run / 'shards'}: the logs of the shards differ at iteration {line['iteration']}"
            )
        whole |= {k: whole[k] + v for k, v in line.items() if isinstance(v, list)}
    return whole


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
