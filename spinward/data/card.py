"""The card of a data set: its spaces, where its steps come from, and what they are like.

A card can stand in for an environment: an agent is made from its spaces.
"""

import dataclasses
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from spinward.core import Box, Dict, Discrete, Hybrid, MultiDiscrete, Spec
from spinward.errors import DamagedFileError, SettingsError
from spinward.spaces import ActionSpace
from spinward.store import files

FILE = "card.json"
LIMIT = 2**24  # bytes
FORMAT = 1
MOST = 2**24  # entries of a space, and choices of an action


@dataclasses.dataclass(frozen=True)
class Card:
    """What a data set says of itself."""

    obs: Box | Dict
    action: ActionSpace  # stored in the policy's scale, [-1, 1] if bounded
    source: str = ""  # who acted, or the file that the steps were read from
    env: str = ""  # the environment's name; empty where there is none
    licence: str = ""
    made: str = ""  # the command that wrote the data set
    features: tuple[str, ...] = ()  # names of the entries of an observation
    actions: tuple[str, ...] = ()  # names of the choices of a discrete action
    repaired: tuple[str, ...] = ()  # what an import changed, as sentences
    filled: dict[str, float] = dataclasses.field(default_factory=dict)  # what stands for a missing
    # cell of these columns; a feature `x?` says whether `x` was there
    statistics: dict[str, Any] = dataclasses.field(default_factory=dict)  # of finished data sets
    reference: dict[str, Any] = dataclasses.field(default_factory=dict)  # returns to compare with

    @property
    def spec(self) -> Spec:
        return Spec(self.obs, self.action)

    def observe(self, row: dict[str, Any]) -> np.ndarray:
        """The observation that a row of the table would be, to ask a policy for an action.

        Raises:
            SettingsError: a cell is missing, or is a text that the data do not have.
        """
        missing = {n for n in self.filled if row.get(n) is None or row[n] != row[n]}
        numbers = [self.number(name, row, missing) for name in self.features]
        texts = {n.partition("=")[0] for n in self.features if "=" in n and n not in row}
        for column in texts - missing:
            start = f"{column}="
            hot = [x for n, x in zip(self.features, numbers, strict=True) if n.startswith(start)]
            if not any(hot):
                raise SettingsError(f"{column}={row[column]!r} is not among the data's values")
        return np.array(numbers, np.float32)

    def number(self, name: str, row: dict[str, Any], missing: set[str]) -> float:
        """The number of one feature in a row in which the cells of some columns are missing."""
        if name.endswith("?") and name[:-1] in self.filled:
            return float(name[:-1] not in missing)
        if name in missing:
            return self.filled[name]
        return 0.0 if name.partition("=")[0] in missing else cell(name, row)


def cell(name: str, row: dict[str, Any]) -> float:
    """The number of one feature in a row: a number, one of a list, or whether a text is there."""
    if name in row:
        return float(row[name])
    column, _, value = name.partition("=")
    if column in row:
        return float(str(row[column]) == value)
    column, _, place = name.rstrip("]").rpartition("[")
    if column in row:
        return float(row[column][int(place)])
    raise SettingsError(f"the row lacks {column or name}")


def write(folder: Path, card: Card) -> None:
    """Writes the card of a data set, with a digest of its content."""
    content: dict[str, Any] = {"format": FORMAT}
    content |= {f.name: getattr(card, f.name) for f in dataclasses.fields(card)}
    content |= {"obs": space_to_json(card.obs), "action": space_to_json(card.action)}
    text = json.dumps({**content, "sha256": digest(content)}, indent=1)
    files.write_atomically(folder / FILE, text.encode() + b"\n")


def digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read(folder: Path) -> Card:
    """The card of a data set.

    Raises:
        DamagedFileError: there is none, or it was changed.
    """
    path = folder / FILE
    try:
        content = json.loads(files.read(path, folder, LIMIT))
        if content.pop("sha256") != digest(content):
            raise ValueError("its content is not what was written")
        if content.pop("format") != FORMAT:
            raise ValueError("it has another format")
        content |= {"obs": space_from_json(content["obs"])}
        content |= {"action": space_from_json(content["action"])}
        for name in ("features", "actions", "repaired"):
            content[name] = tuple(str(x) for x in content[name])
        return Card(**content)
    except FileNotFoundError:
        raise DamagedFileError(f"{path} is missing: a data set has a card") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DamagedFileError(f"{path}: expected the card of a data set, {error!s:.120}") from None


def space_to_json(space: Any) -> dict[str, Any]:
    """A space as JSON; an infinite bound is null."""
    if isinstance(space, Dict):
        items = {name: space_to_json(box) for name, box in space.items}
        return {"kind": "dict", "items": items}
    if isinstance(space, Discrete):
        return {"kind": "discrete", "n": space.n}
    if isinstance(space, MultiDiscrete):
        return {"kind": "choices", "sizes": list(space.sizes)}
    if isinstance(space, Hybrid):
        return {"kind": "hybrid", "sizes": list(space.sizes), "box": space_to_json(space.box)}
    bounds = {"low": bound(space.low), "high": bound(space.high)}
    return {"kind": "box", "shape": list(space.shape), **bounds, "dtype": space.dtype}


def bound(value: Any) -> Any:
    if isinstance(value, tuple):
        return [bound(x) for x in value]
    return float(value) if math.isfinite(value) else None


def space_from_json(content: dict[str, Any]) -> Any:
    """The space in a card.

    Raises:
        ValueError: it is none, or larger than any is.
    """
    kind = content["kind"]
    if kind == "dict":
        items = sorted(content["items"].items())
        return Dict(tuple((str(name), space_from_json(box)) for name, box in items))
    if kind == "discrete":
        return Discrete(whole(content["n"]))
    if kind == "choices":
        return MultiDiscrete(tuple(whole(n) for n in content["sizes"]))
    if kind == "hybrid":
        return Hybrid(tuple(whole(n) for n in content["sizes"]), space_from_json(content["box"]))
    if kind != "box" or content["dtype"] not in ("float32", "uint8", "int32", "bool", "int8"):
        raise ValueError(f"found a space of kind {kind!r:.40}")
    shape = tuple(whole(n) for n in content["shape"])
    if math.prod(shape) > MOST:
        raise ValueError(f"found a space of shape {shape}")
    low, high = limit(content["low"], -math.inf), limit(content["high"], math.inf)
    return Box(shape, low, high, content["dtype"])


def whole(value: Any) -> int:
    if type(value) is not int or not 0 < value <= MOST:
        raise ValueError(f"found the size {value!r:.40}")
    return value


def limit(value: Any, infinite: float) -> Any:
    if isinstance(value, list):
        return tuple(limit(x, infinite) for x in value)
    return infinite if value is None else float(value)
