"""Nested settings as one mapping. Nothing here needs JAX."""

from collections.abc import Mapping
from typing import Any


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested mappings as one, with names such as `algorithm.lr`."""
    merged: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            merged |= flat(value, f"{before}{name}.")
        else:
            merged[f"{before}{name}"] = value
    return merged
