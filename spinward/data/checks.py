"""What logged steps must be before anything is trained on them."""

from pathlib import Path
from typing import Any

import numpy as np

from spinward.core import Box, Dict, Discrete, Hybrid, MultiDiscrete, Spec
from spinward.data.card import Card
from spinward.data.writer import Fields
from spinward.errors import DamagedFileError, SettingsError
from spinward.experience.episodes import PROBABILITY

FAR = 10.0  # a policy with noise leaves [-1, 1], and is clipped; this is another unit


def check_fit(path: Path, card: Card, spec: Spec, env: str = "the environment") -> None:
    """Raises SettingsError where the spaces of a data set are not those of an environment."""
    for what, verb in (("obs", "observations"), ("action", "actions")):
        ours, theirs = getattr(card, what), getattr(spec, what)
        if not fits(ours, theirs, bounds=what == "action"):
            raise SettingsError(
                f"{path} has {verb} {described(ours)}; {env} has {verb} {described(theirs)}"
            )


def fits(ours: Any, theirs: Any, bounds: bool) -> bool:
    """Whether one space can stand for another. Bounds of observations may differ; actions are
    stored in the scale of their bounds."""
    if type(ours) is not type(theirs):
        return False
    if isinstance(ours, Dict):
        one, other = dict(ours.items), dict(theirs.items)
        same = one.keys() == other.keys()
        return same and all(fits(one[k], other[k], bounds) for k in one)
    if not isinstance(ours, Box):
        return bool(ours == theirs)
    if (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
        return False
    if not bounds:
        return True
    pairs = (ours.low, theirs.low), (ours.high, theirs.high)
    return all(np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in pairs)


def described(space: Any) -> str:
    """A space in words, with its numbers."""
    if isinstance(space, Dict):
        return " and ".join(f"{name}: {described(box)}" for name, box in space.items)
    if isinstance(space, Discrete):
        return f"0 to {space.n - 1}"
    if isinstance(space, MultiDiscrete):
        return f"of {len(space.sizes)} choices among {', '.join(map(str, space.sizes))}"
    if isinstance(space, Hybrid):
        return f"{described(space.choices)}, and numbers {described(space.box)}"
    shape = " x ".join(map(str, space.shape)) or "1"
    low, high = (np.asarray(x) for x in (space.low, space.high))
    within = f" within {low.min():.4g} to {high.max():.4g}" if space.bounded else ""
    return f"of {shape} {space.dtype}{within}"


def check_values(path: Path, card: Card, first: int, fields: Fields) -> None:
    """Raises DamagedFileError for a value that no step may have; the message has its row and
    column. `first` is the number of the first of these rows."""
    for name, values in named(fields):
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            bad = np.argwhere(~np.isfinite(values.reshape(len(values), -1)))[0]
            value, where = values.reshape(len(values), -1)[tuple(bad)], first + int(bad[0])
            column = f"{name}[{bad[1]}]" if values.ndim > 1 else name
            raise DamagedFileError(f"{path}: {column} of row {where:,} is {value}, not finite")
    refuse_odd_flags(path, first, fields)
    refuse_both(path, first, fields)
    action = fields["action"]
    if isinstance(card.action, Hybrid):
        action = card.action.parts(action)[0]
    if not isinstance(card.action, Box):
        sizes = card.action.n if isinstance(card.action, Discrete) else card.action.sizes
        wrong = ((action < 0) | (action >= np.asarray(sizes))).reshape(len(action), -1).any(1)
        refuse_rows(path, first, wrong, f"the action is outside {described(card.action)}")
    elif card.action.bounded:
        wrong = (np.abs(action) > FAR).reshape(len(action), -1).any(1)
        why = "the action is far outside -1 to 1, the scale of a policy, for the bounds "
        refuse_rows(path, first, wrong, f"{why}{described(card.action)}; convert it")
    if PROBABILITY in fields:
        probability = fields[PROBABILITY]
        wrong = probability <= 0.0
        if not isinstance(card.action, Box | Hybrid):  # of numbers it is a density
            wrong |= probability > 1.0
        refuse_rows(path, first, wrong, f"{PROBABILITY} is outside (0, 1]")


def in_unit(
    path: Path, first: int, space: Box, values: np.ndarray, valid: np.ndarray | None = None
) -> np.ndarray:
    """Actions [row, ...] in the scale of a policy, [-1, 1].

    Raises:
        DamagedFileError: one of a valid row is outside the bounds that the user gave.
    """
    outside = (values < np.asarray(space.low) - 1e-4) | (values > np.asarray(space.high) + 1e-4)
    wrong = np.asarray(outside.reshape(len(values), -1).any(1))
    if valid is not None:
        wrong = wrong & valid
    why = (
        f"an action is outside {np.min(space.low):g} to {np.max(space.high):g} (--action-low, "
        "--action-high)"
    )
    refuse_rows(path, first, wrong, why)
    half = (np.asarray(space.high) - np.asarray(space.low)) / 2
    return ((values - np.asarray(space.low)) / half - 1.0).astype(np.float32)


def flags_of(path: Path, name: str, first: int, values: np.ndarray) -> np.ndarray:
    """Values as truth values, which they must be: `first` is the number of the first."""
    wrong = ~np.isin(values, (0, 1))
    refuse_rows(path, first, wrong, f"{name} is neither true nor false")
    return values.astype(bool)


def refuse_odd_flags(path: Path, first: int, fields: Fields) -> None:
    """Raises DamagedFileError for a byte that is neither true nor false, as in a file of others."""
    for name in ("terminated", "truncated"):
        wrong = np.ascontiguousarray(fields[name], bool).view(np.uint8) > 1
        refuse_rows(path, first, wrong, f"{name} is neither true nor false")


def refuse_both(path: Path, first: int, fields: Fields) -> None:
    """Raises DamagedFileError where an episode ends in both ways."""
    both = fields["terminated"] & fields["truncated"]
    refuse_rows(path, first, both, "terminated and truncated are both true; an episode ends once")


def refuse_rows(path: Path, first: int, wrong: np.ndarray, why: str) -> None:
    """Raises DamagedFileError for the first of the wrong rows."""
    if wrong.any():
        row = first + int(wrong.argmax())
        raise DamagedFileError(f"{path}: row {row:,} ({int(wrong.sum())} rows like it): {why}")


def named(fields: Fields) -> list[tuple[str, np.ndarray]]:
    """The columns, the parts of a dict observation each by itself."""
    pairs = []
    for name, values in fields.items():
        parts = values.items() if isinstance(values, dict) else [("", values)]
        pairs += [(f"{name}.{part}" if part else name, array) for part, array in parts]
    return pairs
