"""One run, as far as a list of runs shows it, from the ends of its files and without JAX.

A run's folder may come from anybody: nothing in it is opened through a link, and whatever it holds
instead of what a run has is a warning in its row, and no error.
"""

import fcntl
import json
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

from spinward.board import health
from spinward.errors import DamagedFileError
from spinward.report.named import short
from spinward.store import files
from spinward.store.headline import EVALUATION, RETURN, of_points
from spinward.store.points import LIMIT, checked

CONFIG_LIMIT = 2**20  # bytes
TAIL = 2**13  # bytes read first from the end of a log
POINTS = 8  # the last log points of which a row has the newest values
LOG, TIMES, ERROR = "metrics.jsonl", "times.jsonl", "stderr"


class RunRow(NamedTuple):
    """What a list says of a run."""

    path: Path
    algorithm: str = ""
    env: str = ""
    reward: str = ""
    seeds: int = 0
    steps: int = 0  # of each seed, when it is finished
    env_steps: int = 0  # so far
    state: str = "unreadable"  # new, running, finished, failed, stopped
    label: str = ""  # of the value
    value: float | None = None  # the newest of each seed, on average
    last: dict[str, Any] = {}  # the newest value of each metric: a list over seeds
    bytes: int = 0
    changed: float = 0.0  # when its log or settings were
    error: str = ""  # of a run that failed
    warnings: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        return min(self.env_steps / self.steps, 1.0) if self.steps else 0.0


def read(path: Path) -> RunRow:
    """The row of a run, but for whether it is running."""
    size, changed = disk_use(path), newest_change(path)
    try:
        config = config_of(path)
        shards = [files.inside(path, p) for p in files.numbered(path / "shards")]
        row = with_log(RunRow(path, **described(config)), config, shards)
        warnings = (*row.warnings, *health.hacking(path, shards, config))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = (
            str(error) if isinstance(error, DamagedFileError) else f"unreadable: {error!r:.120}"
        )
        return RunRow(path, bytes=size, changed=changed, warnings=(reason,))
    warnings = (*warnings, *health.damage(path, shards), *health.of_metrics(row.last))
    return row._replace(bytes=size, changed=changed, warnings=warnings)


def config_of(path: Path) -> dict[str, Any]:
    """The settings of a run as JSON."""
    content = json.loads(files.read(path / "config.json", path, CONFIG_LIMIT))
    if not isinstance(content, dict):
        raise DamagedFileError(f"{path / 'config.json'}: expected settings, found no JSON object")
    return content


def described(config: dict[str, Any]) -> dict[str, Any]:
    """The settings that a row shows."""
    env, reward = config["env"], short(str(config["reward"]["class"]))
    seeds, steps = (int(config[name]) for name in ("seeds", "steps"))
    return {
        "algorithm": str(config["algorithm"]["class"]).rpartition(":")[2],
        "env": str(env.get("name", "")) if isinstance(env, dict) else str(env),
        "reward": "" if reward == "environment" else reward,
        "seeds": seeds,
        "steps": steps,
    }


def with_log(row: RunRow, config: dict[str, Any], shards: list[Path]) -> RunRow:
    """A row with what the ends of the logs of a run's shards say."""
    tails, warnings = [], []
    for shard in shards:
        try:
            tails.append(log_end(shard / LOG, row.path))
        except DamagedFileError as error:
            warnings.append(str(error))
    known = [points for points in tails if points]
    done = min((points[-1]["env_steps"] for points in known), default=0)
    last = newest_values(known) if len(known) == len(shards) else {}
    head = of_points(row.env, known[0] if known else [])
    values = [x for x in last.get(head.metric, []) if x is not None]
    value = math.fsum(values) / len(values) if values else None
    fault = next(filter(None, (failure(s, row.path) for s in shards)), "")
    whole = bool(shards) and len(known) == len(shards) and (
        done >= row.steps or reached(config, last)
    )  # fmt: skip
    state = "finished" if whole else "failed" if fault else "stopped" if known else "new"
    return row._replace(
        env_steps=done, state=state, label=head.label, value=value, last=last,
        error="" if whole else fault, warnings=tuple(warnings),
    )  # fmt: skip


def reached(config: dict[str, Any], last: dict[str, Any]) -> bool:
    """Whether all seeds have the return at which the run ends."""
    target = config.get("stop_at")
    metric = EVALUATION.metric if config.get("evaluate_every") else RETURN.metric
    values = last.get(metric, [])
    return (
        target is not None and bool(values) and all(x is not None and x >= target for x in values)
    )


def log_end(path: Path, run: Path) -> list[dict[str, Any]]:
    """The last complete log points of a log: a few, and at least one, where there is one."""
    try:
        with files.opened(path, run, "rb") as file:
            size, length = os.fstat(file.fileno()).st_size, TAIL
            while True:
                file.seek(max(0, size - length))
                lines = file.read(length).split(b"\n")[:-1]
                lines = lines if length >= size else lines[1:]  # the first may be cut
                if lines or length >= min(size, LIMIT):
                    break
                length *= 8
    except FileNotFoundError:
        return []
    try:
        return [checked(json.loads(line)) for line in lines[-POINTS:]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DamagedFileError(f"{path}: no log point ({error!r:.100})") from None


def newest_values(tails: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """The newest value of each metric, as a list over the seeds of all shards."""
    merged: dict[str, list[Any]] = {}
    for name in dict.fromkeys(n for p in tails[0] for n, v in p.items() if isinstance(v, list)):
        merged[name] = []
        for points in tails:
            lists = [p[name] for p in points if isinstance(p.get(name), list)]
            count = max(map(len, lists), default=0)
            merged[name] += [newest([x[i] for x in lists if i < len(x)]) for i in range(count)]
    return merged


def newest(values: list[Any]) -> float | None:
    """The last of the values that are finite numbers."""
    return next((float(x) for x in reversed(values) if x is not None and math.isfinite(x)), None)


def failure(shard: Path, run: Path) -> str:
    """The message of the error that ended a shard's process; empty where none did."""
    try:
        with files.opened(shard / ERROR, run, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            lines = file.read(TAIL).decode(errors="replace").strip().splitlines()
        said = json.loads(lines[-1])
        return "" if said["kind"] == "Stopped" else str(said["message"])[:1000]
    except (OSError, ValueError, IndexError, KeyError, TypeError, RecursionError):
        return ""


def is_running(path: Path) -> bool:
    """Whether a process holds the lock of one of a run's shards."""
    return any(held(shard / "lock", path) for shard in files.numbered(path / "shards"))


def held(lock: Path, folder: Path) -> bool:
    """Whether a process holds a lock in a folder."""
    try:
        with files.opened(lock, folder, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, DamagedFileError):
        return False
    return False


def disk_use(path: Path) -> int:
    """The bytes of all files below a folder; links are not followed."""
    total, folders = 0, [path]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:  # removed meanwhile, or not to be read
            continue
    return total


def signature(path: Path) -> tuple[Any, ...]:
    """Times and sizes of the files whose change changes a row."""
    shards = files.numbered(path / "shards")
    names = [path / "config.json", path / "videos", path / "shards"]
    names += [s / n for s in shards for n in (LOG, ERROR, "checkpoints", "saved")]
    return tuple(map(stamp, names))


def stamp(path: Path) -> tuple[int, int] | None:
    """When a file or a folder was changed, and its size; None if there is none."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def newest_change(path: Path) -> float:
    """When the log or the settings of a run were changed, in seconds."""
    names = [path / "config.json", *(s / LOG for s in files.numbered(path / "shards"))]
    return max((t[0] for t in map(stamp, names) if t), default=0) / 1e9
