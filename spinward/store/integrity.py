"""Whether a run's settings and logs are those that its checkpoints vouch for."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from spinward.errors import DamagedFileError
from spinward.store import checkpoint, files
from spinward.store import log as record

CONFIG, LOG = "config.json", "metrics.jsonl"
LIMIT = 2**20  # bytes of a config; those of the longest settings are a hundredth of it


class Vouched(NamedTuple):
    """What a checkpoint says of its run's files; the first had no digests of these."""

    config: str | None  # SHA-256 of config.json
    settings: str | None  # in place of it, that of a shard's settings
    size: int  # of the log
    digest: str | None  # SHA-256 of so much of the log


class Chosen(NamedTuple):
    """The checkpoint to use, and what is wrong with each that is newer."""

    path: Path
    damaged: list[str]


def choose(folder: Path, older: bool = False) -> Chosen:
    """The newest checkpoint of a folder; where that is damaged, the newest whole one if `older`.

    Raises:
        DamagedFileError: none is whole, or an `older` one would have to be asked for.
    """
    path, damaged = checkpoint.latest(folder)
    if damaged and not older:
        raise refusal(damaged, path)
    return Chosen(path, damaged)


def refusal(damaged: list[str], path: Path) -> DamagedFileError:
    return DamagedFileError(
        f"{'; '.join(damaged)}; {path} is older: to use it, add --older, or remove what is damaged"
    )


def config_digest(run: Path) -> str:
    """The SHA-256 of a run's config.json."""
    return hashlib.sha256(files.read(run / CONFIG, run, LIMIT)).hexdigest()


def first_digest(run: Path, seed: int, seeds: int) -> str:
    """What checkpoints had for the config before they had its file's SHA-256: that of the settings
    of the shard with these seeds."""
    content = json.loads(files.read(run / CONFIG, run, LIMIT))
    content.pop("versions", None)
    text = json.dumps(content | {"seed": seed, "seeds": seeds, "shards": 1}, indent=1) + "\n"
    return hashlib.sha256(text.encode()).hexdigest()


def vouched(path: Path, info: dict[str, Any]) -> Vouched:
    """What the info of a checkpoint says of its run's files.

    Raises:
        DamagedFileError: nothing, or something else.
    """
    names = ("config_file_sha256", "config_sha256", "log_bytes", "log_sha256")
    values: list[Any] = [info.get(name) for name in names]
    found = Vouched(*values)
    texts = [x for x in (found.config, found.settings, found.digest) if x is not None]
    sized = type(found.size) is int and found.size >= 0
    if not (sized and texts and all(isinstance(x, str) for x in texts)):
        raise DamagedFileError(f"{path}: expected digests of a run's files, found {info!r:.120}")
    return found


def check_config(run: Path, path: Path, told: Vouched, seed: int, seeds: int) -> None:
    """Compares a run's settings with what a checkpoint of its shard with these seeds says.

    Raises:
        DamagedFileError: the checkpoint was saved under other settings.
    """
    found = config_digest(run) if told.config else first_digest(run, seed, seeds)
    expected = told.config or told.settings or ""
    if found != expected:
        raise DamagedFileError(
            f"{run / CONFIG}: expected SHA-256 {expected:.12}, as {path} was saved under, found "
            f"{found:.12}; undo the change to it, or train a new run"
        )


def check(run: Path, shards: list[tuple[Path, int, int]], older: bool = False) -> list[str]:
    """Compares a run's settings and the logs of its shards (folder, first seed and number of
    seeds) with the manifests of the newest checkpoints. Tells of damaged ones that were passed
    over because `older` ones may be used.

    Raises:
        DamagedFileError: something is not what it was, or a newest manifest is damaged.
    """
    told = []
    for folder, seed, seeds in shards:
        found, damaged = newest(folder / "checkpoints")
        if damaged and not (older and found):
            raise refusal(damaged, found[0]) if found else DamagedFileError("; ".join(damaged))
        told += damaged
        if found:
            path, vouches = found
            check_config(run, path, vouches, seed, seeds)
            record.verified(folder / LOG, run, vouches.size, vouches.digest)
    return told


def newest(folder: Path) -> tuple[tuple[Path, Vouched] | None, list[str]]:
    """The newest checkpoint whose manifest can be read, and what it says of the run; and what is
    wrong with each newer one."""
    damaged: list[str] = []
    for path in checkpoint.checkpoints(folder):
        try:
            return (path, vouched(path, checkpoint.read_manifest(path).info)), damaged
        except DamagedFileError as error:
            damaged.append(str(error))
    return None, damaged


def drop_newer(folder: Path, iteration: int) -> None:
    """Removes the damaged checkpoints that were passed over for that of an iteration."""
    for path in checkpoint.checkpoints(folder):
        if checkpoint.number(path) > iteration:
            files.discard(path)
