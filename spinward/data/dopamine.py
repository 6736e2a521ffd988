"""Reads the files of Dopamine's replay, as the DQN Replay data set has them (Agarwal et al., 2020,
arXiv:1907.04543): a zipped array for each field and checkpoint.

A row is one frame, with what was done on it. Rows are a ring: `add_count` says where the oldest is.
Before each episode are three rows of padding. An observation is a row with the three before it, so
a row is a step if none of these three ended an episode; the last row in time has no successor.
Ends by a time limit are terminal in the files of the DQN Replay data set, which nothing tells from
others. Later versions keep them apart, in a pickle, which is not read.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any, NamedTuple

import numpy as np

from spinward.core import Box, Discrete, Spec, replace
from spinward.data import card
from spinward.data.card import Card
from spinward.data.layout import layout_of
from spinward.data.plan import ImportOptions
from spinward.data.statistics import measured
from spinward.data.store import opened
from spinward.data.writer import Fields, Writer, created
from spinward.errors import DamagedFileError, SettingsError, SpinwardError

STACK = 4  # frames of an observation
ROWS = 2048  # that are read at once
LARGEST = 2**30  # bytes of an array that is read whole
FRAME = 2**24  # entries of a frame
NAME = re.compile(r"\$store\$_(observation|action|reward|terminal)_ckpt\.(\d{1,6})\.gz")
UNREADABLE = (gzip.BadGzipFile, EOFError, ValueError, zlib.error, TokenError, SyntaxError)
FIELDS = ("observation", "action", "reward", "terminal")


class ReplayColumns(NamedTuple):
    """The columns [row] of one checkpoint, but for the frames."""

    action: np.ndarray
    reward: np.ndarray
    terminal: np.ndarray
    time: np.ndarray  # when each row was added, counted from the first ever; -1: never
    valid: np.ndarray  # whether a row is a step


def folder_of(path: Path) -> Path | None:
    """The folder with Dopamine's files; None if there is none."""
    folders = (path, path / "replay_logs")
    return next((f for f in folders if f.is_dir() and numbers(f)), None)


def numbers(folder: Path) -> list[int]:
    """The checkpoints in a folder."""
    matches = (NAME.fullmatch(p.name) for p in folder.iterdir())
    return sorted({int(m[2]) for m in matches if m})


def convert(path: Path, out: Path, options: ImportOptions) -> tuple[str, ...]:
    """Writes Dopamine's files as a data set, and returns what was left out.

    Raises:
        DamagedFileError: a file is missing or damaged, or a row is not as it must be.
    """
    folder = folder_of(path)
    assert folder is not None
    with created(out) as made:
        writer: Writer | None = None
        seen, rows, actions, box = 0, 0, options.actions or 1, Box(())
        for number in numbers(folder):
            require_ends(folder, number, options)
            frames = file(folder, number, "observation")
            ring, count = ring_of(folder, number, seen)
            rows += int((ring.time >= seen).sum())
            actions = max(actions, checked_actions(folder, number, ring, options.actions))
            with array(frames) as (stream, shape, dtype):
                check_frames(frames, shape, dtype, len(ring.action), box.shape[:-1])
                box = Box((*shape[1:], STACK), 0.0, 255.0, "uint8")
                spec = Spec(box, Discrete(actions))
                writer = writer or Writer(made, layout_of(spec, {}, STACK))
                copy(frames, stream, shape, ring, writer)
            seen = count
        if writer is None or not writer.rows:
            raise DamagedFileError(f"{folder} has no step")
        notes = (f"{rows - writer.rows:,} of {rows:,} rows are padding, or have no whole stack or "
                 "no successor",)  # fmt: skip
        origin = f"Dopamine {path.name}", options.env, options.licence, "data convert (Dopamine)"
        about = Card(box, Discrete(actions), *origin, repaired=notes)
        card.write(made, about)
        card.write(made, replace(about, statistics=measured(opened(made))))
    return notes


def require_ends(folder: Path, number: int, options: ImportOptions) -> None:
    """Raises SettingsError where episodes may end without a row that says so."""
    pickled = file(folder, number, "episode_end_indices")
    if pickled.exists() and options.ends != "terminated":
        raise SettingsError(
            f"{pickled} has the ends by a time limit as a pickle, which is not read: say --ends "
            "terminated if no episode ended so"
        )


def file(folder: Path, number: int, field: str) -> Path:
    stem = f"$store$_{field}" if field in FIELDS else field
    return folder / f"{stem}_ckpt.{number}.gz"


@contextmanager
def array(path: Path) -> Iterator[tuple[Any, tuple[int, ...], np.dtype]]:
    """A zipped array: a stream at its first entry, its shape and its type.

    Raises:
        DamagedFileError: it is none, or was cut, or has more than its array.
    """
    try:
        with open(path, "rb") as raw, gzip.GzipFile(fileobj=raw) as stream:
            version = np.lib.format.read_magic(stream)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"version {version} of its format")
            read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
            shape, by_columns, dtype = read[version[0]](stream)
            if dtype.hasobject or dtype.kind not in "fiub" or (by_columns and len(shape) > 1):
                raise ValueError(f"values of type {dtype}, expected numbers, row by row")
            yield stream, shape, dtype
            if stream.read(1):  # and its checksum is compared
                raise ValueError("it has more bytes than its array")
    except FileNotFoundError:
        raise DamagedFileError(f"{path} is missing") from None
    except UNREADABLE as error:
        if isinstance(error, SpinwardError):
            raise
        what = " ".join(str(error).split())[:160]
        raise DamagedFileError(f"{path} is no zipped array of numbers: {what}") from None


def entries(stream: Any, count: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The next `count` entries of a stream."""
    size = count * dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    parts, missing = [], size
    while missing and (part := stream.read(missing)):
        parts.append(part)
        missing -= len(part)
    if missing:
        raise ValueError(f"it was cut: {missing:,} of {size:,} bytes are missing")
    return np.frombuffer(b"".join(parts), dtype).reshape(count, *shape)


def whole(path: Path) -> np.ndarray:
    """A zipped array that fits in memory."""
    with array(path) as (stream, shape, dtype):
        if dtype.itemsize * int(np.prod(shape, dtype=object)) > LARGEST:
            raise ValueError(f"an array of shape {shape}; not read")
        count = shape[0] if shape else 1
        return entries(stream, count, shape[1:], dtype)


def ring_of(folder: Path, number: int, seen: int) -> tuple[ReplayColumns, int]:
    """The columns of a checkpoint, and how many rows were ever added to it. Rows that were added
    before `seen` are in an earlier checkpoint."""
    columns = {name: whole(file(folder, number, name)) for name in FIELDS[1:]}
    sizes = {name: x.shape for name, x in columns.items()}
    capacity = len(columns["action"])
    if any(shape != (capacity,) for shape in sizes.values()) or not capacity:
        raise DamagedFileError(f"{folder}: columns of checkpoint {number} differ: {sizes}")
    path = file(folder, number, "add_count")
    added = whole(path)
    if added.size != 1 or added.dtype.kind not in "iu" or not seen <= int(added.flat[0]) < 2**40:
        raise DamagedFileError(f"{path}: expected how many rows were added, found {added!r:.60}")
    count = int(added.flat[0])
    refuse_values(folder, number, columns)
    cursor = count % capacity
    row = np.arange(capacity)
    time = count - cursor + row - np.where(row < cursor, 0, capacity)
    time = np.maximum(time, -1)
    terminal = columns["terminal"] == 1
    first = np.where(row < cursor, 0, cursor)  # of the rows that follow each other
    end = np.where(row < cursor, cursor, capacity)
    valid = (row - (STACK - 1) >= first) & (row + 1 < end) & (time - (STACK - 1) >= 0)
    # The last row of the checkpoint before had no successor there.
    valid &= time >= (seen - 1 if seen else 0)
    for back in range(1, STACK):
        valid[back:] &= ~terminal[:-back]
    return ReplayColumns(columns["action"], columns["reward"], terminal, time, valid), count


def refuse_values(folder: Path, number: int, columns: dict[str, np.ndarray]) -> None:
    """Raises DamagedFileError for a value that no row may have."""
    wrong = {
        "reward": ~np.isfinite(columns["reward"]),
        "terminal": ~np.isin(columns["terminal"], (0, 1)),
    }
    for name, bad in wrong.items():
        if bad.any():
            row = int(bad.argmax())
            raise DamagedFileError(
                f"{file(folder, number, name)}: row {row:,} is {columns[name][row]}"
            )


def checked_actions(folder: Path, number: int, ring: ReplayColumns, most: int) -> int:
    """The choices that the actions of a checkpoint imply."""
    path, valid = file(folder, number, "action"), ring.valid
    if ring.action.dtype.kind not in "iu":
        raise DamagedFileError(f"{path} has {ring.action.dtype}; expected whole numbers")
    wrong = valid & ((ring.action < 0) | (ring.action >= (most or 2**16)))
    if wrong.any():
        row = int(wrong.argmax())
        raise DamagedFileError(f"{path}: row {row:,} is {ring.action[row]}, which is no choice")
    return int(ring.action[valid].max(initial=0)) + 1


def check_frames(
    path: Path, shape: tuple[int, ...], dtype: np.dtype, rows: int, before: tuple[int, ...]
) -> None:
    """Raises DamagedFileError unless an array has a frame for each row, of the size `before`."""
    frame = int(np.prod(shape[1:], dtype=object)) if len(shape) == 3 else 0
    same = not before or shape[1:] == before
    if not 0 < frame <= FRAME or dtype != np.uint8 or shape[0] != rows or not same:
        size = " x ".join(map(str, before)) or "height x width"
        raise DamagedFileError(
            f"{path}: expected {rows:,} frames of {size} of uint8, found {shape} of {dtype}"
        )


def copy(
    path: Path, stream: Any, shape: tuple[int, ...], ring: ReplayColumns, writer: Writer
) -> None:
    """Writes the steps of a checkpoint, some frames at a time."""
    held, first = np.zeros((0, *shape[1:]), np.uint8), 0
    while first + len(held) < shape[0]:
        count = min(ROWS, shape[0] - first - len(held))
        fresh = entries(stream, count, shape[1:], np.dtype(np.uint8))
        held = np.concatenate([held, fresh])
        # The steps of these frames are all but the first three and the last.
        row = np.arange(first + STACK - 1, first + len(held) - 1)
        row = row[ring.valid[row]]
        if len(row):
            write(path, held, first, row, ring, writer)
        kept = min(STACK, len(held))
        first, held = first + len(held) - kept, held[len(held) - kept :]


def write(
    path: Path, frames: np.ndarray, first: int, row: np.ndarray, ring: ReplayColumns, writer: Writer
) -> None:
    """Writes the steps of these rows, whose frames begin with the row `first`."""
    back = np.maximum(row - STACK, 0)
    follows = ring.time[back] == ring.time[row] - STACK  # and is not across the ring's seam
    begins = row[follows & ring.terminal[back]]
    before = begins[:, None] - first + np.arange(1 - STACK, 0)
    if before.size and frames[before].any():
        bad = int(begins[frames[before].any((1, 2, 3)).argmax()])
        raise DamagedFileError(
            f"{path}: expected three rows of zeros before row {bad:,}, where an episode begins"
        )
    at = row - first
    stacks = [
        np.stack([frames[at + shift + i] for i in range(1 - STACK, 1)], -1) for shift in (0, 1)
    ]
    over = ring.terminal[row]
    fields: Fields = {
        "obs": stacks[0], "next_obs": stacks[1], "action": ring.action[row].astype(np.int32),
        "reward": ring.reward[row].astype(np.float32), "terminated": over,
        "truncated": np.zeros(len(row), bool),
    }  # fmt: skip
    last = np.flatnonzero(over | np.append(np.diff(row) != 1, True))
    start = np.concatenate([[0], last[:-1] + 1])
    writer.add(fields, last, 0, ring.time[row][start])
