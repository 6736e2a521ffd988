"""The settings that a search may change: `LOW:HIGH`, `LOW:HIGH:log`, or values with commas."""

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple

from spinward.errors import SettingsError, nearest
from spinward.store import ranges, settings

FORMS = "LOW:HIGH, LOW:HIGH:log, or values with commas (lists with | between them)"


class NumberRange(NamedTuple):
    """All numbers between two, both included."""

    low: float
    high: float
    log: bool  # whether equal ratios are equally likely
    whole: bool

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}{':log' if self.log else ''}"


class ValueList(NamedTuple):
    values: tuple[Any, ...]

    def __str__(self) -> str:
        lists = isinstance(self.values[0], tuple)
        texts = [",".join(map(str, v)) if lists else str(v) for v in self.values]
        return ("|" if lists else ",").join(texts)


Space = dict[str, NumberRange | ValueList]


def space_of(algorithm: Any, asked: Mapping[str, str]) -> Space:
    """The space that texts mean, or the step size from a tenth to ten times what it is.

    Raises:
        SettingsError: no such setting, or no such values for it.
    """
    if asked:
        return {name: values_of(algorithm, name, text) for name, text in asked.items()}
    step_size = dict(vars(algorithm)).get("lr")
    if not isinstance(step_size, float):
        raise SettingsError(
            f"{type(algorithm).__name__} has no step size lr: say what to change, as in "
            "--tune gamma=0.9:0.999"
        )
    low, high = (float(f"{step_size * by:.4g}") for by in (0.1, 10.0))
    return {"lr": NumberRange(low, min(1.0, high), True, False)}


def values_of(algorithm: Any, name: str, text: str) -> NumberRange | ValueList:
    """The values of one setting in a text."""
    kind = type(algorithm)
    hints = {flag: hint for flag, hint, *_ in settings.flags(kind)}
    name = name.replace("-", "_")
    if name not in hints:
        near = ", ".join(nearest(name, hints, 3) or sorted(hints))
        raise SettingsError(f"{kind.__name__} has no setting {name!r}; expected one of {near}")
    hint, parts = hints[name], text.split(":")
    number = hint in (int, float)
    try:
        if number and len(parts) in (2, 3) and parts[2:] in ([], ["log"]):
            made: NumberRange | ValueList = interval(hint, parts)
            ends: tuple[Any, ...] = (made.low, made.high)  # type: ignore[union-attr]
        else:
            ends = choices(hint, text)
            made = ValueList(ends)
        for end in ends:
            ranges.check(dataclasses.replace(algorithm, **{name: end}))
    except SettingsError:
        raise
    except (ValueError, KeyError):
        what = settings.describe(hint)
        raise SettingsError(f"--tune {name}={text}: expected {FORMS}, each {what}") from None
    return made


def interval(hint: Any, parts: list[str]) -> NumberRange:
    read = settings.int_or_whole if hint is int else float
    low, high = read(parts[0]), read(parts[1])
    if not (math.isfinite(low) and math.isfinite(high)):
        raise SettingsError(f"{':'.join(parts)}: expected two finite numbers")
    if low >= high:
        raise SettingsError(f"{':'.join(parts)}: the first number must be below the second")
    if parts[2:] and low <= 0:
        raise SettingsError(f"{':'.join(parts)}: a logarithmic interval begins above 0")
    return NumberRange(low, high, bool(parts[2:]), hint is int)


def choices(hint: Any, text: str) -> tuple[Any, ...]:
    lists = typing.get_origin(hint) is tuple
    values = tuple(map(settings.reader(hint), text.split("|" if lists else ",")))
    if len(set(values)) < 2:
        raise SettingsError(f"{text}: expected at least two different values")
    return values


def distributions(space: Space) -> dict[str, Any]:
    """The space as Optuna has it. ValueList are by their numbers, as lists are no choices there."""
    from optuna import distributions as optuna

    def of(values: NumberRange | ValueList) -> Any:
        if isinstance(values, ValueList):
            return optuna.CategoricalDistribution(range(len(values.values)))
        if values.whole:
            return optuna.IntDistribution(int(values.low), int(values.high), log=values.log)
        return optuna.FloatDistribution(values.low, values.high, log=values.log)

    return {name: of(values) for name, values in space.items()}


def settings_of(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that Optuna's parameters mean, numbers with four digits."""

    def of(values: NumberRange | ValueList, value: Any) -> Any:
        if isinstance(values, ValueList):
            return values.values[value]
        rounded = value if values.whole else float(f"{value:.4g}")
        return min(max(rounded, values.low), values.high)

    return {name: of(values, params[name]) for name, values in space.items()}


def params_of(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """Optuna's parameters for settings of the space."""
    return {
        name: of.values.index(values[name]) if isinstance(of, ValueList) else values[name]
        for name, of in space.items()
    }
