"""Warnings of a run: damage to its files, and numbers that should be looked at."""

import hashlib
import time
from pathlib import Path
from typing import Any

from spinward.errors import DamagedFileError
from spinward.evaluation import reward_hacking
from spinward.store import files, manifest, points

LOG = "metrics.jsonl"
QUIET_S = 600.0  # a run that is running has logged nothing for so long


def damage(run: Path, shards: list[Path], deep: bool = False) -> list[str]:
    """A line for each file that is not what the newest checkpoints vouch for. With `deep`, the
    digests of the settings and the logs are compared too."""
    lines = []
    for shard in shards:
        try:
            check(run, shard, deep)
        except (OSError, AttributeError) as error:
            lines.append(str(error))
    return lines


def check(run: Path, shard: Path, deep: bool) -> None:
    """Raises DamagedFileError for what is damaged in a shard."""
    names = (LOG, "lock", "stderr", "times.jsonl", "saved") if deep else ()
    for name in ("checkpoints", *names):
        files.inside(run, shard / name)
    saved = manifest.checkpoints(shard / "checkpoints")
    if not saved:
        if (shard / "saved").exists():
            raise DamagedFileError(f"{shard / 'checkpoints'}: all checkpoints are gone")
        return
    info = manifest.content(saved[0])["info"]
    size, log = info.get("log_bytes"), shard / LOG
    actual = log.stat().st_size if log.exists() else 0
    if type(size) is int and actual < size:
        raise DamagedFileError(
            f"{log}: expected at least {size:,} bytes, found {actual:,}: the log was cut"
        )
    if deep:
        check_digests(run, log, info)


def check_digests(run: Path, log: Path, info: dict[str, Any]) -> None:
    """Compares the settings and the log of a run with the digests in a checkpoint's info."""
    expected = (
        (log, points.content(log, run)[: info.get("log_bytes", 0)], info.get("log_sha256")),
        (run / "config.json", files.read(run / "config.json", run, 2**20),
         info.get("config_file_sha256")),
    )  # fmt: skip
    for path, data, digest in expected:
        actual = hashlib.sha256(data).hexdigest()
        if digest is not None and digest not in (actual, info.get("config_next_sha256")):
            raise DamagedFileError(f"{path}: it was changed since the newest checkpoint")


def of_metrics(last: dict[str, Any]) -> list[str]:
    """Warnings by the newest values of the metrics."""
    warnings = []
    for name in ("loss", "policy_loss", "value_loss", "q_loss"):
        values = last.get(name)
        if values and all(x is None for x in values):
            warnings.append(f"{name} has had no finite value lately")
    return warnings


def hacking(run: Path, shards: list[Path], config: dict[str, Any]) -> list[str]:
    """A warning for each seed whose reward may be exploited. It takes the whole log, which is read
    only where a run is watched."""
    if reward_hacking.watched_names(config) is None:
        return []
    try:
        logs = [points.read(shard / LOG, run) for shard in shards]
        merged = [points.merged(run, lines) for lines in zip(*logs, strict=False)]
        return reward_hacking.in_log(merged, config)
    except (DamagedFileError, ValueError):  # it is a warning of its own
        return []


def quiet(changed: float, now: float | None = None) -> list[str]:
    """A warning of a run that is running and has logged nothing for long."""
    age = (time.time() if now is None else now) - changed
    return [f"running, but nothing was logged for {age / 60:.0f} minutes"] if age > QUIET_S else []
