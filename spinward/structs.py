"""The two kinds of class that the package is made of: state and settings, both PyTrees."""

import dataclasses
import functools
import typing
from typing import Any, TypeVar

import jax

from spinward.errors import SettingsError, nearest

T = TypeVar("T")


def static(default: Any = dataclasses.MISSING) -> Any:
    """A field of a struct that is part of its type: hashable, and never an array."""
    return dataclasses.field(default=default, metadata={"static": True})


@typing.dataclass_transform(frozen_default=True, field_specifiers=(static,))
def struct(cls: type[T]) -> type[T]:
    """State: a frozen dataclass and a PyTree whose every leaf is an array."""
    cls = dataclasses.dataclass(frozen=True)(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    return _registered(cls, [f.name for f in fields if "static" not in f.metadata])


@typing.dataclass_transform(frozen_default=True)
def config(cls: type[T]) -> type[T]:
    """Settings: a frozen dataclass. Fields annotated `float` or `Any` may be traced; an `Any` field
    holds a network or an environment, which has leaves. All other fields are static."""
    cls = dataclasses.dataclass(frozen=True)(cls)  # type: ignore[call-overload]
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    known = [f.name for f in fields]
    cls.__init__ = _checked(cls.__init__, cls.__name__, known)  # type: ignore[method-assign]
    return _registered(cls, [f.name for f in fields if f.type in (float, "float", Any, "Any")])


def shared(kind: type[T], settings: Any) -> T:
    """Settings of `kind` with the values that `settings` of another class have in fields of the
    same names."""
    names = {f.name for f in dataclasses.fields(settings)}
    both = [f.name for f in dataclasses.fields(kind) if f.name in names]  # type: ignore[arg-type]
    return kind(**{name: getattr(settings, name) for name in both})


def _checked(init: Any, kind: str, known: list[str]) -> Any:
    """The method that sets the fields, with the nearest name in the error for an unknown one."""

    @functools.wraps(init)
    def checked(made: Any, *args: Any, **settings: Any) -> None:
        for name in settings:
            if name not in known:
                near = nearest(name, known)
                hint = (
                    f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'none'}"
                )
                raise SettingsError(f"{kind} has no setting {name!r}; {hint}")
        init(made, *args, **settings)

    return checked


def _registered(cls: type[T], leaves: list[str]) -> type[T]:
    """Make a dataclass a PyTree; the fields that are no leaves are part of its structure.

    JAX's own `register_dataclass` (0.10 to 0.12) compares structures without their class: two
    classes with equal fields could then be given each other's compiled function.
    """
    others = [f.name for f in dataclasses.fields(cls) if f.name not in leaves]  # type: ignore[arg-type]
    keys = [jax.tree_util.GetAttrKey(name) for name in leaves]
    names = [*leaves, *others]

    def flatten(node: Any) -> tuple[list[Any], tuple[Any, ...]]:
        values = node.__dict__
        return [values[name] for name in leaves], tuple([values[name] for name in others])

    def flatten_with_keys(node: Any) -> tuple[list[Any], tuple[Any, ...]]:
        values, rest = flatten(node)
        return list(zip(keys, values, strict=True)), rest

    def unflatten(rest: tuple[Any, ...], values: Any) -> T:
        node = object.__new__(cls)
        node.__dict__.update(zip(names, (*values, *rest), strict=True))
        return node

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls
