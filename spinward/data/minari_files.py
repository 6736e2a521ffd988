"""Reads and writes data sets of Minari (Farama): a group of an HDF5 file for each episode."""

import json
import math
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from spinward.core import Box, Dict, Discrete, replace
from spinward.data import card, hdf5
from spinward.data.card import Card
from spinward.data.checks import flags_of, named, refuse_both, refuse_rows
from spinward.data.layout import layout_of
from spinward.data.mixing import groups, lengths
from spinward.data.parts import BLOCK, CUT
from spinward.data.plan import ImportOptions
from spinward.data.statistics import measured
from spinward.data.store import Store, opened
from spinward.data.writer import Fields, Writer, created
from spinward.errors import DamagedFileError, SettingsError
from spinward.store import files

DATA, META = "main_data.hdf5", "metadata.json"
LIMIT = 2**24  # bytes of the metadata
MOST = 2**24  # entries of a space


def folder_of(path: Path) -> Path | None:
    """The folder with the files of a Minari data set; None if there is none."""
    return next((f for f in (path, path / "data") if (f / DATA).is_file()), None)


def convert(path: Path, out: Path, options: ImportOptions) -> tuple[str, ...]:
    """Writes a Minari data set as one of ours, and returns what was changed.

    Raises:
        SettingsError: a space that no data set can have.
        DamagedFileError: it cannot be read, or a value is not as a step's must be.
    """
    source = folder_of(path)
    assert source is not None
    try:
        meta = json.loads(files.read(source / META, source, LIMIT))
        obs, action = (space(meta[f"{n}_space"]) for n in ("observation", "action"))
    except (ValueError, TypeError, KeyError, FileNotFoundError) as error:
        raise DamagedFileError(
            f"{source / META}: expected Minari's metadata, {error!r:.120}"
        ) from None
    env = options.env or env_name(meta)
    origin = f"Minari {meta.get('dataset_id', path.name)}", env, options.licence
    about = Card(obs, unstarted(action), *origin, "data convert (Minari)")
    both = 0
    with hdf5.opened(source / DATA) as file, created(out) as folder:
        writer, held, size, number = Writer(folder, layout_of(about.spec, {})), [], 0, 0
        for fields in episodes(source / DATA, file, about, action):
            ends = fields["terminated"] & fields["truncated"]
            if "both-ends" not in options.repair:
                refuse_both(source / DATA, writer.rows, fields)
            fields["truncated"] &= ~ends
            both += int(ends.sum())
            held.append(fields)
            size += sum(x.nbytes for _, x in named(fields))
            if size > BLOCK:
                number, held, size = put(writer, held, number), [], 0
        put(writer, held, number)
        if not writer.rows:
            raise DamagedFileError(f"{source / DATA} has no steps")
        notes = (f"{both:,} steps with both ends counted as terminated",) if both else ()
        card.write(folder, about)
        card.write(folder, replace(about, repaired=notes, statistics=measured(opened(folder))))
    return notes


def put(writer: Writer, held: list[Fields], number: int) -> int:
    """Appends episodes, the first of which gets this number."""
    if held:
        last = np.cumsum([len(f["reward"]) for f in held]) - 1
        fields = {name: joined([f[name] for f in held]) for name in held[0]}
        writer.add(fields, last, number + np.arange(len(held)), np.zeros(len(held)))
    return number + len(held)


def joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], dict):
        return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    return np.concatenate(parts)


def episodes(path: Path, file: Any, about: Card, action: Any) -> Iterator[Fields]:
    """The episodes of a file, as steps."""
    names = [n for n in file if n.startswith("episode_") and n[8:].isdigit()]
    for name in sorted(names, key=lambda n: int(n[8:])):
        group = hdf5.subgroup(path, file, name)
        flat = {
            key: hdf5.values(path, hdf5.dataset(path, group, theirs))
            for key, theirs in (("reward", "rewards"), ("terminated", "terminations"),
                                ("truncated", "truncations"), ("action", "actions"))
        }  # fmt: skip
        count = len(flat["reward"])
        obs = observed(path, group, about.obs, count)
        steps = {"obs": sliced(obs, 0, count), "next_obs": sliced(obs, 1, count + 1)}
        if any(len(x) != count for x in flat.values()):
            raise DamagedFileError(f"{path}: arrays of {name} differ in length")
        flat["reward"] = flat["reward"].astype(np.float32)
        where = path.with_name(f"{path.name}: {name}")
        flat["action"] = scaled(where, action, flat["action"])
        for key in ("terminated", "truncated"):
            flat[key] = flags_of(where, key, 0, flat[key])
        fields: Fields = flat | steps
        for key, values in named(fields):
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                row = int(np.argwhere(~np.isfinite(values.reshape(count, -1)).all(1))[0, 0])
                raise DamagedFileError(f"{path}: {key} of step {row} of {name} is not finite")
        if count:
            yield fields


def observed(path: Path, group: Any, box: Any, count: int) -> Any:
    """The observations of an episode, one more than its steps."""
    if isinstance(box, Dict):
        inner = hdf5.subgroup(path, group, "observations")
        return {name: array(path, inner, name, part, count) for name, part in box.items}
    return array(path, group, "observations", box, count)


def array(path: Path, group: Any, name: str, box: Box, count: int) -> np.ndarray:
    stored = hdf5.values(path, hdf5.dataset(path, group, name))
    values = np.asarray(stored).astype(box.dtype)
    if box.dtype != "float32" and not np.array_equal(values, stored):
        raise DamagedFileError(
            f"{path}: {group.name}/{name} has values of {stored.dtype} that are none of {box.dtype}"
        )
    if values.shape != (count + 1, *box.shape):
        wanted = (count + 1, *box.shape)
        raise DamagedFileError(
            f"{path}: {group.name}/{name} has shape {values.shape}; expected {wanted}"
        )
    return values


def sliced(obs: Any, first: int, end: int) -> Any:
    if isinstance(obs, dict):
        return {name: x[first:end] for name, x in obs.items()}
    return obs[first:end]


def scaled(path: Path, action: Any, values: np.ndarray) -> np.ndarray:
    """Actions as they are stored: choices from 0, and amounts within [-1, 1].

    Raises:
        DamagedFileError: one is outside the space that the file names.
    """
    if isinstance(action, tuple):
        count, start = action
        wrong = (values != np.round(values)) | (values < start) | (values >= start + count)
        refuse_rows(path, 0, wrong.reshape(len(values), -1).any(1), "the action is no choice")
        return (values - start).astype(np.int32)
    if action.bounded:
        wrong = (values < np.asarray(action.low) - 1e-4) | (values > np.asarray(action.high) + 1e-4)
        outside = np.asarray(wrong.reshape(len(values), -1).any(1))
        refuse_rows(path, 0, outside, "the action is out of bounds")
    return action.scale.inverse(values)  # type: ignore[no-any-return]


def unstarted(action: Any) -> Any:
    return Discrete(action[0]) if isinstance(action, tuple) else action


def space(text: Any) -> Any:
    """A space of Minari; of choices, their number and the first of them."""
    content = json.loads(text) if isinstance(text, str) else text
    kind = content["type"]
    if kind == "Discrete":
        return int(content["n"]), int(content.get("start", 0))
    if kind == "Dict":
        parts = sorted(content["subspaces"].items())
        return Dict(tuple((name, space(part)) for name, part in parts))
    if kind != "Box" or math.prod(content["shape"]) > MOST:
        raise SettingsError(f"a space of Minari of kind {kind} is no observation or action here")
    kept = content["dtype"] if content["dtype"] in ("uint8", "int32") else "float32"
    low, high = (bound(content[n]) for n in ("low", "high"))
    return Box(tuple(int(n) for n in content["shape"]), low, high, kept)


def bound(values: Any) -> Any:
    """The bounds of a box: one number where they are all alike."""
    flat = np.asarray(values, np.float64).reshape(-1)
    return float(flat[0]) if len(flat) and (flat == flat[0]).all() else tuple(flat.tolist())


def env_name(meta: dict[str, Any]) -> str:
    try:
        return str(json.loads(meta["env_spec"])["id"])
    except (KeyError, TypeError, ValueError):
        return ""


def export(store: Store, out: Path, name: str) -> int:
    """Writes a data set as one of Minari, in the folder `out`, and returns its episodes.

    Raises:
        SettingsError: its actions are several choices at once.
    """
    spec = store.card.spec
    spaces = {"observation_space": described(spec.obs), "action_space": described(spec.action)}
    begins, length = store.begins(), lengths(store)
    with created(out) as folder:
        (folder / "data").mkdir()
        with hdf5.h5py().File(folder / "data" / DATA, "w", track_order=True) as file:
            for group in groups(length, store):
                for episode in range(group.start, group.stop):
                    rows = np.arange(begins[episode], begins[episode] + length[episode])
                    write_episode(file, episode, store.at(rows), store)
        meta = {
            "data_format": "hdf5", **{k: json.dumps(v) for k, v in spaces.items()},
            "total_episodes": len(begins), "total_steps": store.rows, "dataset_id": name,
            "jpeg_encoding": False, "description": store.card.source, "env_spec": None,
            "minari_version": installed(),
        }  # fmt: skip
        files.write_atomically(folder / "data" / META, json.dumps(meta).encode())
    return len(begins)


def write_episode(file: Any, episode: int, fields: Fields, store: Store) -> None:
    group = file.create_group(f"episode_{episode}")
    group.attrs["id"], group.attrs["total_steps"] = episode, len(fields["reward"])
    for key, obs in named({"obs": fields["obs"]}):
        successors = dict(named({"obs": fields["next_obs"]}))[key]
        where = f"observations/{key[4:]}" if len(key) > 3 else "observations"
        group[where] = np.concatenate([obs, successors[-1:]])
    action = fields["action"]
    amounts = isinstance(store.card.action, Box)
    group["actions"] = store.card.action.from_unit(action) if amounts else action.astype(np.int64)  # type: ignore[union-attr]
    group["rewards"] = fields["reward"].astype(np.float64)
    group["terminations"], group["truncations"] = fields["terminated"], fields["truncated"]
    group.attrs["cut"] = bool(fields[CUT][-1])


def described(space: Any) -> dict[str, Any]:
    """A space as Minari has it."""
    if isinstance(space, Dict):
        return {"type": "Dict", "subspaces": {n: described(box) for n, box in space.items}}
    if isinstance(space, Discrete):
        return {"type": "Discrete", "dtype": "int64", "start": 0, "n": space.n}
    if not isinstance(space, Box):
        raise SettingsError(f"{space} is no space that is written for Minari")
    shape = list(space.shape)
    bounds = {
        name: np.broadcast_to(np.reshape(value, space.shape if np.size(value) > 1 else ()), shape)
        for name, value in (("low", space.low), ("high", space.high))
    }
    lists = {name: np.asarray(value, np.float64).tolist() for name, value in bounds.items()}
    return {"type": "Box", "dtype": space.dtype, "shape": shape, **lists}


def installed() -> str:
    """The version of Minari that is installed, or the one whose format this is."""
    try:
        return version("minari")
    except PackageNotFoundError:
        return "0.5.4"
