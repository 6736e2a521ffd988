"""What the pages of runs show, from what was read of them."""

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from spinward.board import reading
from spinward.board.reading import RunRow
from spinward.board.runs import digest, readable
from spinward.board.searches import SearchRow
from spinward.report.named import named
from spinward.store import files, text_points
from spinward.store.headline import of_points

VIDEOS = {".gif": "image/gif", ".webp": "image/webp", ".mp4": "video/mp4"}
SORTS: dict[str, Callable[[RunRow], Any]] = {
    "run": lambda r: readable(r.path.name).casefold(),
    "algorithm": lambda r: r.algorithm.casefold(),
    "env": lambda r: r.env.casefold(),
    "state": lambda r: r.state,
    "steps": lambda r: -r.env_steps,
    "value": lambda r: -math.inf if r.value is None else -r.value,
    "size": lambda r: -r.bytes,
    "warnings": lambda r: -len(r.warnings),
}


def sorted_rows(rows: Mapping[str, RunRow], by: str) -> dict[str, RunRow]:
    """Rows in the order of a column; runs without a value come last."""
    if by not in SORTS:
        return dict(rows)
    if by == "value":
        known = [item for item in rows.items() if item[1].value is not None]
        rest = [item for item in rows.items() if item[1].value is None]
        return dict([*sorted(known, key=lambda item: SORTS[by](item[1])), *rest])
    return dict(sorted(rows.items(), key=lambda item: SORTS[by](item[1])))


def matches(row: RunRow, words: str) -> bool:
    """Whether a row has all words in what it says of its run."""
    said = f"{readable(row.path.name)} {row.algorithm} {row.env} {row.reward} {row.state}"
    return all(word in said.casefold() for word in words.casefold().split())


def search_matches(row: SearchRow, words: str) -> bool:
    said = f"{readable(row.path.name)} tune {row.algorithm} {row.env} {row.state}".casefold()
    return all(word in said for word in words.casefold().split())


def settings(path: Path) -> dict[str, str]:
    """The settings of a run by the names that a user types; none where they cannot be read."""
    try:
        content = named(reading.config_of(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    versions = {f"version of {k}": v for k, v in dict(content.pop("versions", {})).items()}
    return {k: typed(v) for k, v in {**content, **versions}.items()}


def typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def difference(
    several: list[dict[str, str]],
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The settings in which runs differ, with the value of each run; and those that are equal."""
    names = dict.fromkeys(name for each in several for name in each)
    columns = {name: [each.get(name, "–") for each in several] for name in names}  # noqa: RUF001
    different = {name: values for name, values in columns.items() if len(set(values)) > 1}
    return different, {n: values[0] for n, values in columns.items() if n not in different}


def texts(path: Path) -> list[dict[str, Any]]:
    """What a run's first policy wrote at its first log point and at its last, with the rewards."""
    shards = files.numbered(path / "shards")
    points = text_points.read(shards[0]) if shards else []
    return [points[0], points[-1]] if len(points) > 1 else points


def videos(path: Path) -> dict[str, Path]:
    """The videos of a run, the newest first."""
    try:
        folder = files.inside(path, path / "videos")
        films = [p for p in folder.iterdir() if p.suffix.lower() in VIDEOS and p.is_file()]
        films = [p for p in films if not p.is_symlink() and readable(p.name) == p.name]
        return {p.name: p for p in sorted(films, key=lambda p: -p.stat().st_mtime)}
    except OSError:
        return {}


def headline(row: RunRow) -> str:
    """The metric that measures a run's success."""
    return of_points(row.env, [row.last] if row.last else []).metric


def speed(row: RunRow) -> dict[str, Any]:
    """Steps a second of all seeds lately, and the seconds that are left."""
    shards = files.numbered(row.path / "shards")
    rates = [rate for shard in shards if (rate := steps_a_second(shard, row.path))]
    if not rates:
        return {}
    left = (row.steps - row.env_steps) / min(rates) if row.state == "running" else 0.0
    return {"rate": sum(rates) / len(rates) * row.seeds, "left_s": max(left, 0.0)}


def steps_a_second(shard: Path, run: Path) -> float:
    """The steps a second of each seed between the last log points of one process."""
    try:
        with files.opened(shard / reading.TIMES, run, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - reading.TAIL))
            lines = file.read().split(b"\n")[-12:-1]
        times = [json.loads(line) for line in lines if line.startswith(b"{")]
        pairs = [(int(t["env_steps"]), float(t["seconds"])) for t in times]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 0.0
    for i in range(len(pairs) - 1, 0, -1):  # the clock starts anew in a resumed run
        if pairs[i][1] < pairs[i - 1][1]:
            pairs = pairs[i:]
            break
    steps, seconds = (pairs[-1][i] - pairs[0][i] for i in (0, 1)) if pairs else (0, 0.0)
    return steps / seconds if seconds > 0 else 0.0


# How pages write values


def size(count: float) -> str:
    """Bytes as people write them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def ago(when: float, now: float | None = None) -> str:
    """How long ago something was."""
    seconds = (time.time() if now is None else now) - when
    for count, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= count:
            return f"{seconds / count:.0f} {unit} ago"
    return "just now"


def number(value: float | None) -> str:
    """A number as people write it."""
    if value is None or not abs(value) <= sys.float_info.max:  # a whole number may be any
        return "–"  # noqa: RUF001
    if value == round(value) and abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:,.2f}" if 1 <= abs(value) < 1e6 else f"{value:.3g}"


def average(values: list[float | None]) -> float | None:
    known = [x for x in values if x is not None]
    return math.fsum(known) / len(known) if known else None


FILTERS = {
    "size": size, "ago": ago, "number": number, "average": average, "readable": readable,
    "key": digest,
}  # fmt: skip
