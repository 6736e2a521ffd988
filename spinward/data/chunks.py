"""Data sets of the first format: npz files of plain arrays, and folders of them.

Such a folder has a file for each chunk, named for the first of its rows, the row after its last,
and the SHA-256 of its bytes: `0000000000-0000001234-5d41402abc4b2a76.npz`. Its `index.jsonl` lists
them.
"""

import hashlib
import io
import itertools
import lzma
import os
import re
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import NamedTuple

import numpy as np

from spinward.data import index
from spinward.errors import DamagedFileError, SettingsError
from spinward.store import files

FIELDS = ("obs", "action", "reward", "terminated", "truncated", "next_obs")
FILE = "index.jsonl"
NAME = re.compile(r"(\d{10,18})-(\d{10,18})-([0-9a-f]{16})\.npz", re.ASCII)  # of a chunk
UNREADABLE = (  # what reading an archive may raise
    ValueError, OSError, EOFError, KeyError, NotImplementedError, RuntimeError, MemoryError,
    OverflowError, SyntaxError, TokenError, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip
SEAL = b"spinward sha256 "  # what a sealed file ends with, before its digest
LARGEST = 2**33  # bytes of the arrays of one file; above, it is no recording but a zip bomb
RATIO = 1100  # bytes that a byte of an archive can stand for; above, its entries overlap


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file, or of all chunks below a folder, the seeds one after another.

    Raises:
        SettingsError: there is nothing there.
        DamagedFileError: a file that is no npz, whose bytes are not those that were written, or
            that is missing among others.
    """
    if path.is_file():
        return arrays(path.resolve())
    files_there = listed(path)
    if not files_there:
        raise SettingsError(f"there is no data file {path}, nor chunks in a folder of that name")
    folders = sorted({p.parent for p in files_there})
    if path not in folders:  # then all seeds are asked for
        check_seeds(folders)
    known = {f: digests(f, [p.name for p in files_there if p.parent == f]) for f in folders}
    parts = [arrays(p, known[p.parent].get(p.name)) for p in files_there]
    for part, path in zip(parts, files_there, strict=True):
        match = re.fullmatch(r"seed-(\d{1,18})", path.parent.name, re.ASCII)  # else the user's name
        seed = int(match[1]) if match else folders.index(path.parent)
        part["seed"] = np.full(len(part["reward"]), seed)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def listed(path: Path) -> list[Path]:
    """The chunks below a folder, in the order of their names; of a run those in its shards.

    Raises:
        DamagedFileError: a file or folder there is a link.
    """
    top = files.inside(path, path / "shards") if (path / "config.json").exists() else path
    chunks = []
    for folder, folders, names in os.walk(top):
        for name in [*folders, *names]:
            files.inside(path, Path(folder) / name)
        chunks += [Path(folder) / name for name in names if NAME.fullmatch(name)]
    return sorted(chunks)


def arrays(path: Path, digest: str | None = None) -> dict[str, np.ndarray]:
    """The arrays of one npz file. Its bytes are checked if their digest is known: as an argument,
    from the name of a chunk, or from the end of a sealed file."""
    try:
        with files.opened(path, path.parent, "rb") as reader:
            size = os.fstat(reader.fileno()).st_size
            if size > LARGEST:
                raise DamagedFileError(
                    f"{path}: {size:,} bytes are more than {LARGEST:,}; not read"
                )
            data = reader.read()
        match = NAME.fullmatch(path.name)
        actual = hashlib.sha256(data).hexdigest() if match or digest else ""
        if match and actual[:16] != match[3]:
            raise DamagedFileError(f"{path}: its bytes are not those its name was made from")
        if digest and actual != digest:
            raise DamagedFileError(f"{path}: expected SHA-256 {digest:.12}, found {actual:.12}")
        check_seal(path, data)
        check_size(path, data)
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except DamagedFileError:
        raise
    except UNREADABLE as error:
        raise DamagedFileError(f"{path} is no npz file of plain arrays: {error}") from None


def check_size(path: Path, data: bytes) -> None:
    """Raises DamagedFileError for an archive that unpacks to more than any recording has."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > LARGEST or size > RATIO * len(data):
        raise DamagedFileError(f"{path}: {len(data):,} bytes would unpack to {size:,}; not read")


def check_seal(path: Path, data: bytes) -> None:
    """Raises DamagedFileError where a sealed file has the digest of other bytes."""
    end = data.rfind(b"PK\5\6")  # the end of the archive: 22 bytes, the comment's size last
    size, comment = int.from_bytes(data[end + 20 : end + 22], "little"), data[end + 22 :]
    if end < 0 or not (comment.startswith(SEAL) or size == len(SEAL) + 64):
        return  # another's file
    if comment != SEAL + hashlib.sha256(data[:-64]).hexdigest().encode():
        raise DamagedFileError(f"{path}: its bytes are not those that were recorded")


class Index(NamedTuple):
    seeds: tuple[int, int]  # the first of those that are side by side, and how many
    chunks: dict[str, str]  # name: SHA-256


def read_index(folder: Path) -> Index | None:
    """The index of a folder; the first data sets have none.

    Raises:
        DamagedFileError: the index was changed.
    """
    try:
        (header, *chunks), _ = index.lines(folder, FILE)
        first, count = header["seeds"]
        return Index((first, count), {c["name"]: c["sha256"] for c in chunks})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise index.damaged(folder / FILE, error) from None


def digests(folder: Path, names: list[str]) -> dict[str, str]:
    """The SHA-256 of each chunk that a folder has, by name, once they are all there; the first
    data sets have none.

    Raises:
        DamagedFileError: a chunk is missing, or is in the folder but not in the index.
    """
    index = read_index(folder)
    if index and (missing := sorted(index.chunks.keys() - set(names))):
        raise DamagedFileError(
            f"{folder / missing[0]} is missing: {folder / FILE} has {len(index.chunks)} chunks, "
            f"of which {len(missing)} are not there"
        )
    follows(folder, names)
    if index and (more := [name for name in sorted(names)[:-1] if name not in index.chunks]):
        raise DamagedFileError(f"{folder / more[0]} is not in {FILE}, which was cut or changed")
    return index.chunks if index else {}


def follows(folder: Path, names: list[str]) -> None:
    """Raises DamagedFileError unless chunks begin with the first row and follow each other."""
    names = sorted(names)
    if names and start(names[0]) != 0:
        raise DamagedFileError(f"{folder}: expected a chunk of the first rows before {names[0]}")
    for before, after in itertools.pairwise(names):
        if end(before) != start(after):
            raise DamagedFileError(f"{folder}: expected a chunk between {before} and {after}")


def check_seeds(folders: list[Path]) -> None:
    """Raises DamagedFileError where the folder of a seed is missing, although other seeds list
    it."""
    for folder in folders:
        if (newest := read_index(folder)) is None:
            continue
        first, count = newest.seeds
        for seed in range(first, first + count):
            if (other := folder.with_name(f"seed-{seed}")) not in folders:
                raise DamagedFileError(f"{other} is missing: {folder / FILE} has {count} seeds")


def start(name: str) -> int:
    """The first row of a chunk."""
    return int(name.split("-")[0])


def end(name: str) -> int:
    """The row after the last of a chunk."""
    return int(name.split("-")[1])
