"""The index of a data set: a list of its chunks, so that any missing chunk is detected.

Each seed's folder has an `index.jsonl`: whose seed it is, and a line for each chunk with its name
and the SHA-256 of its bytes. Each line has a digest of itself and of the lines before it. A line is
appended once its chunk is safe, so a killed process may leave one chunk that has none.
"""

import hashlib
import itertools
import json
import re
from pathlib import Path
from typing import Any, NamedTuple, cast

from spinward.errors import DamagedFileError
from spinward.store import files

FILE = "index.jsonl"
LIMIT = 2**26  # bytes: a quarter of a million chunks
NAME = re.compile(r"(\d{10,18})-(\d{10,18})-([0-9a-f]{16})\.npz", re.ASCII)  # of a chunk


class Index(NamedTuple):
    seeds: tuple[int, int]  # the first of those that are side by side, and how many
    chunks: dict[str, str]  # name: SHA-256
    chain: str  # the digest of the last line

    @property
    def lines(self) -> list[dict[str, Any]]:
        named = [{"name": name, "sha256": digest} for name, digest in self.chunks.items()]
        return [{"seeds": list(self.seeds)}, *named]


def append(folder: Path, seeds: tuple[int, int], name: str, digest: str) -> None:
    """Adds a chunk to the index of its folder, safely on disk."""
    found = read(folder)
    if found is None:
        found = write(folder, Index(seeds, {}, ""))
    text, _ = line({"name": name, "sha256": digest}, found.chain)
    with files.opened(folder / FILE, folder, "ab") as file:
        file.write(text)
        file.flush()
        files.sync(file.fileno())


def write(folder: Path, index: Index) -> Index:
    """Writes a new index of a folder."""
    texts, chain = [], ""
    for content in index.lines:
        text, chain = line(content, chain)
        texts.append(text)
    files.write_atomically(folder / FILE, b"".join(texts))
    return index._replace(chain=chain)


def line(content: dict[str, Any], before: str) -> tuple[bytes, str]:
    """A line with the digest `before` of the previous line, and the line's own digest."""
    digest = hashlib.sha256((before + json.dumps(content)).encode()).hexdigest()[:16]
    return json.dumps({**content, "chain": digest}).encode() + b"\n", digest


def read(folder: Path) -> Index | None:
    """The index of a folder; the first data sets have none. A line that a killed process left
    unfinished is skipped.

    Raises:
        DamagedFileError: the index was changed.
    """
    path, chain, found = folder / FILE, "", []
    try:
        texts = files.read(path, folder, LIMIT).split(b"\n")[:-1]
        for text in texts:
            content = json.loads(text)
            del content["chain"]
            expected, chain = line(content, chain)
            if expected != text + b"\n":
                raise ValueError(f"found {text!r:.80}")
            found.append(content)
        first, count = found[0]["seeds"]
        return Index((first, count), {c["name"]: c["sha256"] for c in found[1:]}, chain)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise DamagedFileError(f"{path}: expected an index of chunks, {error!r:.120}") from None


def digests(folder: Path, names: list[str]) -> dict[str, str]:
    """The SHA-256 of each chunk that a folder has, by name, once they are all there; the first
    data sets have none.

    Raises:
        DamagedFileError: a chunk is missing, or is in the folder but not in the index.
    """
    index = read(folder)
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
        if (found := read(folder)) is None:
            continue
        first, count = found.seeds
        for seed in range(first, first + count):
            if (other := folder.with_name(f"seed-{seed}")) not in folders:
                raise DamagedFileError(
                    f"{other} is missing: {folder / FILE} tells of {count} seeds"
                )


def cut(folder: Path, rows: int, seeds: tuple[int, int]) -> None:
    """Removes the chunks of a folder that go beyond so many rows, and makes its index fit.

    Raises:
        DamagedFileError: a chunk before them is missing, or goes beyond them but begins before.
    """
    files.remove_leftovers(folder)
    names = [p.name for p in folder.iterdir() if NAME.fullmatch(p.name)]
    for name in names:
        if start(name) < rows < end(name):
            raise DamagedFileError(f"{folder / name}: expected a chunk that ends at row {rows}")
    kept = sorted(name for name in names if end(name) <= rows)
    index = read(folder)
    if index is None:  # as in the first data sets
        known = {name: digest(folder, name) for name in kept}
    else:
        known = {name: found for name, found in index.chunks.items() if end(name) <= rows}
    if missing := known.keys() ^ set(kept):
        raise DamagedFileError(
            f"{folder / min(missing)}: expected both in the folder and in its {FILE}"
        )
    follows(folder, kept)
    if rows and (not kept or end(kept[-1]) != rows):
        raise DamagedFileError(f"{folder}: expected chunks up to row {rows}, as a checkpoint has")
    write(folder, Index(seeds, known, ""))
    for name in set(names) - set(kept):
        files.discard(folder / name)


def start(name: str) -> int:
    """The first row of a chunk."""
    return int(name.split("-")[0])


def end(name: str) -> int:
    """The row after the last of a chunk."""
    return int(name.split("-")[1])


def digest(folder: Path, name: str) -> str:
    """The SHA-256 of a chunk, which must be that in its name."""
    with files.opened(folder / name, folder, "rb") as file:
        found = hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
    if not name.endswith(f"-{found[:16]}.npz"):
        raise DamagedFileError(f"{folder / name}: its bytes are not those its name was made from")
    return found
