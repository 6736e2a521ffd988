"""Experience on disk while it is collected: npz files of plain arrays, each complete or absent.

A chunk is named for the first of its rows, each a step of all envs, the row after its last, and the
SHA-256 of its bytes: `0000000000-0000001234-5d41402abc4b2a76.npz`. Each seed has a folder of them.
Every checkpoint is the end of a chunk, so a resumed run removes what it will collect again, and
writes no step twice.
"""

import hashlib
import io
import lzma
import os
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import jax
import numpy as np

from spinward.core import Box, Spec, TrainState, replace
from spinward.data import index
from spinward.data.index import NAME
from spinward.errors import DamagedFileError, SettingsError
from spinward.experience import stored
from spinward.experience.layouts import StepLayout
from spinward.experience.replay import Replay
from spinward.programs.seeds import compiled
from spinward.store import files

FIELDS = ("obs", "action", "reward", "terminated", "truncated", "next_obs")
UNREADABLE = (  # what reading an archive may raise
    ValueError, OSError, EOFError, KeyError, NotImplementedError, RuntimeError, MemoryError,
    OverflowError, SyntaxError, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip
BYTES = 32 * 2**20  # of a chunk, where no checkpoint ends it before
SEAL = b"spinward sha256 "  # what a sealed file ends with, before its digest
PIECE = 2**14  # bytes that are worth a call of their own
RING = 32 * 2**20  # bytes kept of what an algorithm that replays nothing collects


def recorded(source: Any, log_every: int) -> Any:
    """`source` with a ring for the steps between two log points, if `source` has no ring.

    Raises:
        SettingsError: observations that a data set cannot have.
    """
    spec: Spec = source.spec
    if not isinstance(spec.obs, Box):
        raise SettingsError("log_data=True needs observations of one array; these are a dict")
    if isinstance(source, Replay):
        if not isinstance(source.layout, StepLayout):
            raise SettingsError("log_data=True cannot keep the steps of an algorithm on sequences")
        return source
    steps = source.stride // spec.envs
    row = spec.envs * (2 * spec.zeros(1).nbytes + 4 * int(np.prod(spec.action.shape)) + 10)
    fits = [n for n in range(1, log_every + 1) if log_every % n == 0 and n * steps * row <= RING]
    layout = StepLayout(steps * max(fits, default=1), steps, updates=0, batch=0)
    return Replay(source, layout, 0, passes_on=True)


class DataLog:
    """The chunks of a running shard: rows are held in memory until there are enough for a file."""

    def __init__(self, folder: Path, source: Any, state: TrainState, resumed: bool, seed: int):
        """Removes rows that were written after `state`, the state of a checkpoint if `resumed`."""
        self.stack = source.layout.stack
        self.folder, self.steps = folder, source.source.stride // source.spec.envs
        self.first = self.taken = stored.rows_written(state.source) if resumed else 0
        self.held: list[dict[str, np.ndarray]] = []
        self.bytes = 0
        files.inside(folder.parent, folder)
        self.seeds = seed, len(np.asarray(state.source.rows))
        cut(folder, self.first, self.seeds)
        self.take(state)

    def room(self, state: TrainState) -> int:
        """How many iterations can run before they overwrite a row that is not yet taken."""
        waiting = stored.rows_written(state.source) - self.taken
        return (stored.capacity(state.source) - waiting) // self.steps

    def due(self, state: TrainState) -> bool:
        """Whether the next iteration would overwrite rows that are not yet taken."""
        return self.room(state) < 1

    def take(self, state: TrainState) -> None:
        """Copies the new rows."""
        count = stored.rows_written(state.source) - self.taken
        if count:
            ring = replace(state.source, source=())
            self.held.append(span(ring, self.taken, count, self.stack))
            self.taken += count
            self.bytes += sum(value.nbytes for value in self.held[-1].values())
        if self.bytes > BYTES:
            self.write()

    def write(self) -> None:
        """Writes the held rows: a file for each seed, with the rows of env 0, then env 1, ..."""
        if not self.held:
            return
        (first, seeds), envs = self.seeds, self.held[0]["reward"].shape[1]
        for seed in range(seeds):
            # Of each field pieces, the parts of env 0, of env 1, ...
            pieces = {
                name: [part[name][seed, env] for env in range(envs) for part in self.held]
                for name in (*FIELDS, "weight")
            }
            number = np.arange(envs, dtype=np.min_scalar_type(envs))
            pieces["env"] = [np.repeat(number, self.taken - self.first)]
            weight = np.concatenate(pieces.pop("weight"))
            if (lost := weight == 0).any():  # steps that did not happen
                pieces = {name: [np.concatenate(p)[~lost]] for name, p in pieces.items()}
            folder = files.inside(self.folder, self.folder / f"seed-{first + seed}")
            folder.mkdir(parents=True, exist_ok=True)
            told = write_npz(folder, f"{self.first:010d}-{self.taken:010d}", pieces)
            index.append(folder, self.seeds, *told)
        self.first, self.held, self.bytes = self.taken, [], 0


def write_npz(folder: Path, name: str, fields: dict[str, list[np.ndarray]]) -> tuple[str, str]:
    """Makes `NAME-DIGEST.npz`, completely or not at all, and returns its name and SHA-256. Each
    field is its pieces one after another, which go from their place to the file: what `np.savez`
    wants laid together, and lays together itself, is half of what writing costs."""
    with files.temporary(folder / f"{name}.npz") as path:
        with open(path, "xb") as file:
            hashed = Hashed(file)
            with zipfile.ZipFile(cast(Any, hashed), "w") as archive:
                for field, pieces in fields.items():
                    with archive.open(f"{field}.npy", "w", force_zip64=True) as entry:
                        header = np.lib.format.header_data_from_array_1_0(pieces[0])
                        header |= {"shape": (sum(map(len, pieces)), *pieces[0].shape[1:])}
                        header |= {"fortran_order": False}
                        np.lib.format.write_array_header_1_0(entry, header)
                        few = pieces if pieces[0].nbytes > PIECE else [np.concatenate(pieces)]
                        for piece in few:
                            flat = np.ascontiguousarray(piece).reshape(-1)
                            entry.write(flat.view(np.uint8).data)
            file.flush()
            files.sync(file.fileno())
        digest = hashed.sha256.hexdigest()
        name = f"{name}-{digest[:16]}.npz"
        os.replace(path, folder / name)
        files.sync_folder(folder)
        return name, digest


class Hashed:
    """A file without seeking, and the digest of the bytes written."""

    def __init__(self, file: BinaryIO):
        self.file, self.sha256 = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def span(state: Any, first: int, count: int, stack: int) -> dict[str, np.ndarray]:
    """Each field of so many rows from the `first` ever written [seed, env, count, ...]."""
    start, size = first % stored.capacity(state), stored.capacity(state)
    names = (*FIELDS, "weight")
    if stack > 1 or start + count > size or jax.default_backend() != "cpu":
        found = compiled(stored.scattered(count, stack), 0)(state, np.int32(first))
        rows = {name: np.asarray(getattr(found, name)) for name in names}
    else:  # views of XLA's own memory, which take a tenth of the time
        views = ((name, np.from_dlpack(getattr(state.data, name))) for name in names)
        rows = {name: x[:, start : start + count] for name, x in views}
    # Always a copy, because the ring is overwritten.
    return {name: x.swapaxes(1, 2).copy() for name, x in rows.items()}


def cut(folder: Path, rows: int, seeds: tuple[int, int]) -> None:
    """Removes what the chunks of these seeds have beyond so many rows, and what a killed process
    left unfinished.

    Raises:
        DamagedFileError: a chunk or a seed before them is missing, or a chunk goes beyond them but
            begins before.
    """
    first, count = seeds
    for seed in range(first, first + count):
        part = files.inside(folder, folder / f"seed-{seed}")
        if part.is_dir():
            index.cut(part, rows, seeds)
        elif rows:
            raise DamagedFileError(f"{part} is missing: expected chunks up to row {rows}")


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file, or of all chunks below a folder, the seeds one after another.

    Raises:
        SettingsError: there is nothing there.
        DamagedFileError: a file that is no npz, whose bytes are not those that were written, or
            that is missing among others.
    """
    if path.is_file():
        return arrays(path.resolve())
    found = listed(path)
    if not found:
        raise SettingsError(f"there is no data file {path}, nor chunks in a folder of that name")
    folders = sorted({p.parent for p in found})
    if path not in folders:  # then all seeds are asked for
        index.check_seeds(folders)
    digests = {f: index.digests(f, [p.name for p in found if p.parent == f]) for f in folders}
    parts = [arrays(p, digests[p.parent].get(p.name)) for p in found]
    for part, path in zip(parts, found, strict=True):
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
    found = []
    for folder, folders, names in os.walk(top):
        for name in [*folders, *names]:
            files.inside(path, Path(folder) / name)
        found += [Path(folder) / name for name in names if NAME.fullmatch(name)]
    return sorted(found)


def arrays(path: Path, digest: str | None = None) -> dict[str, np.ndarray]:
    """The arrays of one npz file. Its bytes are checked if their digest is known: as an argument,
    from the name of a chunk, or from the end of a sealed file."""
    try:
        with files.opened(path, path.parent, "rb") as reader:
            data = reader.read()
        match = NAME.fullmatch(path.name)
        found = hashlib.sha256(data).hexdigest() if match or digest else ""
        if match and found[:16] != match[3]:
            raise DamagedFileError(f"{path}: its bytes are not those its name was made from")
        if digest and found != digest:
            raise DamagedFileError(f"{path}: expected SHA-256 {digest:.12}, found {found:.12}")
        check_seal(path, data)
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except DamagedFileError:
        raise
    except UNREADABLE as error:
        raise DamagedFileError(f"{path} is no npz file of plain arrays: {error}") from None


def sealed(data: bytes) -> bytes:
    """An npz file with the SHA-256 of its other bytes at its end, as a comment of the archive,
    which NumPy ignores."""
    buffer = io.BytesIO(data)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = SEAL + b"0" * 64
    text = buffer.getvalue()[:-64]
    return text + hashlib.sha256(text).hexdigest().encode()


def check_seal(path: Path, data: bytes) -> None:
    """Raises DamagedFileError where a sealed file has the digest of other bytes."""
    end = data.rfind(b"PK\5\6")  # the end of the archive: 22 bytes, the comment's size last
    size, comment = int.from_bytes(data[end + 20 : end + 22], "little"), data[end + 22 :]
    if end < 0 or not (comment.startswith(SEAL) or size == len(SEAL) + 64):
        return  # another's file
    if comment != SEAL + hashlib.sha256(data[:-64]).hexdigest().encode():
        raise DamagedFileError(f"{path}: its bytes are not those that were recorded")
