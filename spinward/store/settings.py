"""Settings to and from JSON, from flags, and one line for each mistake."""

import dataclasses
import functools
import importlib
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any

from spinward import schedules
from spinward.envs.ids import imported
from spinward.errors import SettingsError, nearest
from spinward.store import names
from spinward.store.meanings import meanings
from spinward.store.names import modules, place


def find(package: str, name: str) -> Any:
    """The one config class of `spinward.<package>.<name>`, or anybody's `module:Class`.

    Raises:
        SettingsError: there is no such module; the nearest names are listed.
    """
    if ":" in name:
        return imported(name)
    module = name.lower().replace("-", "_")
    if module not in modules(package):
        names = modules(package)
        near = nearest(module, names, 3) or names
        kind = package.removesuffix("s")
        raise SettingsError(f"there is no {kind} {name!r}; expected one of {', '.join(near)}")
    return only_config(importlib.import_module(f"spinward.{package}.{module}"))


def only_config(module: Any) -> Any:
    """The settings class that a module defines: the class whose fields all have defaults."""
    for value in vars(module).values():
        own = isinstance(value, type) and value.__module__ == module.__name__
        law = "wants" if module.__name__.startswith("spinward.algorithms") else "label"
        if own and dataclasses.is_dataclass(value) and law in vars(value):
            return value
    raise SettingsError(f"{module.__name__} defines no settings class")


def to_json(value: Any) -> Any:
    """A settings value as JSON: dataclasses by class and fields, functions by name."""
    if isinstance(value, schedules.Schedule):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"class": place(type(value)), "fields": fields}
    if isinstance(value, functools.partial):
        return {"function": place(value.func), "keywords": to_json(value.keywords)}
    if callable(value):
        return {"function": place(value)}
    if isinstance(value, tuple | list):
        return [to_json(x) for x in value]
    if isinstance(value, dict):
        return {k: to_json(v) for k, v in value.items()}
    return value


def functions(value: Any) -> list[str]:
    """The names of all functions among the settings in a value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [getattr(value, f.name) for f in dataclasses.fields(value)]
        return [name for each in fields for name in functions(each)]
    if isinstance(value, functools.partial):
        return functions(value.func)
    if isinstance(value, tuple | list):
        return [name for each in value for name in functions(each)]
    return [place(value)] if callable(value) and not isinstance(value, type) else []


def check_functions(value: Any) -> None:
    """Raises SettingsError for a setting that is a function without a name to find it by."""
    for field in dataclasses.fields(value) if dataclasses.is_dataclass(value) else ():
        for name in functions(getattr(value, field.name)):
            if "<" in name:
                raise SettingsError(
                    f"{field.name}={name.partition(':')[2]}: settings that are functions are saved "
                    "by name, so that the run can be opened again: write it with `def` at the top "
                    "level of a module or of the notebook"
                )


def from_json(value: Any, trust: bool = False) -> Any:
    """The value that `to_json` wrote. Code from outside Spinward is used only with `trust`."""
    if isinstance(value, list):
        return tuple(from_json(x, trust) for x in value)
    if not isinstance(value, dict):
        return value
    if "class" in value:
        older = names.FIELDS.get(value["class"], {})
        fields = {older.get(k, k): from_json(v, trust) for k, v in value["fields"].items()}
        kind = names.settings_class(value["class"], trust)
        return checked(kind, with_schedules(kind, fields))
    if "function" in value:
        named = names.function(value["function"], trust)
        keywords = {k: from_json(v, trust) for k, v in value.get("keywords", {}).items()}
        return functools.partial(named, **keywords) if "keywords" in value else named
    return {k: from_json(v, trust) for k, v in value.items()}


def with_schedules(kind: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a class, where a text for a number is the schedule that it means.

    Raises:
        SettingsError: it begins like a schedule, and is none.
    """
    hints = typing.get_type_hints(kind)
    texts = {n: v for n, v in fields.items() if hints.get(n) is float and schedules.is_text(v)}
    return {**fields, **{name: schedules.parsed(text) for name, text in texts.items()}}


def scheduled(value: Any) -> Any:
    """Settings of which texts that mean schedules are schedules."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    schedules_of = with_schedules(type(value), fields)
    changed = {
        name: schedules_of[name] for name in schedules_of if schedules_of[name] is not fields[name]
    }
    return dataclasses.replace(value, **changed) if changed else value


def checked(kind: Any, fields: dict[str, Any]) -> Any:
    """`kind(**fields)`, or one line on the first field that is unknown or of the wrong type."""
    known = {f.name: f for f in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    for name, value in fields.items():  # an `Any` of ours holds a model or parts, or nothing
        if name not in known:
            near = nearest(name, known)
            hint = (
                f"; did you mean {near[0]}?" if near else f"; it has {', '.join(known) or 'none'}"
            )
            raise SettingsError(f"{kind.__name__} has no setting {name!r}{hint}")
        plain = isinstance(value, str | int | float | tuple | dict)
        odd = hints[name] is Any and plain and names.is_ours(kind.__module__)
        if odd or not fits(value, hints[name]):
            raise SettingsError(
                f"{kind.__name__}.{name}={value!r} is a {type(value).__name__}; "
                f"expected {describe(hints[name])}"
            )
    return kind(**fields)


def fits(value: Any, hint: Any) -> bool:
    if hint is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number or isinstance(value, schedules.Schedule)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is Any:
        return True
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, kind) for kind in inner)
    if origin is Callable:
        return callable(value)
    if origin is dict:
        return isinstance(value, dict)
    if origin is tuple:
        if len(inner) == 2 and inner[1] is Ellipsis:
            inner = (inner[0],) * len(value) if isinstance(value, tuple) else inner
        return isinstance(value, tuple) and [*map(fits, value, inner)] == [True] * len(inner)
    return not isinstance(hint, type) or isinstance(value, hint)


def describe(hint: Any) -> str:
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}
    names[Any] = "an object, such as PPO()"
    if typing.get_origin(hint) is tuple:
        return "whole numbers" if typing.get_args(hint)[0] is int else "a list"
    return names.get(hint, str(hint))


def flags(kind: Any) -> Iterable[tuple[str, Any, Any, str]]:
    """Name, type, default and meaning of every setting that can be given as a flag."""
    hints = typing.get_type_hints(kind)
    notes = meanings(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if hint in (int, float, bool, str) or typing.get_origin(hint) is tuple:
            yield field.name, hint, field.default, notes.get(field.name, "")


def reader(hint: Any) -> Callable[[str], Any]:
    """Reads the text of a flag; raises ValueError if it does not fit."""
    if hint is bool:
        return {"true": True, "false": False, "1": True, "0": False}.__getitem__
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        return lambda text: tuple(inner(x) for x in text.replace(",", " ").split())
    if hint is float:
        return lambda text: schedules.parsed(text) if schedules.is_text(text) else float(text)
    return int_or_whole if hint is int else hint


def int_or_whole(text: str) -> int:
    """A whole number; `1e6` and `500_000` are whole too."""
    value = float(text.replace("_", ""))
    if not value.is_integer():
        raise ValueError(text)
    return int(value)
