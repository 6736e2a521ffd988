"""Logged steps from files, as what a run learns from."""

from pathlib import Path
from typing import Any

import numpy as np

from spinward.core import Box, Hybrid, Transition
from spinward.data import chunks, store
from spinward.data.card import Card
from spinward.data.checks import PROBABILITY, check_fit, check_values
from spinward.data.layout import OBS, STATE
from spinward.data.parts import CUT
from spinward.data.store import Store
from spinward.data.tables import refuse_table
from spinward.data.writer import Fields
from spinward.errors import DamagedFileError, SettingsError
from spinward.experience.frames import Frames
from spinward.experience.material import Data

FIELDS = chunks.FIELDS
GIB = 2**30


def open_data(
    path: Path, spec: Any, share: float = 1.0, memory_gib: float = 0.5, env: str = ""
) -> Data:
    """The logged steps at a path, which fit the spaces of `spec`. Up to `memory_gib` are read into
    memory; more are read from the disk as they are drawn.

    Raises:
        SettingsError: a missing file or field, or shapes that do not fit the environment.
        DamagedFileError: a file is not as it was written, or has values that no step may have.
    """
    refuse_table(path)
    if path.is_file() or not store.stores_below(path):
        steps = read_arrays(path, spec)
        return Data(steps, spec, share, note=f"{len(steps.reward):,} logged steps, in memory")
    data = store.opened(path)
    check_fit(path, data.card, spec, env or "the environment")
    data.check()
    if data.nbytes > memory_gib * GIB:
        for first, fields in data.blocks():
            check_values(path, data.card, first, fields)
        note = f"{data.rows:,} logged steps ({data.nbytes / GIB:.1f} GiB), read as they are drawn"
        nothing: Any = None
        return Data(nothing, spec, share, note=note, reader=StoreReader(data))
    note = f"{data.rows:,} logged steps ({data.nbytes / GIB:.2g} GiB), in memory"
    steps = in_memory(data)
    if data.layout.stack == 1:
        return Data(steps, spec, share, note=note)
    frames, numbers = images(data)
    obs: Any = numbers
    steps = Transition(**{**vars(steps), OBS: obs, "next_obs": obs})
    return Data(steps, spec, share, note=note, frames=frames, stack=data.layout.stack)


class StoreReader:
    """The steps of an open data set, as Transitions."""

    def __init__(self, opened: Store):
        self.store, self.rows, self.extras = opened, opened.rows, (*opened.extras, CUT)

    def steps(self, rows: np.ndarray, keep: tuple[str, ...] = ()) -> Transition:
        return transition(self.store.at(rows), keep)


def transition(fields: Fields, keep: tuple[str, ...]) -> Transition:
    """Steps [rows] with these of their further columns."""
    weight: Any = np.ones(len(fields["reward"]), np.float32)
    main = {name: fields[name] for name in FIELDS}
    return Transition(**main, weight=weight, extras={name: fields[name] for name in keep})


def in_memory(data: Store) -> Transition:
    """All steps of a data set, checked; without observations that are stacks of images."""
    whole: Fields = {}
    for first, fields in data.blocks():
        check_values(data.path, data.card, first, fields)
        if data.layout.stack > 1:
            fields |= {OBS: fields["reward"], "next_obs": fields["reward"]}
        rows = np.arange(first, first + len(fields["reward"]))
        store.put(whole, fields, rows, data.rows)
    return transition(whole, (*data.extras, CUT))


def images(data: Store) -> tuple[Frames, np.ndarray]:
    """The images of a data set, each once, and the number [rows] of the newest of each step."""
    numbers, columns, before = [], [], 0
    stack = data.layout.stack
    for part, order in zip(data.parts, data.orders, strict=True):
        (name,) = (c.name for c in part.layout.columns if c.per == STATE)
        length = np.diff(order.first, append=part.rows)
        place = order.start + order.number * stack + stack - 1 - order.first + before
        numbers.append(np.repeat(place, length) + np.arange(part.rows))
        columns.append(part.columns[name])
        before += len(columns[-1])
    ring: Any = np.concatenate(columns)[:, None]
    count: Any = np.array([before], np.int32)
    begins: Any = np.array([True])
    return Frames(ring, count, begins), np.concatenate(numbers).astype(np.int32)


def read_data(path: Path, spec: Any) -> Transition:
    """The logged steps at a path [rows], in memory; see `open_data`."""
    return open_data(path, spec, memory_gib=np.inf).steps


def read_arrays(path: Path, spec: Any) -> Transition:
    """Logged steps [rows], episode by episode, from an npz file with an array for each field, or
    from the npz files of a run that kept them."""
    names = FIELDS
    arrays = by_environment(chunks.read(path))
    if missing := [name for name in names if name not in arrays]:
        raise SettingsError(f"{path} lacks {', '.join(missing)}; expected {', '.join(names)}")
    rows = len(arrays["reward"])
    wanted = {"obs": spec.obs.shape, "next_obs": spec.obs.shape, "action": spec.action.shape}
    for name in names:
        shape = (rows, *wanted.get(name, ()))
        if arrays[name].shape != shape:
            raise SettingsError(f"{path}: {name} has shape {arrays[name].shape}; expected {shape}")
        check_kind(path, name, arrays[name], spec)
    kinds = {"reward": np.float32, "terminated": bool, "truncated": bool}
    fields: dict[str, Any] = {n: np.asarray(arrays[n], kinds.get(n)) for n in names}
    extras: dict[str, Any] = {}
    if PROBABILITY in arrays:
        if arrays[PROBABILITY].shape != (rows,):
            raise SettingsError(f"{path}: {PROBABILITY} has shape {arrays[PROBABILITY].shape}")
        extras[PROBABILITY] = np.asarray(arrays[PROBABILITY], np.float32)
    check_values(path, Card(spec.obs, spec.action), 0, fields | extras)
    done = fields["terminated"] | fields["truncated"]
    cut = cut_after(fields, arrays.get("env")) & ~done
    fields["truncated"] = fields["truncated"] | cut
    weight: Any = np.ones(rows, np.float32)
    return Transition(**fields, weight=weight, extras={**extras, CUT: cut})


def check_kind(path: Path, name: str, values: np.ndarray, spec: Any) -> None:
    """Raises DamagedFileError for an array whose values are of another kind than they must be."""
    discrete = not isinstance(spec.action, Box | Hybrid)
    image = name in (OBS, "next_obs") and spec.obs.dtype == "uint8"
    kinds = "iu" if name == "action" and discrete else "u" if image else "fiub"
    flags = name in ("terminated", "truncated")
    if flags and values.dtype.kind in kinds and not np.isin(values, (0, 1)).all():
        odd = values[~np.isin(values, (0, 1))][0]
        raise DamagedFileError(f"{path}: {name} has the value {odd}; expected true or false")
    if values.dtype.kind not in kinds:
        wanted = {"iu": "whole numbers", "u": "uint8 images", "fiub": "numbers"}[kinds]
        raise DamagedFileError(f"{path}: {name} has values of {values.dtype}; expected {wanted}")


def by_environment(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rows of each seed and environment one after another; their order in time is kept."""
    if "env" not in arrays:
        return arrays
    keys = arrays["env"], arrays.get("seed", np.zeros(len(arrays["env"]), np.int64))
    order = np.lexsort(keys)
    if (order == np.arange(len(order))).all():
        return arrays
    return {name: x[order] for name, x in arrays.items()}


def cut_after(fields: dict[str, Any], env: np.ndarray | None) -> np.ndarray:
    """The rows [rows] after which the recording was cut: the next row is not the next step."""
    rows = len(fields["reward"])
    cut = np.ones(rows, bool)
    before, after = fields["next_obs"][:-1], fields["obs"][1:]
    cut[:-1] = (before != after).reshape(rows - 1, -1).any(1)
    if env is not None:
        cut[:-1] |= env[:-1] != env[1:]
    return cut
