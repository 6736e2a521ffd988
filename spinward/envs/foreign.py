"""Environments that another package makes in JAX."""

import importlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import jax

from spinward.errors import SettingsError, install, nearest


@contextmanager
def making(name: str) -> Iterator[Any]:
    """The module called `name`, to make an environment with. What is made holds values, also where
    the first call comes from inside a trace.

    Raises:
        SettingsError: its package is missing.
    """
    package = name.partition(".")[0]
    with jax.ensure_compile_time_eval():
        try:
            module = importlib.import_module(name)
        except ImportError as missing:
            raise SettingsError(
                f"{package} cannot be imported ({missing}): {install(package)}"
            ) from missing
        yield module


def unknown(what: str, name: str, known: Collection[str], lists: str) -> SettingsError:
    """The error that there is no such environment: `what` says of which package, `lists` what
    lists its names."""
    near = nearest(name, list(known), 3)
    hint = f"the nearest are {', '.join(near)}" if near else f"{lists} lists them"
    return SettingsError(f"there is no {what.replace(' ', f' {name!r} ', 1)}; {hint}")
