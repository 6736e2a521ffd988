"""Data sets of the first format as those of the present one."""

from pathlib import Path
from typing import Any

import numpy as np

from spinward.core import Box, Discrete, Spec, replace
from spinward.data import card, chunks
from spinward.data.card import Card
from spinward.data.layout import layout_of
from spinward.data.parts import CUT
from spinward.data.statistics import measured
from spinward.data.steps import by_environment, read_arrays
from spinward.data.store import opened
from spinward.data.writer import Fields, Writer, created
from spinward.errors import SettingsError


def write(path: Path, out: Path, spec: Spec | None, **about: Any) -> None:
    """Writes npz files as a data set. Without a `spec`, the spaces are those of the arrays."""
    arrays = by_environment(chunks.read(path))
    spec = spec or spec_of(path, arrays)
    steps = read_arrays(path, spec)
    fields: Fields = {name: getattr(steps, name) for name in chunks.FIELDS}
    last = np.flatnonzero(fields["terminated"] | fields["truncated"])
    fields["truncated"] = fields["truncated"] & ~np.asarray(steps.extras[CUT])
    first = np.concatenate([[0], last[:-1] + 1])
    with created(out) as folder:
        Writer(folder, layout_of(spec, {})).add(fields, last, np.arange(len(last)), first)
        card.write(folder, made := Card(spec.obs, spec.action, str(path), **about))
        card.write(folder, replace(made, statistics=measured(opened(folder))))


def spec_of(path: Path, arrays: dict[str, np.ndarray]) -> Spec:
    """The spaces that arrays imply."""
    if missing := [name for name in ("obs", "action", "reward") if name not in arrays]:
        raise SettingsError(f"{path} lacks {', '.join(missing)}")
    obs, action = arrays["obs"], arrays["action"]
    image = obs.dtype == np.uint8
    box = Box(obs.shape[1:], 0.0, 255.0, "uint8") if image else Box(obs.shape[1:])
    if action.dtype.kind in "iu" and action.ndim == 1:
        return Spec(box, Discrete(int(action.max()) + 1))
    return Spec(box, Box(action.shape[1:], -1.0, 1.0))  # they are in the policy's scale
