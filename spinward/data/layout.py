"""The columns of a data set on disk, and how rows of steps are laid out in them.

Each column is one file of plain numbers, which grows by chunks. A column has an entry for each
step, for each observation, or for each segment. A segment is a part of an episode whose steps
follow each other in the file: an episode, or the part of it that one chunk has. A segment of n
steps has n + 1 observations, so an observation is stored once although it is also the successor of
the step before. Where an observation is a stack of images, each image is stored once: n + `stack`
of them.
"""

import math
import re
from typing import Any, NamedTuple

import numpy as np

from spinward.core import Box, Dict, Hybrid, Spec
from spinward.experience.frames import split

STATE, STEP, SEGMENT = "state", "step", "segment"
NAME = re.compile(r"[a-z_]{1,32}(\.[A-Za-z0-9_]{1,64})?", re.ASCII)  # of a column
KINDS = re.compile(r"bool|u?int(8|16|32|64)|float(32|64)|S([1-9][0-9]{0,2})", re.ASCII)  # dtypes
OBS = "obs"
FLAGS = {"terminated": "bool", "truncated": "bool"}
WHERE = {"start": "int64", "origin": "int32", "place": "int64"}  # of a segment
# `start` is its first row in the file. `origin` is the number of the recording it is a part of,
# such as that of an environment, and `place` is that of its first step in that recording.
IDS = "id"  # of episodes, as a table named them
MOST = 2**24  # entries of one value


class Column(NamedTuple):
    name: str
    per: str  # state, step or segment
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of an entry."""
        return np.dtype(self.dtype).itemsize * math.prod(self.shape)

    @property
    def file(self) -> str:
        return f"{self.name}.bin"

    @property
    def leaf(self) -> str:
        """The part of a dict observation that this is; empty for an observation of one array."""
        return self.name.partition(".")[2]


class Layout(NamedTuple):
    columns: tuple[Column, ...]
    stack: int = 1  # images that an observation is a stack of

    def entries(self, column: Column, rows: int, segments: int) -> int:
        """The entries of a column of a data set with so many rows and segments."""
        if column.per == STATE:
            return rows + segments * self.stack
        return rows if column.per == STEP else segments

    def to_json(self) -> dict[str, Any]:
        return {"columns": [list(c) for c in self.columns], "stack": self.stack}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Layout":
        """Raises ValueError for what is no layout."""
        columns = []
        for name, per, dtype, shape in content["columns"]:
            column = Column(name, per, dtype, tuple(shape))
            sizes = all(type(n) is int and 0 < n <= MOST for n in shape)
            known = per in (STATE, STEP, SEGMENT) and NAME.fullmatch(name)
            if not (known and KINDS.fullmatch(dtype) and sizes and math.prod(shape) <= MOST):
                raise ValueError(f"found the column {column!r:.120}")
            columns.append(column)
        stack = content["stack"]
        if type(stack) is not int or not 1 <= stack <= 64:
            raise ValueError(f"found stack={stack!r:.40}")
        names = {c.name for c in columns}
        wanted = {"action", "reward", *FLAGS, *WHERE}
        if wanted - names or len(names) < len(columns) or not any(n[:3] == OBS for n in names):
            raise ValueError(f"found the columns {', '.join(sorted(names)):.200}")
        return cls(tuple(columns), stack)


def layout_of(
    spec: Spec, extras: dict[str, tuple[str, tuple[int, ...]]], stack: int = 1, ids: str = ""
) -> Layout:
    """The layout of steps of a spec. `extras` are further columns of steps with their dtypes and
    shapes; `ids` is the dtype of the names of episodes, where there are any."""
    parts = spec.obs.items if isinstance(spec.obs, Dict) else (("", spec.obs),)
    columns = []
    for name, box in parts:
        shape = (*box.shape[:-1], box.shape[-1] // stack) if stack > 1 else box.shape
        columns.append(Column(f"{OBS}.{name}" if name else OBS, STATE, box.dtype, shape))
    kind = "float32" if isinstance(spec.action, Box | Hybrid) else "int32"
    columns.append(Column("action", STEP, kind, spec.action.shape))
    columns.append(Column("reward", STEP, "float32", ()))
    columns += [Column(name, STEP, kind, ()) for name, kind in FLAGS.items()]
    columns += [Column(name, STEP, *what) for name, what in extras.items()]
    columns += [Column(name, SEGMENT, kind, ()) for name, kind in WHERE.items()]
    if ids:
        columns.append(Column(IDS, SEGMENT, ids, ()))
    return Layout(tuple(columns), stack)


def states(obs: np.ndarray, next_obs: np.ndarray, last: np.ndarray, stack: int) -> np.ndarray:
    """The observations to store of steps [rows] in segments that end with the rows `last`: of each
    segment those of its steps, and the successor of its last step."""
    rows, segments = len(obs), len(last)
    number = np.arange(segments)
    first = np.concatenate([[0], last[:-1] + 1])
    segment = np.repeat(number, last - first + 1)
    shape = obs.shape[1:]
    older: Any = ()
    if stack > 1:
        shape = (*shape[:-1], shape[-1] // stack)
        older = split(obs[first], stack)[:-1]  # type: ignore[arg-type]
        obs, next_obs = (x[..., -shape[-1] :] for x in (obs, next_obs))
    out = np.empty((rows + segments * stack, *shape), obs.dtype)
    out[np.arange(rows) + segment * stack + stack - 1] = obs
    out[last + number * stack + stack] = next_obs[last]
    for i, images in enumerate(older):
        out[first + number * stack + i] = images
    return out
