"""What an environment answers, checked against its spaces and written as the agent sees it.

It imports nothing of the package: a worker process loads it without JAX.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

MASK = "action_mask"
VECTOR, IMAGE = "vector", "image"  # how a matrix is read
KINDS = ("Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict", "Tuple", "Text")
TEXTS = ("Text", "MissionSpace")  # which are left out; the second is MiniGrid's own kind of space
SUPPORTED = "a Box, Discrete, MultiDiscrete, MultiBinary, or a Dict or Tuple of these"


class Leaf(NamedTuple):
    """One part of an observation: what the environment gives and what the agent sees."""

    name: str
    kind: str  # box, one_hot, binary, or mask (which is found in `info`)
    shape: tuple[int, ...]  # as the agent sees it
    dtype: str
    low: Any  # one number, or one for each entry
    high: Any
    given_shape: tuple[int, ...]  # as the environment gives it
    given_dtype: str
    starts: tuple[int, ...] = ()  # of one_hot: the smallest value of each choice
    sizes: tuple[int, ...] = ()
    path: tuple[str | int, ...] = ()  # to this part in Dicts and Tuples
    channels_first: bool = False  # an image whose channels the environment gives first
    stack: int = 1  # newest values side by side

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Leaf":
        """From its fields after a journey through JSON, which knows no tuples."""
        items: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
        return cls(**items)

    @property
    def one(self) -> tuple[int, ...]:
        """The shape of one value, before values are stacked."""
        return (*self.shape[:-1], self.shape[-1] // self.stack) if self.stack > 1 else self.shape


class Fault(Exception):
    """An answer that breaks the contract of an environment, said in one line."""


class Unsupported(Exception):
    """A space the agent cannot deal with."""


def bounds(values: Any) -> Any:
    """One number where all bounds are the same, else a flat list of them."""
    flat = np.asarray(values, np.float64).reshape(-1)
    return float(flat[0]) if flat.size and (flat == flat[0]).all() else flat.tolist()


def kind_of(space: Any) -> str:
    """What kind of space it is, also where its class is derived from one of Gymnasium's."""
    names = [kind.__name__ for kind in type(space).__mro__]
    return next((name for name in names if name in (*KINDS, *TEXTS)), names[0])


def leaf(name: str, space: Any, path: tuple[str | int, ...] = (), matrices: str = VECTOR) -> Leaf:
    """How the part `name` of an observation from `space` is shown to the agent."""
    kind, dtype = kind_of(space), str(space.dtype)
    label = f"observation space {f'{name}: ' if name else ''}{space}"
    if kind not in KINDS[:4]:
        raise Unsupported(f"{label} is not supported: it must be {SUPPORTED}")
    given = (tuple(int(n) for n in space.shape), dtype)
    if kind == "Discrete":
        n, start = int(space.n), int(space.start)
        return Leaf(name, "one_hot", (n,), "float32", 0.0, 1.0, *given, (start,), (n,), path)
    if kind == "MultiDiscrete":
        sizes = tuple(int(n) for n in space.nvec.reshape(-1))
        starts = tuple(int(n) for n in np.asarray(space.start).reshape(-1))
        return Leaf(
            name, "one_hot", (sum(sizes),), "float32", 0.0, 1.0, *given, starts, sizes, path
        )
    seen = "uint8" if name == MASK or (kind == "Box" and dtype == "uint8") else "float32"
    if 0 in given[0] or len(given[0]) > 3:
        raise Unsupported(
            f"{label} has shape {given[0]}; expected a number, a vector, a matrix or an image, "
            "with entries"
        )
    channels_first = len(given[0]) == 3 and given[0][0] < min(given[0][1:])
    shape = seen_shape(given[0], channels_first, matrices)
    if kind == "MultiBinary":
        return Leaf(
            name, "binary", shape, seen, 0.0, 1.0, *given, path=path, channels_first=channels_first
        )
    low, high = (
        bounds(np.moveaxis(x, 0, -1) if channels_first else x) for x in (space.low, space.high)
    )
    return Leaf(
        name, "box", shape, seen, low, high, *given, path=path, channels_first=channels_first
    )


def seen_shape(shape: tuple[int, ...], channels_first: bool, matrices: str) -> tuple[int, ...]:
    """The shape in which an agent sees an array: images have their channels last."""
    if channels_first:
        return (*shape[1:], shape[0])
    if len(shape) != 2:
        return shape
    return (*shape, 1) if matrices == IMAGE else (shape[0] * shape[1],)


def leaves(
    space: Any, info: dict[str, Any], matrices: str = VECTOR, stack: int = 1
) -> tuple[Leaf, ...]:
    """The parts of an observation; one without a name is the whole of it."""
    rows = [stacked(part, stack) for part in flattened(space, (), matrices)]
    names = [part.name for part in rows]
    if not rows or len(set(names)) < len(names):
        raise Unsupported(
            f"observation space {space} has {'two parts of one name' if rows else 'no parts'}; "
            f"it must be {SUPPORTED}"
        )
    if MASK not in info or MASK in names:
        return tuple(rows)
    shape = flat_mask(info[MASK]).shape
    mask = Leaf(MASK, "mask", shape, "uint8", 0.0, 1.0, shape, "uint8")
    return *(part._replace(name=part.name or "obs") for part in rows), mask


def flattened(space: Any, path: tuple[str | int, ...], matrices: str) -> Iterator[Leaf]:
    """The parts of Dicts and Tuples, in their order; texts are left out."""
    kind = kind_of(space)
    if kind in ("Dict", "Tuple"):
        parts = space.spaces.items() if kind == "Dict" else enumerate(space.spaces)
        for key, part in parts:
            yield from flattened(part, (*path, key), matrices)
    elif kind not in TEXTS or not path:
        yield leaf(".".join(map(str, path)), space, path, matrices)


def stacked(part: Leaf, stack: int) -> Leaf:
    """`part` with its newest `stack` values side by side, in the last axis."""
    if stack == 1 or part.name == MASK:
        return part
    one = part.shape or (1,)
    low, high = (
        bounds(np.concatenate([np.asarray(x).reshape(one)] * stack, -1))
        if isinstance(x, list)
        else x
        for x in (part.low, part.high)
    )
    shape = (*one[:-1], one[-1] * stack)
    return part._replace(shape=shape, low=low, high=high, stack=stack)


def flat_mask(mask: Any) -> np.ndarray:
    """A mask as one vector, where it is one for each of several choices, too."""
    if isinstance(mask, dict):
        mask = tuple(mask.values())
    if isinstance(mask, tuple | list) and any(np.ndim(part) for part in mask):
        return np.concatenate([flat_mask(part) for part in mask])
    return np.asarray(mask).reshape(-1)


def encode(parts: tuple[Leaf, ...], obs: Any, info: Any) -> dict[str, np.ndarray]:
    """An observation as the agent sees it, part by part, each of one value.

    Raises:
        Fault: it is not what the observation space promised.
    """
    rows = {}
    for part in parts:
        if part.kind == "mask":
            if MASK not in info:
                raise Fault(f"info has no {MASK!r}, which the first reset had")
            mask = _shaped(part, flat_mask(info[MASK]), f"info[{MASK!r}]")
            rows[MASK] = mask.astype(np.uint8)
        else:
            field = "observation" + "".join(f"[{key!r}]" for key in part.path)
            rows[part.name] = _encoded(part, at(obs, part.path), field)
    return rows


class Encoder:
    """Writes the observations of one environment as an agent sees them, stacks included."""

    def __init__(self, parts: tuple[Leaf, ...]) -> None:
        self.parts = parts
        self.newest: dict[str, np.ndarray] = {}  # of the parts that are stacked

    def first(self, obs: Any, info: Any) -> dict[str, np.ndarray]:
        """The first observation of an episode, which stands for those before it too."""
        self.newest = {}
        return self(obs, info)

    def __call__(self, obs: Any, info: Any) -> dict[str, np.ndarray]:
        rows = encode(self.parts, obs, info)
        for part in self.parts:
            if part.stack > 1:
                value = rows[part.name]
                before = self.newest.get(part.name)
                older = [value] * (part.stack - 1)
                older = older if before is None else [before[..., part.one[-1] :]]
                rows[part.name] = np.concatenate([*older, value], -1)
                self.newest[part.name] = rows[part.name]
        return rows


def at(obs: Any, path: tuple[str | int, ...]) -> Any:
    """The part of an observation at a path through Dicts and Tuples."""
    field = "observation"
    for key in path:
        kind: Any = dict if isinstance(key, str) else (tuple, list)
        if not isinstance(obs, kind):
            wanted = "dict" if isinstance(key, str) else "tuple"
            raise Fault(f"{field} is {_kind(obs)}, expected a {wanted}")
        if isinstance(key, str) and key not in obs:
            raise Fault(f"{field} has the keys {sorted(obs)}, expected {key!r} among them")
        if isinstance(key, int) and key >= len(obs):
            raise Fault(f"{field} has {len(obs)} parts, expected more than {key}")
        obs, field = obs[key], f"{field}[{key!r}]"
    return obs


def _encoded(part: Leaf, value: Any, field: str) -> np.ndarray:
    if part.given_shape and not isinstance(value, np.ndarray):
        raise Fault(f"{field} is {_kind(value)}, expected an array of shape {part.given_shape}")
    value = _shaped(part, np.asarray(value), field)
    # The width of a number is no fault where it is converted anyway; its kind is.
    allowed = "iub" if part.kind != "box" else "f" if part.given_dtype.startswith("float") else ""
    if value.dtype != part.given_dtype and value.dtype.kind not in allowed:
        raise Fault(f"{field} has dtype {value.dtype}, expected {part.given_dtype}")
    if part.kind != "one_hot":
        value = value.astype(part.dtype)
        return (np.moveaxis(value, 0, -1) if part.channels_first else value).reshape(part.one)
    choice = value.reshape(-1).astype(np.int64) - part.starts
    if (choice < 0).any() or (choice >= part.sizes).any():
        raise Fault(f"{field} is {value}, outside its space")
    row = np.zeros(part.one, part.dtype)
    row[np.cumsum((0, *part.sizes[:-1])) + choice] = 1
    return row


def _shaped(part: Leaf, value: np.ndarray, field: str) -> np.ndarray:
    if value.shape != part.given_shape:
        raise Fault(f"{field} has shape {value.shape}, expected {part.given_shape}")
    return value


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def number(value: Any) -> float:
    """`value` as a reward, if it is one number."""
    if isinstance(value, int | float | np.number | np.bool_):
        return float(value)
    if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "fiub":
        return float(value)
    shape = f" of shape {value.shape}" if isinstance(value, np.ndarray) else ""
    raise Fault(f"reward is {_kind(value)}{shape}, expected one number")


def flag(value: Any, field: str) -> bool:
    """`value` as a flag, if it is one."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if np.ndim(value) == 0 and value in (0, 1):
        return bool(value)
    raise Fault(f"{field} is {value!r}, expected True or False")


def five(answer: Any) -> tuple[Any, Any, Any, Any, Any]:
    """What `step` returned, if it is what it should be."""
    if isinstance(answer, tuple) and len(answer) == 5 and isinstance(answer[4], dict):
        return answer
    actual = f"a tuple of {len(answer)}" if isinstance(answer, tuple) else _kind(answer)
    if isinstance(answer, tuple) and len(answer) == 5:
        actual = f"info as {_kind(answer[4])}"
    raise Fault(f"step returned {actual}, expected (obs, reward, terminated, truncated, info)")


def two(answer: Any) -> tuple[Any, dict[str, Any]]:
    """What `reset` returned, if it is what it should be."""
    if isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], dict):
        return answer
    actual = f"a tuple of {len(answer)}" if isinstance(answer, tuple) else _kind(answer)
    raise Fault(f"reset returned {actual}, expected (obs, info)")
