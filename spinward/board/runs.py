"""The runs and the searches of a folder. Each is read when it is asked for, and again when its
files have changed."""

import hashlib
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from spinward.board import health, reading, searches
from spinward.board.reading import RunRow
from spinward.board.searches import SearchRow
from spinward.store.files import TEMPORARY

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Listed(Protocol):
    """What a list says of a folder."""

    @property
    def path(self) -> Path: ...

    @property
    def changed(self) -> float: ...


Row = TypeVar("Row", bound=Listed)


class Kind(NamedTuple, Generic[Row]):
    """What a folder may be, and how it is read."""

    marker: str  # a file that such a folder has
    signature: Callable[[Path], tuple[Any, ...]]  # of the files a row is read from
    read: Callable[[Path], Row]
    with_state: Callable[[Row], Row]  # as it is at this moment


class Entry(NamedTuple, Generic[Row]):
    """A folder that was read, and the files it was read from."""

    signature: tuple[Any, ...]
    row: Row


class Known(Generic[Row]):
    """What is known of the folders of one kind in a folder. They are named by digests of their
    names, so that no part of a request is ever a path."""

    def __init__(self, folder: Path, kind: Kind[Row]) -> None:
        self.folder, self.kind = folder, kind
        self.entries: dict[str, Entry[Row]] = {}
        self.lock = threading.Lock()

    def paths(self) -> dict[str, Path]:
        """The folders of the kind, by their names in requests. A link to a folder is none of
        them."""
        try:
            with os.scandir(self.folder) as entries:
                own = [e.name for e in entries if not e.is_symlink()]
                names = [name for name in own if not TEMPORARY.fullmatch(name)]
        except OSError:
            return {}
        paths = (self.folder / name for name in names)
        return {digest(p.name): p for p in paths if os.path.lexists(p / self.kind.marker)}

    def rows(self) -> dict[str, Row]:
        """A row for each folder, the last changed first."""
        with self.lock:
            known = {key: self.entry(key, path) for key, path in self.paths().items()}
            self.entries = known
        rows = {key: self.kind.with_state(entry.row) for key, entry in known.items()}
        return dict(sorted(rows.items(), key=lambda item: (-item[1].changed, item[0])))

    def row(self, key: str) -> Row | None:
        """The row of one folder; None if there is none of this name."""
        path = self.paths().get(key)
        if path is None:
            return None
        with self.lock:
            entry = self.entries[key] = self.entry(key, path)
        return self.kind.with_state(entry.row)

    def entry(self, key: str, path: Path) -> Entry[Row]:
        """What is known of a folder, read anew where its files have changed."""
        signature = self.kind.signature(path)
        known = self.entries.get(key)
        if known and known.signature == signature:
            return known
        return Entry(signature, self.kind.read(path))


def with_state(row: RunRow) -> RunRow:
    """A row that says whether its run is running."""
    if row.state in ("finished", "unreadable") or not reading.is_running(row.path):
        return row
    warnings = (*row.warnings, *health.quiet(row.changed))
    return row._replace(state="running", error="", warnings=warnings)


def runs_of(folder: Path) -> Known[RunRow]:
    return Known(folder, Kind("config.json", reading.signature, reading.read, with_state))


def searches_of(folder: Path) -> Known[SearchRow]:
    kind = Kind(searches.MARKER, searches.signature, searches.read, searches.with_state)
    return Known(folder, kind)


def digest(name: str) -> str:
    """The name of a run in requests."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:12]


def readable(name: str) -> str:
    """A file's name as text that can be shown: on one line, in one direction."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", os.fsencode(name).decode(errors="replace"))
