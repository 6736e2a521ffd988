"""The checkpoints of a folder and the JSON of their manifests, read without JAX."""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from spinward.errors import DamagedFileError

MANIFEST = "manifest.json"
MANIFEST_LIMIT = 4 * 2**20  # bytes: 50,000 leaves, and a hostile one parses in half a second
NAME = re.compile(r"(\d{10,18})(\.replaced)?", re.ASCII)
OPENING = b'{\n "checksum": "'  # of a manifest; the SHA-256 of all its other bytes follows


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, damaged or not, the newest first."""
    entries = folder.iterdir() if folder.is_dir() else ()
    mine = [path for path in entries if NAME.fullmatch(path.name)]
    return sorted(mine, key=lambda path: (-number(path), path.name))


def number(path: Path) -> int:
    """The iteration in a checkpoint's name."""
    return int(path.name.split(".")[0])


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """An ordinary file, open for reading, and its size. An unreadable file counts as damaged."""
    try:
        if path.parent.is_symlink() or not stat.S_ISREG(path.lstat().st_mode):
            raise DamagedFileError(f"{path}: expected an ordinary file, found a link or a device")
        with open(path, "rb") as reader:
            yield reader, os.fstat(reader.fileno()).st_size
    except DamagedFileError:
        raise
    except OSError as error:
        raise DamagedFileError(f"{path}: expected a file, found: {error.strerror}") from None


def content(path: Path) -> Any:
    """The JSON in the manifest of a checkpoint. It is parsed only after its checksum is checked.

    Raises:
        DamagedFileError: it is not, to the last bit, what was saved, or it is no JSON.
    """
    file = path / MANIFEST
    with opened(file) as (reader, size):
        if size > MANIFEST_LIMIT:
            raise DamagedFileError(f"{file}: expected at most {MANIFEST_LIMIT} bytes, found {size}")
        text = reader.read(MANIFEST_LIMIT)
    cut = len(OPENING) + 64
    digest = hashlib.sha256(text[: len(OPENING)] + text[cut:]).hexdigest()
    if text[:cut] != OPENING + digest.encode():
        head = text[len(OPENING) : cut]
        raise DamagedFileError(f"{file}: expected checksum {digest:.12}, found {head!r:.15}")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{file}: expected a manifest, found {error!r:.120}") from None
