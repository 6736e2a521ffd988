"""What an environment answers, checked against its spaces and written as the agent sees it.

It imports nothing of the package: a worker process loads it without JAX.
"""

from typing import Any, NamedTuple

import numpy as np

MASK = "action_mask"


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

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Leaf":
        """From its fields after a journey through JSON, which knows no tuples."""
        items: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
        return cls(**items)


class Fault(Exception):
    """An answer that breaks the contract of an environment, said in one line."""


class Unsupported(Exception):
    """A space the agent cannot deal with."""


def bounds(values: Any) -> Any:
    """One number where all bounds are the same, else a flat list of them."""
    flat = np.asarray(values, np.float64).reshape(-1)
    return float(flat[0]) if flat.size and (flat == flat[0]).all() else flat.tolist()


def leaf(name: str, space: Any) -> Leaf:
    """How the part `name` of an observation from `space` is shown to the agent."""
    kind, dtype = type(space).__name__, str(space.dtype)
    if kind not in ("Box", "Discrete", "MultiDiscrete", "MultiBinary"):
        raise Unsupported(
            f"observation space {space} is not supported: it must be a Box, Discrete, "
            "MultiDiscrete, MultiBinary, or a flat Dict of these"
        )
    given = (tuple(int(n) for n in space.shape), dtype)
    if kind == "Box":
        seen = "uint8" if dtype == "uint8" or name == MASK else "float32"
        return Leaf(name, "box", given[0], seen, bounds(space.low), bounds(space.high), *given)
    if kind == "Discrete":
        n = int(space.n)
        return Leaf(name, "one_hot", (n,), "float32", 0.0, 1.0, *given, (int(space.start),), (n,))
    if kind == "MultiDiscrete":
        sizes = tuple(int(n) for n in space.nvec.reshape(-1))
        starts = tuple(int(n) for n in np.asarray(space.start).reshape(-1))
        return Leaf(name, "one_hot", (sum(sizes),), "float32", 0.0, 1.0, *given, starts, sizes)
    seen = "uint8" if name == MASK else "float32"
    return Leaf(name, "binary", given[0], seen, 0.0, 1.0, *given)


def leaves(space: Any, info: dict[str, Any]) -> tuple[Leaf, ...]:
    """The parts of an observation; one without a name is the whole of it."""
    if type(space).__name__ == "Dict":
        return tuple(leaf(name, part) for name, part in space.spaces.items())
    whole = leaf("", space)
    if MASK not in info:
        return (whole,)
    shape = np.shape(info[MASK])
    mask = Leaf(MASK, "mask", shape, "uint8", 0.0, 1.0, shape, "uint8")
    return whole._replace(name="obs"), mask


def action_form(space: Any) -> dict[str, Any]:
    """The action space as plain data."""
    kind = type(space).__name__
    form: dict[str, Any] = {"kind": kind, "shape": list(space.shape), "dtype": str(space.dtype)}
    if kind == "Box":
        return form | {"low": bounds(space.low), "high": bounds(space.high)}
    if kind == "Discrete":
        return form | {"n": int(space.n), "start": int(space.start)}
    if kind == "MultiDiscrete":
        start = np.asarray(space.start)
        return form | {"sizes": space.nvec.reshape(-1).tolist(), "start": start.tolist()}
    if kind == "MultiBinary":
        return form | {"sizes": [2] * int(np.prod(space.shape)), "start": 0}
    raise Unsupported(
        f"action space {space} is not supported: it must be a Box, Discrete, MultiDiscrete or "
        "MultiBinary"
    )


def decode(form: dict[str, Any], action: Any) -> Any:
    """An action as the environment expects it, from one counted from 0."""
    if form["kind"] == "Discrete":
        return np.int64(action) + form["start"]
    action = np.array(action).reshape(form["shape"])
    return (action + form.get("start", 0)).astype(form["dtype"])


def encode(parts: tuple[Leaf, ...], obs: Any, info: Any) -> dict[str, np.ndarray]:
    """An observation as the agent sees it, part by part.

    Raises:
        Fault: it is not what the observation space promised.
    """
    if len(parts) == 1 and not parts[0].name:
        return {"": _encoded(parts[0], obs, "observation")}
    if parts[-1].kind == "mask":
        if MASK not in info:
            raise Fault(f"info has no {MASK!r}, which the first reset had")
        mask = _shaped(parts[-1], np.asarray(info[MASK]), f"info[{MASK!r}]")
        return {"obs": _encoded(parts[0], obs, "observation"), MASK: mask.astype(np.uint8)}
    if not isinstance(obs, dict):
        raise Fault(f"observation is {_kind(obs)}, expected a dict")
    names = sorted(part.name for part in parts)
    if sorted(obs) != names:
        raise Fault(f"observation has the keys {sorted(obs)}, expected {names}")
    return {p.name: _encoded(p, obs[p.name], f"observation[{p.name!r}]") for p in parts}


def _encoded(part: Leaf, value: Any, field: str) -> np.ndarray:
    if part.given_shape and not isinstance(value, np.ndarray):
        raise Fault(f"{field} is {_kind(value)}, expected an array of shape {part.given_shape}")
    value = _shaped(part, np.asarray(value), field)
    # The width of a number is no fault where it is converted anyway; its kind is.
    allowed = "iub" if part.kind != "box" else "f" if part.given_dtype.startswith("float") else ""
    if value.dtype != part.given_dtype and value.dtype.kind not in allowed:
        raise Fault(f"{field} has dtype {value.dtype}, expected {part.given_dtype}")
    if part.kind != "one_hot":
        return value.astype(part.dtype)
    choice = value.reshape(-1).astype(np.int64) - part.starts
    if (choice < 0).any() or (choice >= part.sizes).any():
        raise Fault(f"{field} is {value}, outside its space")
    row = np.zeros(part.shape, part.dtype)
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
