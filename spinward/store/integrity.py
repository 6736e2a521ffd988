"""Checks a run's settings and logs against the digests in its checkpoints."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from spinward.errors import DamagedFileError
from spinward.store import checkpoint, files
from spinward.store import log as record

CONFIG, LOG = "config.json", "metrics.jsonl"
SAVED = "saved"  # a file of a shard, which has the iteration of its first checkpoint
LIMIT = 2**20  # bytes of a config; those of the longest settings are a hundredth of it


class Vouched(NamedTuple):
    """The digests of a run's files in a checkpoint; the oldest checkpoints have none."""

    config: str | None  # SHA-256 of config.json
    settings: str | None  # in place of it, that of a shard's settings
    size: int  # of the log
    digest: str | None  # SHA-256 of so much of the log
    next: str | None  # SHA-256 of the config.json that was about to replace it


class Usable(NamedTuple):
    """The checkpoint to use, and a line on each newer, damaged one."""

    path: Path
    damaged: list[str]


def choose(folder: Path, older: bool | None = False) -> Usable:
    """The newest checkpoint of a folder; where that is damaged, the newest whole one if `older`.
    It is None where nobody can ask for that.

    Raises:
        DamagedFileError: none is whole, or an `older` one would have to be asked for.
    """
    path, damaged = checkpoint.latest(folder)
    if damaged and not older:
        raise refusal(damaged, path, older)
    return Usable(path, damaged)


def refusal(damaged: list[str], path: Path, older: bool | None) -> DamagedFileError:
    way = "" if older is None else "add --older, or "
    return DamagedFileError(
        f"{'; '.join(damaged)}; {path} is older: to use it, {way}remove what is damaged"
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
    """The digests in the info of a checkpoint.

    Raises:
        DamagedFileError: nothing, or something else.
    """
    names = ["config_file_sha256", "config_sha256", "log_bytes", "log_sha256", "config_next_sha256"]
    values: list[Any] = [info.get(name) for name in names]
    digests = Vouched(*values)
    texts = [x for x in digests if x is not None and x is not digests.size]
    sized = type(digests.size) is int and digests.size >= 0
    if not (sized and texts and all(isinstance(x, str) for x in texts)):
        raise DamagedFileError(f"{path}: expected digests of a run's files, found {info!r:.120}")
    return digests


def check_config(run: Path, path: Path, vouched: Vouched, seed: int, seeds: int) -> None:
    """Compares a run's settings with the digest in a checkpoint of its shard with these seeds.

    Raises:
        DamagedFileError: the checkpoint was saved under other settings.
    """
    if vouched.next and config_digest(run) == vouched.next:
        return
    digest = config_digest(run) if vouched.config else first_digest(run, seed, seeds)
    expected = vouched.config or vouched.settings or ""
    if digest != expected:
        raise DamagedFileError(
            f"{run / CONFIG}: expected SHA-256 {expected:.12}, as {path} was saved under, found "
            f"{digest:.12}; undo the change to it, or train a new run"
        )


def check(run: Path, shards: list[tuple[Path, int, int]], older: bool | None = False) -> list[str]:
    """Compares a run's settings and the logs of its shards (folder, first seed and number of
    seeds) with the manifests of the newest checkpoints. Tells of damaged ones that were passed
    over because `older` ones may be used.

    Raises:
        DamagedFileError: something is not what it was, or a newest manifest is damaged.
    """
    lines = []
    for folder, seed, seeds in shards:
        require_kept(folder)
        newest_one, damaged = newest(folder / "checkpoints")
        if damaged and not (older and newest_one):
            lost = DamagedFileError("; ".join(damaged))
            raise refusal(damaged, newest_one[0], older) if newest_one else lost
        lines += damaged
        if newest_one:
            path, vouches = newest_one
            check_config(run, path, vouches, seed, seeds)
            record.verified(folder / LOG, run, vouches.size, vouches.digest)
    return lines


def note_saved(run: Path, shard: Path, iteration: int) -> None:
    """Notes that a shard has a checkpoint, so that the loss of all of them is detected."""
    if not (path := files.inside(run, shard / SAVED)).exists():
        files.write_atomically(path, f"{iteration}\n".encode())


def require_kept(shard: Path) -> None:
    """Raises DamagedFileError where a shard has lost all its checkpoints."""
    if (shard / SAVED).exists() and not checkpoint.checkpoints(shard / "checkpoints"):
        raise DamagedFileError(
            f"{shard / 'checkpoints'}: expected a checkpoint, since {shard / SAVED} says that one "
            f"was saved, found none; put it back, or remove {shard} to train its seeds anew"
        )


def newest(folder: Path) -> tuple[tuple[Path, Vouched] | None, list[str]]:
    """The newest checkpoint with a readable manifest, and its digests; and a line on each newer,
    damaged one."""
    damaged: list[str] = []
    for path in checkpoint.checkpoints(folder):
        try:
            return (path, vouched(path, checkpoint.read_manifest(path).info)), damaged
        except DamagedFileError as error:
            damaged.append(str(error))
    return None, damaged


def drop_newer(folder: Path, iteration: int) -> None:
    """Removes the damaged checkpoints that are newer than an iteration."""
    for path in checkpoint.checkpoints(folder):
        if checkpoint.number(path) > iteration:
            files.discard(path)
