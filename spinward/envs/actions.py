"""Action spaces as plain data, and from an agent's actions to those of an environment.

An agent's action is one array. Where the environment's is a Dict or a Tuple, the array is a vector
of its choices, counted from 0, and then of its numbers.

It imports nothing of the package: a worker process loads it without JAX.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import numpy as np

from .encoding import MASK, SUPPORTED, Leaf, Unsupported, bounds, kind_of

Form = dict[str, Any]
UNBOUNDED = 1e10  # a bound this large stands for none, as in spaces.py
PARTED = ("Dict", "Tuple")


def action_form(space: Any) -> Form:
    """The action space as plain data.

    Raises:
        Unsupported: it is, or has a part, of another kind.
    """
    kind = kind_of(space)
    if kind in PARTED:
        items = space.spaces.items() if kind == "Dict" else enumerate(space.spaces)
        parts = [[key, action_form(part)] for key, part in items]
        if not parts:
            raise Unsupported(f"action space {space} has no parts")
        return {"kind": kind, "parts": parts, "shape": [], "dtype": ""}
    form = {"kind": kind, "shape": list(space.shape or ()), "dtype": str(space.dtype)}
    if kind == "Box" and 0 not in space.shape:
        return form | {"low": bounds(space.low), "high": bounds(space.high)}
    if kind == "Discrete":
        return form | {"n": int(space.n), "start": int(space.start)}
    if kind == "MultiDiscrete":
        start = np.asarray(space.start)
        return form | {"sizes": space.nvec.reshape(-1).tolist(), "start": start.tolist()}
    if kind == "MultiBinary":
        return form | {"sizes": [2] * int(np.prod(space.shape)), "start": 0}
    raise Unsupported(f"action space {space} is not supported: it must be {SUPPORTED}")


def ends(form: Form) -> Iterator[Form]:
    """The parts of a form that have no parts, in their order."""
    if form["kind"] not in PARTED:
        yield form
    for _, part in form.get("parts", ()):
        yield from ends(part)


def sizes_of(form: Form) -> list[int]:
    """The sizes of all choices."""
    sizes: list[int] = []
    for part in ends(form):
        sizes += [part["n"]] if part["kind"] == "Discrete" else part.get("sizes", [])
    return sizes


def limits_of(form: Form) -> tuple[list[float], list[float]]:
    """The lower and the upper bounds of all numbers."""
    boxes = [part for part in ends(form) if part["kind"] == "Box"]
    low, high = (
        [np.broadcast_to(np.reshape(box[side], -1), count(box)).tolist() for box in boxes]
        for side in ("low", "high")
    )
    return list(chain.from_iterable(low)), list(chain.from_iterable(high))


def count(form: Form) -> int:
    """The entries of an agent's action for a part without parts."""
    if form["kind"] == "Discrete":
        return 1
    return len(form["sizes"]) if "sizes" in form else int(np.prod(form["shape"]))


def array_of(form: Form) -> tuple[tuple[int, ...], str]:
    """The shape and the dtype of an agent's action."""
    if form["kind"] == "Box":
        return tuple(form["shape"]), "float32"
    choices, (numbers, _) = sizes_of(form), limits_of(form)
    if numbers:
        return (len(choices) + len(numbers),), "float32"
    alone = len(choices) == 1 and all("sizes" not in part for part in ends(form))
    return () if alone else (len(choices),), "int64"


def check_mask(parts: tuple[Leaf, ...], form: Form) -> None:
    """Raises Unsupported where a mask has not one entry for each of all choices."""
    choices = sum(sizes_of(form))
    for part in parts:
        if part.name == MASK and choices and part.shape != (choices,):
            raise Unsupported(
                f"{MASK} has shape {part.shape}; expected ({choices},): one entry for each choice"
            )


def decoder(form: Form) -> Callable[[Any], Any]:
    """From an agent's action, with numbers in their own units, to what the environment takes."""
    parts = list(ends(form))
    isbox = [part["kind"] == "Box" for part in parts]
    # Choices are counted from the first entry, numbers from the entry after the last choice.
    at, starts = [0, sum(count(p) for p, box in zip(parts, isbox, strict=True) if not box)], []
    for part, box in zip(parts, isbox, strict=True):
        starts.append(at[box])
        at[box] += count(part)
    readers = [
        reader(part, start, start + count(part)) for part, start in zip(parts, starts, strict=True)
    ]

    def built(form: Form, left: Iterator[Callable[[Any], Any]], flat: np.ndarray) -> Any:
        if form["kind"] not in PARTED:
            return next(left)(flat)
        pairs = [(key, built(part, left, flat)) for key, part in form["parts"]]
        return dict(pairs) if form["kind"] == "Dict" else tuple(value for _, value in pairs)

    if form["kind"] == "Discrete":
        return lambda action: np.int64(action) + form["start"]
    if form["kind"] not in PARTED:
        return lambda action: readers[0](np.asarray(action).reshape(-1))
    return lambda action: built(form, iter(readers), np.asarray(action).reshape(-1))


def reader(form: Form, first: int, last: int) -> Callable[[np.ndarray], Any]:
    """Reads one part of an action from the entries `first` to `last` of a vector."""
    if form["kind"] == "Discrete":
        start = np.int64(form["start"])
        return lambda flat: np.int64(flat[first]) + start
    shape, dtype = form["shape"], np.dtype(form["dtype"])
    if "sizes" in form:
        first_of = np.asarray(form["start"])
        return lambda flat: (flat[first:last].reshape(shape) + first_of).astype(dtype)
    low, high = (np.reshape(form[side], -1).astype(np.float64) for side in ("low", "high"))
    if dtype.kind == "f":
        low, high = low.astype(dtype), high.astype(dtype)

    def number(flat: np.ndarray) -> np.ndarray:
        value = flat[first:last]
        if dtype.kind != "f":
            return np.clip(np.rint(value), low, high).astype(dtype).reshape(shape)
        # In the environment's own dtype: a bound in float64 lies between two numbers of float32.
        value = value.astype(dtype)
        np.maximum(value, low, out=value)
        return np.minimum(value, high, out=value).reshape(shape)

    return number


def random_action(form: Form, random: np.random.Generator, mask: Any = None) -> np.ndarray:
    """An agent's random action, with numbers in their own units. `mask` [sum of sizes] says which
    choices are legal."""
    sizes, (low, high) = sizes_of(form), limits_of(form)
    allowed = np.ones(sum(sizes)) if mask is None else np.asarray(mask)
    parts = np.split(allowed, np.cumsum(sizes)[:-1]) if sizes else []
    action = [int(random.choice(np.flatnonzero(part))) for part in parts]
    shape, dtype = array_of(form)
    for least, most in zip(low, high, strict=True):
        action.append(number_within(least, most, random))
    return np.array(action, dtype).reshape(shape)


def number_within(low: float, high: float, random: np.random.Generator) -> Any:
    """A random number within bounds, of which some may be infinite."""
    if max(abs(low), abs(high)) < UNBOUNDED:
        return random.uniform(low, high)
    return float(np.clip(np.clip(0.0, low, high) + random.normal(), low, high))
