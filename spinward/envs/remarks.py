"""What is worth a remark in an environment's observations.

It imports nothing of the package: a worker process loads it without JAX.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .encoding import TEXTS, Leaf, kind_of


def notes(space: Any, parts: tuple[Leaf, ...]) -> list[str]:
    """Sentences on what an agent sees otherwise than the environment gives it."""
    sentences = []
    for part in parts:
        label = f"observation {part.name}".strip()
        if len(part.given_shape) == 2 and len(part.shape) == 1:
            sentences.append(
                f"{label}, a matrix of {part.given_shape[0]} x {part.given_shape[1]}, is read as a "
                "vector; --env.matrices image reads it as a picture"
            )
        if part.channels_first:
            sentences.append(
                f"{label} has its channels first, {part.given_shape}; agents see them last"
            )
    texts = [path for path, kind in kinds(space, ()) if kind in TEXTS]
    return sentences + [f"observation {path} is a text, which is left out" for path in texts]


def kinds(space: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str, str]]:
    """The name and kind of each part of a space."""
    kind = kind_of(space)
    if kind in ("Dict", "Tuple"):
        parts = space.spaces.items() if kind == "Dict" else enumerate(space.spaces)
        for key, part in parts:
            yield from kinds(part, (*path, key))
    else:
        yield ".".join(map(str, path)), kind


def slack(bound: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(bound), 1e-6 * np.abs(bound), 0.0)


class Bounds:
    """The bounds of observations, and the first observation that is found outside them."""

    def __init__(self, parts: tuple[Leaf, ...]) -> None:
        self.limits: list[tuple[Leaf, np.ndarray, np.ndarray]] = []
        self.first = ""
        for part in parts:
            low: Any = np.reshape(part.low, -1)
            high: Any = np.reshape(part.high, -1)
            every_byte = part.dtype == "uint8" and low.max() <= 0 and high.min() >= 255
            if part.kind != "box" or every_byte or np.isinf(np.concatenate([low, high])).all():
                continue
            size = int(np.prod(part.shape))
            low, high = (np.broadcast_to(x, size).reshape(part.shape) for x in (low, high))
            # Rounding to float32 is no fault.
            low, high = low - slack(low), high + slack(high)
            self.limits.append((part, low.astype(np.float32), high.astype(np.float32)))

    def check(self, rows: dict[str, np.ndarray]) -> bool:
        """Whether observations [env, ...] are the first outside the bounds: `first` says which."""
        if self.first:
            return False
        for part, low, high in self.limits:
            value = rows[part.name]
            wrong = (value < low) | (value > high)
            if wrong.any():
                env, *index = (int(i) for i in np.argwhere(wrong)[0])
                name = f"[{part.name!r}]" if part.name else ""
                place = f"{name}{index or ''}"
                bounds = f"{low[tuple(index)]:.4g} to {high[tuple(index)]:.4g}"
                said = f"observation{place} is {value[(env, *index)]:g}"
                self.first = f"{said}, outside its bounds {bounds}"
                return True
        return False
