"""Writes a data set: appends chunks of steps to the files of its columns, and lists them in its
index."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from spinward.data import card, index
from spinward.data.card import Card
from spinward.data.layout import OBS, SEGMENT, STATE, WHERE, Layout, states
from spinward.errors import DamagedFileError
from spinward.store import files

FILE = "store.jsonl"
FORMAT = 2  # files of columns; 1 were npz files
CHUNK = 32 * 2**20  # bytes of a chunk, about
Fields = dict[str, Any]  # of steps [rows]: obs, next_obs, action, ... and further columns


class Writer:
    """An open data set that grows. A chunk is in the index once all of its bytes are on disk."""

    def __init__(self, folder: Path, layout: Layout, seeds: tuple[int, int] = (0, 1)):
        """Starts a data set in an empty `folder`. `seeds` are the first of the seeds whose folders
        stand side by side, and how many there are."""
        self.folder, self.layout = folder, layout
        self.rows = self.segments = 0
        header = {"format": FORMAT, "seeds": list(seeds), **layout.to_json()}
        self.chain = index.write(folder, FILE, [header])

    def add(
        self,
        fields: Fields,
        last: np.ndarray,
        origin: np.ndarray | int,
        place: np.ndarray,
        upto: int = 0,
        ids: np.ndarray | None = None,
    ) -> None:
        """Appends steps [rows]. The rows with the numbers `last` [segments] end a segment: an
        episode, or a part of one; the last row is among them. `origin` and `place` [segments] say
        which recording a segment is a part of, and where; `ids` how its episode is called.
        A segment continues the one before if it is of the same origin, begins one step after its
        last step, which ended no episode, and with the observation that this step led to.
        `upto` is a number of the caller's, by which `reopened` finds the chunk."""
        number = len(last)
        starts = self.rows + np.concatenate([[0], last[:-1] + 1])
        where = {"start": starts, "origin": np.broadcast_to(origin, (number,)), "place": place}
        digests = {}
        for column in self.layout.columns:
            values: Any
            if column.per == STATE:
                obs, next_obs = (fields[n] for n in (OBS, "next_obs"))
                if column.leaf:
                    obs, next_obs = obs[column.leaf], next_obs[column.leaf]
                values = states(obs, next_obs, last, self.layout.stack)
            elif column.per == SEGMENT:
                values = where[column.name] if column.name in WHERE else ids
            else:
                values = fields[column.name]
            array = np.ascontiguousarray(values, column.dtype)
            assert array.shape[1:] == column.shape, (column, array.shape)
            digests[column.name] = append(self.folder, column.file, array)
        self.rows += len(fields["reward"])
        self.segments += number
        content = {"rows": self.rows, "segments": self.segments, "upto": upto, "sha256": digests}
        self.chain = index.append(self.folder, FILE, content, self.chain)

    def mark(self, upto: int) -> None:
        """Ends a chunk without steps, to which `reopened` can cut."""
        none = hashlib.sha256().hexdigest()
        digests = {c.name: none for c in self.layout.columns}
        content = {"rows": self.rows, "segments": self.segments, "upto": upto, "sha256": digests}
        self.chain = index.append(self.folder, FILE, content, self.chain)

    @classmethod
    def reopened(cls, folder: Path, layout: Layout, seeds: tuple[int, int], upto: int) -> "Writer":
        """The writer of a data set, cut after the chunk with the number `upto`.

        Raises:
            DamagedFileError: there is no such chunk, or a file is shorter than its index says.
        """
        (header, *chunks), _ = index.lines(folder, FILE)
        ends = [chunk["upto"] for chunk in chunks]
        if upto and upto not in ends:
            raise DamagedFileError(f"{folder}: expected rows up to {upto}, as a checkpoint has")
        kept = chunks[: ends.index(upto) + 1] if upto else []
        writer = cls.__new__(cls)
        writer.folder, writer.layout = folder, layout
        writer.rows, writer.segments = totals(kept)
        if Layout.from_json(header) != layout or header["seeds"] != list(seeds):
            raise DamagedFileError(f"{folder}: it has other columns or seeds than this run logs")
        files.remove_leftovers(folder)
        writer.chain = index.write(folder, FILE, [header, *kept])
        for column in layout.columns:
            size = column.nbytes * layout.entries(column, writer.rows, writer.segments)
            shorten(folder, column.file, size)
        return writer


def totals(chunks: list[dict[str, Any]]) -> tuple[int, int]:
    """The rows and segments of chunks."""
    return (chunks[-1]["rows"], chunks[-1]["segments"]) if chunks else (0, 0)


def append(folder: Path, name: str, array: np.ndarray) -> str:
    """Appends the bytes of an array to a file, safely on disk, and returns their SHA-256."""
    data = array.reshape(-1).view(np.uint8).data
    with files.opened(folder / name, folder, "ab") as file:
        file.write(data)
        file.flush()
        files.sync(file.fileno())
    return hashlib.sha256(data).hexdigest()


def shorten(folder: Path, name: str, size: int) -> None:
    """Removes what a file has beyond so many bytes.

    Raises:
        DamagedFileError: it has fewer.
    """
    if size == 0 and not (folder / name).exists():
        return
    with files.opened(folder / name, folder, "ab") as file:
        size_now = os.fstat(file.fileno()).st_size
        if size_now < size:
            raise DamagedFileError(
                f"{folder / name}: expected at least {size:,} bytes, found {size_now:,}"
            )
        os.ftruncate(file.fileno(), size)
        files.sync(file.fileno())


@contextmanager
def created(path: Path) -> Iterator[Path]:
    """A folder to write a data set into, which gets the name `path` once it is complete.

    Raises:
        SettingsError: there is something of this name.
    """
    files.check_new(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.temporary(path) as folder:
        folder.mkdir()
        yield folder
        files.sync_folder(folder)
        os.rename(folder, path)
        files.sync_folder(path.parent)


def write(path: Path, the_card: Card, fields: Fields, last: np.ndarray, **more: Any) -> None:
    """Writes steps that are in memory as a data set; for the arguments see `Writer.add`."""
    with created(path) as folder:
        Writer(folder, more.pop("layout")).add(fields, last, **more)
        card.write(folder, the_card)


def ends(fields: Fields, cut: np.ndarray | None = None) -> np.ndarray:
    """The rows [segments] that end a segment, of steps [rows] of one recording in the order of
    time: where an episode ends, where the next observation is not the successor, after the rows
    where `cut`, and the last row."""
    done = fields["terminated"] | fields["truncated"]
    over = done if cut is None else done | cut
    for obs, next_obs in leaves(fields):
        differs = next_obs[:-1] != obs[1:]
        over[:-1] |= differs.any(tuple(range(1, differs.ndim)))
    over[-1] = True
    return np.flatnonzero(over)


def leaves(fields: Fields) -> list[tuple[np.ndarray, np.ndarray]]:
    """The arrays of the observations, each with that of the successors."""
    obs, next_obs = fields[OBS], fields["next_obs"]
    return [(obs[k], next_obs[k]) for k in obs] if isinstance(obs, dict) else [(obs, next_obs)]
