"""The runs of a folder. A run is read when it is asked for, and again when its files have
changed."""

import hashlib
import os
import re
import threading
from pathlib import Path
from typing import Any, NamedTuple

from spinward.board import health, reading
from spinward.board.reading import RunRow
from spinward.store.files import TEMPORARY

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Entry(NamedTuple):
    """A run that was read, and the files it was read from."""

    signature: tuple[Any, ...]
    row: RunRow


class Runs:
    """What is known of the runs of a folder. Runs are named by digests of their folders' names, so
    that no part of a request is ever a path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: dict[str, Entry] = {}
        self.lock = threading.Lock()

    def paths(self) -> dict[str, Path]:
        """The folders with settings in them, by their names in requests. A link to a folder is
        none of them."""
        try:
            with os.scandir(self.folder) as entries:
                own = [e.name for e in entries if not e.is_symlink()]
                names = [name for name in own if not TEMPORARY.fullmatch(name)]
        except OSError:
            return {}
        runs = (self.folder / name for name in names)
        return {digest(p.name): p for p in runs if os.path.lexists(p / "config.json")}

    def rows(self) -> dict[str, RunRow]:
        """A row for each run, the last changed first."""
        with self.lock:
            known = {key: self.entry(key, path) for key, path in self.paths().items()}
            self.entries = known
        rows = {key: with_state(entry.row) for key, entry in known.items()}
        return dict(sorted(rows.items(), key=lambda item: (-item[1].changed, item[0])))

    def row(self, key: str) -> RunRow | None:
        """The row of one run; None if there is none of this name."""
        path = self.paths().get(key)
        if path is None:
            return None
        with self.lock:
            entry = self.entries[key] = self.entry(key, path)
        return with_state(entry.row)

    def entry(self, key: str, path: Path) -> Entry:
        """What is known of a run, read anew where its files have changed."""
        signature = reading.signature(path)
        known = self.entries.get(key)
        if known and known.signature == signature:
            return known
        return Entry(signature, reading.read(path))


def with_state(row: RunRow) -> RunRow:
    """A row that says whether its run is running."""
    if row.state in ("finished", "unreadable") or not reading.is_running(row.path):
        return row
    warnings = (*row.warnings, *health.quiet(row.changed))
    return row._replace(state="running", error="", warnings=warnings)


def digest(name: str) -> str:
    """The name of a run in requests."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:12]


def readable(name: str) -> str:
    """A file's name as text that can be shown: on one line, in one direction."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", os.fsencode(name).decode(errors="replace"))
