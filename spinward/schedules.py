"""Settings that change over a run: a value for each iteration, from a short text.

`linear:START:END` and `cosine:START:END` go from one value to the other over the whole run, or with
a third number over that share of it. `warmup:SHARE:` before either of them, or before a number,
rises from 0 to the first value over that share of the run.
"""

import dataclasses
import math
from typing import Any, TypeVar

import jax.numpy as jnp
from jax import Array

from spinward.errors import SettingsError
from spinward.structs import config

T = TypeVar("T")
SHAPES = ("linear", "cosine")
FORMS = "linear:START:END, cosine:START:END[:SHARE], warmup:SHARE:VALUE or warmup:SHARE:linear:..."


@config
class Schedule:
    """A number that depends on the iteration of a run."""

    start: float  # after the warm-up
    end: float
    over: float = 1.0  # share of the run at which the end is reached
    warmup: float = 0.0  # share of the run over which the value rises from 0 to the start
    shape: str = "linear"  # linear or cosine
    iterations: float = 1.0  # of the whole run

    def __str__(self) -> str:
        warmup = f"warmup:{self.warmup!r}:" if self.warmup else ""
        if self.warmup and self.start == self.end:
            return f"{warmup}{self.start!r}"
        share = "" if self.over == 1.0 else f":{self.over!r}"
        return f"{warmup}{self.shape}:{self.start!r}:{self.end!r}{share}"

    def at(self, iteration: Any) -> Array:
        """The value in the iteration of this number."""
        share = jnp.float32(iteration) / self.iterations
        passed = jnp.clip((share - self.warmup) / jnp.maximum(self.over - self.warmup, 1e-9), 0, 1)
        if self.shape == "cosine":
            passed = (1.0 - jnp.cos(jnp.pi * passed)) / 2.0
        stepped = share + 1.0 / self.iterations  # above 0 in the first iteration
        risen = jnp.minimum(stepped / jnp.maximum(self.warmup, 1e-9), 1.0)
        rising = jnp.where(self.warmup > 0.0, risen, 1.0)
        return jnp.float32(rising * (self.start + (self.end - self.start) * passed))


def parsed(text: str) -> Schedule:
    """The schedule in a text.

    Raises:
        SettingsError: it has none of the forms.
    """
    shape, *rest = text.split(":")
    warmup = 0.0
    if shape == "warmup" and len(rest) > 1:
        warmup, (shape, *rest) = share(rest[0], text), rest[1:]
        if shape not in SHAPES and not rest:
            return Schedule(number(shape, text), number(shape, text), 1.0, warmup)
    if shape not in SHAPES or len(rest) not in (2, 3):
        raise SettingsError(f"{text!r:.80} is no schedule; expected {FORMS}")
    over = share(rest[2], text) if rest[2:] else 1.0
    if over <= warmup:
        raise SettingsError(f"{text!r:.80}: the end, at {over:g} of the run, is in the warm-up")
    return Schedule(number(rest[0], text), number(rest[1], text), over, warmup, shape)


def number(word: str, text: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SettingsError(f"{text!r:.80} is no schedule: {word!r:.40} is no finite number")
    return value


def share(word: str, text: str) -> float:
    value = number(word, text)
    if not 0.0 < value <= 1.0:
        raise SettingsError(f"{text!r:.80}: {word} must be a share of the run, above 0 up to 1")
    return value


def is_text(value: Any) -> bool:
    """Whether a value is a text with the name of a shape."""
    return isinstance(value, str) and value.partition(":")[0] in (*SHAPES, "warmup")


def of(settings: Any) -> dict[str, Schedule]:
    """The settings that are schedules, by name."""
    if not dataclasses.is_dataclass(settings):
        return {}
    values = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
    return {name: value for name, value in values.items() if isinstance(value, Schedule)}


def over(settings: T, iterations: int) -> T:
    """Settings whose schedules are for a run of so many iterations.

    Raises:
        SettingsError: more than can be told apart.
    """
    scheduled = of(settings)
    if scheduled and iterations >= 2**31:
        raise SettingsError(f"{', '.join(scheduled)}: a run with schedules has fewer iterations")
    longer = {n: dataclasses.replace(s, iterations=float(iterations)) for n, s in scheduled.items()}
    return dataclasses.replace(settings, **longer) if scheduled else settings  # type: ignore[type-var]


def fixed(settings: T, iteration: Any) -> T:
    """Settings with the values that schedules have in an iteration."""
    values = {name: schedule.at(iteration) for name, schedule in of(settings).items()}
    return dataclasses.replace(settings, **values) if values else settings  # type: ignore[type-var]


def ends(settings: T) -> tuple[T, ...]:
    """Settings with the values that schedules begin and end with, as plain numbers."""
    scheduled = of(settings)
    if not scheduled:
        return (settings,)
    values: list[dict[str, Any]] = [
        {name: getattr(schedule, part) for name, schedule in scheduled.items()}
        for part in ("start", "end")
    ]
    return tuple(dataclasses.replace(settings, **v) for v in values)  # type: ignore[type-var]
