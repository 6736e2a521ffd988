"""Logged steps from files, as a Transition to learn from."""

from pathlib import Path
from typing import Any

import numpy as np

from spinward.core import Box, Transition
from spinward.data import chunks
from spinward.errors import DamagedFileError, SettingsError
from spinward.experience.episodes import CUT, PROBABILITY


def read_data(path: Path, spec: Any) -> Transition:
    """Logged steps [rows], episode by episode, from an npz file with an array for each field, or
    from the chunks of a run that kept them.

    Raises:
        SettingsError: a missing file or field, or shapes that do not fit the environment.
        DamagedFileError: a file that is no npz, or holds values that are not finite.
    """
    names = chunks.FIELDS
    arrays = by_environment(chunks.read(path))
    if missing := [name for name in names if name not in arrays]:
        raise SettingsError(f"{path} lacks {', '.join(missing)}; expected {', '.join(names)}")
    rows = len(arrays["reward"])
    wanted = {"obs": spec.obs.shape, "next_obs": spec.obs.shape, "action": spec.action.shape}
    for name in names:
        shape = (rows, *wanted.get(name, ()))
        if arrays[name].shape != shape:
            raise SettingsError(f"{path}: {name} has shape {arrays[name].shape}; expected {shape}")
        if not np.isfinite(arrays[name]).all():
            row = int(np.argwhere(~np.isfinite(arrays[name].reshape(rows, -1)).all(1))[0, 0])
            raise DamagedFileError(f"{path}: {name} of row {row} is not finite")
    kinds = {"reward": np.float32, "terminated": bool, "truncated": bool}
    fields: dict[str, Any] = {n: np.asarray(arrays[n], kinds.get(n)) for n in names}
    cuts = cut_after(fields, arrays.get("env"))
    cuts &= ~(fields["terminated"] | fields["truncated"])
    fields["truncated"] = fields["truncated"] | cuts
    weight: Any = np.ones(rows, np.float32)
    extras: dict[str, Any] = {CUT: cuts}
    if PROBABILITY in arrays:
        extras[PROBABILITY] = checked_probabilities(path, arrays[PROBABILITY], rows, spec)
    return Transition(**fields, weight=weight, extras=extras)


def checked_probabilities(path: Path, probability: np.ndarray, rows: int, spec: Any) -> np.ndarray:
    """The logged probabilities [rows] of the actions, or their densities.

    Raises:
        SettingsError: one is not within (0, 1], or a density is not above 0.
    """
    if probability.shape != (rows,):
        raise SettingsError(
            f"{path}: {PROBABILITY} has shape {probability.shape}; expected {(rows,)}"
        )
    most = np.inf if isinstance(spec.action, Box) else 1.0
    bad = ~((probability > 0.0) & (probability <= most) & np.isfinite(probability))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise SettingsError(
            f"{path}: {PROBABILITY} of row {row} is {probability[row]:g}, and {bad.sum():,} of "
            f"{rows:,} are not above 0{'' if most == np.inf else ' and at most 1'}"
        )
    return np.asarray(probability, np.float32)


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
