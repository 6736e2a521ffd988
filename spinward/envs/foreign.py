"""Environments that another package makes in JAX."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax

from spinward.errors import SettingsError, install


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
