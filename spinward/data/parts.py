"""The files of a data set: columns are memory-mapped, and rows are read where they are wanted."""

import hashlib
import mmap
import os
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from spinward.data import index
from spinward.data.layout import FLAGS, OBS, STATE, STEP, WHERE, Column, Layout
from spinward.data.writer import FILE, FORMAT, Fields, totals
from spinward.errors import DamagedFileError
from spinward.experience.episodes import CUT
from spinward.experience.frames import join
from spinward.store import files

BLOCK = 2**24  # bytes of rows that are looked at together
RESIDENT = 5 * 2**28  # bytes of files that a process keeps in its memory, about


class Part(NamedTuple):
    """An open folder with columns."""

    folder: Path
    layout: Layout
    columns: dict[str, np.ndarray]  # views of the files
    maps: list[mmap.mmap]  # the files
    files: dict[str, BinaryIO]  # the files, open to read
    chunks: list[dict[str, Any]]  # lines of the index
    seeds: tuple[int, int]
    rows: int


class Order(NamedTuple):
    """Where the rows of a part are, segment by segment in the order of time [segments]."""

    first: np.ndarray  # the row, counted in the order of time, that each segment begins with
    last: np.ndarray  # the row that it ends with
    start: np.ndarray  # the row of the file that it begins with
    number: np.ndarray  # of the segment in the file
    begins: np.ndarray  # whether an episode begins with it
    cut: np.ndarray  # whether its last step ends no episode, and nothing continues it


def is_store(folder: Path) -> bool:
    """Whether a folder has the columns of a data set, and not folders of several."""
    return (folder / FILE).is_file()


def part(folder: Path) -> Part:
    """The columns in a folder.

    Raises:
        DamagedFileError: the index or a file is not as it was written.
    """
    (header, *chunks), _ = index.lines(folder, FILE)
    try:
        if header["format"] != FORMAT:
            raise ValueError(f"format {header['format']!r:.40}; this Spinward reads {FORMAT}")
        layout = Layout.from_json(header)
        first, count = header["seeds"]
        rows, segments = totals(chunks)
        if type(rows) is not int or type(segments) is not int or not 0 <= segments <= rows:
            raise ValueError(f"found {rows!r:.40} rows in {segments!r:.40} segments")
    except (ValueError, TypeError, KeyError) as error:
        raise index.damaged(folder / FILE, error) from None
    maps: list[mmap.mmap] = []
    opened: dict[str, BinaryIO] = {}
    columns = {
        c.name: mapped(folder, c, layout.entries(c, rows, segments), maps, opened)
        for c in layout.columns
    }
    return Part(folder, layout, columns, maps, opened, chunks, (first, count), rows)


def mapped(
    folder: Path, column: Column, count: int, maps: list[mmap.mmap], opened: dict[str, BinaryIO]
) -> np.ndarray:
    """The first entries of a column. Its file is added to `maps` and `opened`."""
    shape = count, *column.shape
    if count == 0:
        return np.zeros(shape, column.dtype)
    try:
        file = opened[column.name] = files.opened(folder / column.file, folder, "rb")
        size = os.fstat(file.fileno()).st_size
        if size < count * column.nbytes:
            raise DamagedFileError(
                f"{folder / column.file}: expected {count * column.nbytes:,} bytes, found "
                f"{size:,}: it was cut"
            )
        maps.append(mmap.mmap(file.fileno(), count * column.nbytes, access=mmap.ACCESS_READ))
        return np.frombuffer(maps[-1], column.dtype).reshape(shape)
    except FileNotFoundError:
        raise DamagedFileError(f"{folder / column.file} is missing") from None


def release(parts: list[Part], limit: int = RESIDENT) -> None:
    """Gives pages of the files back to the system where this process holds more bytes of them than
    a limit. They stay in the system's cache as long as there is room."""
    try:
        with open("/proc/self/statm") as file:
            shared = int(file.read().split()[2]) * mmap.PAGESIZE
    except (OSError, ValueError, IndexError):  # not on Linux
        return
    if shared > limit:
        for part in parts:
            for one in part.maps:
                one.madvise(mmap.MADV_DONTNEED)


def order_of(part: Part) -> Order:
    """The order of the segments of a part."""
    start, origin, place = (np.asarray(part.columns[name]) for name in WHERE)
    number = np.arange(len(start))
    length = np.diff(start, append=part.rows)
    if len(start) and (start[0] != 0 or (length < 1).any()):
        path = part.folder / f"{next(iter(WHERE))}.bin"
        raise DamagedFileError(f"{path}: its segments do not follow each other")
    sorted_already = (
        (np.diff(origin) > 0) | ((np.diff(origin) == 0) & (np.diff(place) >= 0))
    ).all()
    if not sorted_already:
        number = np.lexsort((place, origin))
        start, origin, place, length = (x[number] for x in (start, origin, place, length))
    last = start + length - 1
    ended = np.zeros(len(start), bool)
    for name in FLAGS:
        ended |= part.columns[name][last]
    goes_on = ~ended
    follows = (origin[:-1] == origin[1:]) & (place[:-1] + length[:-1] == place[1:])
    goes_on[:-1] &= follows
    goes_on[-1:] = False
    for i in np.flatnonzero(goes_on):
        goes_on[i] = same_state(part, start, number, i, last[i])
    begins = np.concatenate([[True], ~goes_on[:-1]])[: len(start)]
    first = np.concatenate([[0], np.cumsum(length)[:-1]])[: len(start)]
    return Order(first, first + length - 1, start, number, begins, ~ended & ~goes_on)


def same_state(part: Part, start: np.ndarray, number: np.ndarray, i: Any, last: Any) -> bool:
    """Whether segment `i + 1` begins with the observation that segment `i` ends with."""
    stack = part.layout.stack
    before, after = last + number[i] * stack + 1, start[i + 1] + number[i + 1] * stack
    states = (part.columns[c.name] for c in part.layout.columns if c.per == STATE)
    return all(np.array_equal(x[before : before + stack], x[after : after + stack]) for x in states)


def taken(part: Part, column: Column, at: np.ndarray, one_by_one: bool) -> np.ndarray:
    """The entries of a column with the numbers `at`. Where they are read `one_by_one`, nothing
    around them becomes resident."""
    if not one_by_one:
        return np.take(part.columns[column.name], at, 0)
    file, size = part.files[column.name].fileno(), column.nbytes
    data = bytearray().join([os.pread(file, size, i) for i in (at.ravel() * size).tolist()])
    return np.frombuffer(data, column.dtype).reshape(*at.shape, *column.shape)


def gathered(part: Part, order: Order, rows: np.ndarray, one_by_one: bool = False) -> Fields:
    """The steps of a part with these numbers in the order of time."""
    segment = np.searchsorted(order.first, rows, "right") - 1
    row = order.start[segment] + (rows - order.first[segment])
    stack = part.layout.stack
    newest = row + order.number[segment] * stack + stack - 1
    cut = order.cut[segment] & (rows == order.last[segment])
    fields: Fields = {CUT: cut}
    for column in part.layout.columns:
        if column.per == STEP:
            fields[column.name] = taken(part, column, row, one_by_one)
        elif column.per == STATE:
            images = newest if stack == 1 else newest[:, None] + np.arange(1 - stack, 1)
            both = (taken(part, column, images + i, one_by_one) for i in (0, 1))
            pair = [x if stack == 1 else np.asarray(join(x)) for x in both]  # type: ignore[arg-type]
            for name, value in zip((OBS, "next_obs"), pair, strict=True):
                if column.leaf:
                    fields.setdefault(name, {})[column.leaf] = value
                else:
                    fields[name] = value
    fields["truncated"] |= cut
    return fields


def check_digests(part: Part) -> None:
    """Compares the bytes of each chunk with its digests, a few megabytes at a time."""
    for column in part.layout.columns:
        at = rows = segments = 0
        with files.opened(part.folder / column.file, part.folder, "rb") as file:
            for number, chunk in enumerate(part.chunks):
                rows, segments = chunk["rows"], chunk["segments"]
                size = part.layout.entries(column, rows, segments) * column.nbytes
                sha256, left = hashlib.sha256(), size - at
                while left > 0 and (data := file.read(min(left, BLOCK))):
                    sha256.update(data)
                    left -= len(data)
                if left or sha256.hexdigest() != chunk["sha256"][column.name]:
                    raise DamagedFileError(
                        f"{part.folder / column.file}: the bytes of chunk {number} (up to row "
                        f"{rows:,}) are not those that were written"
                    )
                at = size
