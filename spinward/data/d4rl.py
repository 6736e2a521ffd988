"""Reads D4RL's files: HDF5 with a flat array for each field (Fu et al., 2020, arXiv:2004.07219).

Departs from D4RL's own converter: the last step of an episode that timed out is known to the step
before it as its successor, and is left out itself only where `next_observations` are missing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spinward.core import Box, replace
from spinward.data import card, hdf5
from spinward.data.card import Card
from spinward.data.checks import flags_of, in_unit, refuse_rows
from spinward.data.layout import layout_of
from spinward.data.plan import ImportOptions
from spinward.data.roles import Roles
from spinward.data.sequence import Sequence
from spinward.data.statistics import measured
from spinward.data.store import opened
from spinward.data.writer import Fields, Writer, created
from spinward.errors import DamagedFileError, SettingsError

BLOCK = 2**15  # rows that are read at once
NAMES = {
    "obs": "observations",
    "action": "actions",
    "reward": "rewards",
    "terminated": "terminals",
    "truncated": "timeouts",
}
NEXT_OBS = "next_observations"


class Flat(NamedTuple):
    """What a `Sequence` asks of a plan."""

    path: Path
    options: ImportOptions
    roles: Roles = Roles(terminated="terminals", truncated="timeouts")


def convert(path: Path, out: Path, options: ImportOptions) -> tuple[str, ...]:
    """Writes a D4RL file as a data set, and returns what was changed.

    Raises:
        SettingsError: the file does not say where time ran out, or a step has both ends.
        DamagedFileError: it cannot be read, or a value is not finite.
    """
    with hdf5.opened(path) as file, created(out) as folder:
        arrays = {
            key: hdf5.dataset(path, file, name) for key, name in NAMES.items() if name in file
        }
        check(path, arrays)
        if NEXT_OBS in file:
            arrays["next_obs"] = hdf5.dataset(path, file, NEXT_OBS)
        low = -1.0 if options.low is None else options.low
        high = 1.0 if options.high is None else options.high
        spaces = Box(arrays["obs"].shape[1:]), Box(arrays["action"].shape[1:], low, high)
        about = Card(*spaces, str(path), options.env, options.licence, "data convert (D4RL)")
        card.write(folder, about)
        sequence = Sequence(Flat(path, options), Writer(folder, layout_of(about.spec, {})), None)
        for fields in rows(path, arrays, about, options):
            sequence.add(fields)
        sequence.finish()
        notes = sequence.notes()
        about = replace(about, repaired=notes, statistics=measured(opened(folder)))
        card.write(folder, about)
    return notes


def check(path: Path, arrays: dict[str, Any]) -> None:
    """Raises an error where an array is missing or has another length."""
    missing = [NAMES[key] for key in NAMES if key not in arrays]
    if missing == [NAMES["truncated"]]:
        raise SettingsError(
            f"{path} has no timeouts, so where time ran out the next row is of another episode; "
            "take a version of the data that has them"
        )
    if missing:
        raise DamagedFileError(f"{path} lacks {', '.join(missing)}: it is no file of D4RL")
    sizes = {NAMES[key]: len(x) for key, x in arrays.items()}
    if len(set(sizes.values())) > 1:
        raise DamagedFileError(f"{path}: its arrays differ in length: {sizes}")


def rows(
    path: Path, arrays: dict[str, Any], about: Card, options: ImportOptions
) -> Iterator[Fields]:
    """The rows, some at a time, as a `Sequence` takes them."""
    action: Any = about.action
    for first in range(0, len(arrays["reward"]), BLOCK):
        part = slice(first, first + BLOCK)
        fields: Fields = {key: hdf5.values(path, x, part) for key, x in arrays.items()}
        count = len(fields["obs"])
        for key in ("reward", "terminated", "truncated"):
            fields[key] = fields[key].reshape(count)  # some files have [rows, 1]
        for key in ("obs", "next_obs", "action", "reward"):
            if key in fields:
                fields[key] = fields[key].astype(np.float32)
        for key in ("terminated", "truncated"):
            fields[key] = flags_of(path, NAMES[key], first, fields[key])
        both = fields["terminated"] & fields["truncated"]
        if "both-ends" not in options.repair and both.any():
            refuse_rows(path, first, both, "terminals and timeouts are both true; --repair "
                        "both-ends would count them as terminated")  # fmt: skip
        fields["valid"] = finite(path, first, fields, "missing" in options.repair)
        fields["action"] = in_unit(path, first, action, fields["action"], fields["valid"])
        zero = np.zeros(count, np.int64)
        row = np.arange(first, first + count)
        yield fields | {"done": zero > 0, "code": zero, "time": row * 1.0, "row": row}


def finite(path: Path, first: int, fields: Fields, repaired: bool) -> np.ndarray:
    """Which rows have finite values alone.

    Raises:
        DamagedFileError: one has not, and is not to be left out.
    """
    good = np.ones(len(fields["obs"]), bool)
    for key in ("obs", "next_obs", "action", "reward"):
        if key in fields:
            values = fields[key].reshape(len(good), -1)
            bad = ~np.isfinite(values)
            if bad.any() and not repaired:
                row, column = np.argwhere(bad)[0]
                raise DamagedFileError(
                    f"{path}: {key}[{column}] of row {first + row:,} is {values[row, column]}; "
                    "--repair missing would leave such rows out"
                )
            good &= ~bad.any(1)
    return good
