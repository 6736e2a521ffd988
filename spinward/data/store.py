"""Opens a data set: one or more folders with columns, as one list of steps.

Rows count through the recordings: each episode follows the one before it, whatever the order of the
chunks in the files.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spinward.data import card
from spinward.data.card import Card
from spinward.data.layout import FLAGS, IDS, STATE, STEP
from spinward.data.parts import (
    BLOCK,
    RESIDENT,
    Part,
    check_digests,
    gathered,
    is_store,
    order_of,
    part,
    release,
)
from spinward.data.tables import refuse_table
from spinward.data.writer import FILE, Fields
from spinward.envs.recorded import Recorded
from spinward.errors import DamagedFileError, SettingsError
from spinward.store import files

ONCE = 2**28  # bytes of files that a pass over all steps keeps in its memory, about
PLAIN = {"action", "reward", *FLAGS}  # columns of steps that every data set has


class Store:
    """One or more parts with the same columns, one after another, as one data set."""

    def __init__(self, path: Path, parts: list[Part], the_card: Card):
        self.path, self.parts, self.card = path, parts, the_card
        self.orders = [order_of(p) for p in parts]
        self.firsts = np.concatenate([[0], np.cumsum([p.rows for p in parts])])
        self.rows = int(self.firsts[-1])
        self.layout = parts[0].layout
        self.mapped = sum(x.nbytes for p in parts for x in p.columns.values())
        if self.rows == 0:
            raise SettingsError(f"{path} has no steps")

    @property
    def extras(self) -> tuple[str, ...]:
        """The names of further columns of steps."""
        columns = self.layout.columns
        return tuple(c.name for c in columns if c.per == STEP and c.name not in PLAIN)

    @property
    def nbytes(self) -> int:
        """Bytes of the steps in memory, each with its observation and the next one."""
        doubled = 2 if self.layout.stack == 1 else 1
        sizes = {STATE: doubled, STEP: 1}
        return self.rows * sum(c.nbytes * sizes.get(c.per, 0) for c in self.layout.columns)

    def begins(self) -> np.ndarray:
        """The first row of each episode [episodes]."""
        firsts = zip(self.firsts, self.orders, strict=False)
        return np.concatenate([at + order.first[order.begins] for at, order in firsts])

    def place(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The episode [rows] of each row, and its time since the episode began."""
        begins = self.begins()
        episode = np.searchsorted(begins, rows, "right") - 1
        return episode, rows - begins[episode]

    def at(self, rows: np.ndarray) -> Fields:
        """The steps with these row numbers, in the order of `rows`, and whether the recording was
        `cut` after each."""
        return self.gathered(rows, self.mapped > RESIDENT)

    def gathered(self, rows: np.ndarray, one_by_one: bool = False) -> Fields:
        """The same; `one_by_one` where little of the files may become resident."""
        if len(self.parts) == 1:
            return gathered(self.parts[0], self.orders[0], rows, one_by_one)
        which = np.searchsorted(self.firsts, rows, "right") - 1
        fields: Fields = {}
        for i in np.unique(which):
            places = np.flatnonzero(which == i)
            place = rows[places] - self.firsts[i]
            some = gathered(self.parts[i], self.orders[i], place, one_by_one)
            put(fields, some, places, len(rows))
        return fields

    def blocks(self) -> Iterator[tuple[int, Fields]]:
        """All steps in their order, some at a time: the first row and the steps."""
        per_row = max(1, 2 * sum(c.nbytes for c in self.layout.columns) * self.layout.stack)
        size = max(1, BLOCK // per_row)
        for first in range(0, self.rows, size):
            yield first, self.gathered(np.arange(first, min(first + size, self.rows)))
            release(self.parts, ONCE)

    def ids(self) -> np.ndarray | None:
        """What a table called each episode [episodes]; None where it had no names."""
        if all(IDS in p.columns for p in self.parts):
            pairs = zip(self.parts, self.orders, strict=True)
            return np.concatenate([p.columns[IDS][o.number[o.begins]] for p, o in pairs])
        return None

    def check(self) -> None:
        """Raises DamagedFileError where a byte is not as it was written."""
        for each in self.parts:
            check_digests(each)


def put(fields: Fields, some: Fields, places: np.ndarray, rows: int) -> None:
    """Puts the steps that were found into the places `chosen` of `rows`."""
    for name, value in some.items():
        if isinstance(value, dict):
            put(fields.setdefault(name, {}), value, places, rows)
        else:
            whole = fields.setdefault(name, np.empty((rows, *value.shape[1:]), value.dtype))
            whole[places] = value


def opened(path: str | Path) -> Store:
    """The data set at a path: a folder with columns, or a folder of such folders, as a run has.

    Raises:
        SettingsError: there is none, or the parts differ in their columns.
        DamagedFileError: a file is missing or not as it was written.
    """
    path = Path(path)
    folders = stores_below(path)
    if not folders:
        raise SettingsError(f"{path} is no data set")
    parts = [part(folder) for folder in folders]
    if not is_store(path):
        check_seeds(parts)
    for each in parts[1:]:
        if each.layout != parts[0].layout:
            raise SettingsError(f"{each.folder} has other columns than {parts[0].folder}")
    return Store(path, parts, card.read(folders[0]))


def env_of(name: str) -> Recorded:
    """What the card of a data set has of an environment: its spaces."""
    return Recorded(card_of(name).spec)


def card_of(name: str) -> Card:
    """The card of a data set.

    Raises:
        SettingsError: there is none.
    """
    refuse_table(Path(name))
    folders = stores_below(Path(name)) if name and not Path(name).is_file() else []
    if not folders:
        raise SettingsError(
            f"{name or 'no data'}: without an environment, the spaces come from the card of a data "
            "set; name an environment, or the folder of a data set with --data"
        )
    return card.read(folders[0])


def stores_below(path: Path) -> list[Path]:
    """The folders with columns at a path, in the order of their names; of a run those in its
    shards."""
    if is_store(path):
        return [path]
    top = files.inside(path, path / "shards") if (path / "config.json").exists() else path
    stores = []
    for folder, folders, names in os.walk(top):
        for name in [*folders, *names]:
            files.inside(path, Path(folder) / name)
        if FILE in names:
            stores.append(Path(folder))
            folders.clear()
    return sorted(stores, key=natural)


def natural(path: Path) -> tuple[Any, ...]:
    """A key that sorts `seed-10` after `seed-9`."""
    parts = (name.rpartition("-") for name in path.parts)
    return tuple((a, int(b) if b.isascii() and b.isdigit() else -1, b) for a, _, b in parts)


def check_seeds(parts: list[Part]) -> None:
    """Raises DamagedFileError where the folder of a seed is missing, although others list it."""
    folders = {p.folder for p in parts}
    for each in parts:
        first, count = each.seeds
        for seed in range(first, first + count) if each.folder.name.startswith("seed-") else ():
            if (other := each.folder.with_name(f"seed-{seed}")) not in folders:
                raise DamagedFileError(
                    f"{other} is missing: {each.folder / FILE} has {count} seeds"
                )
