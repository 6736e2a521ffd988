"""The JSON of settings as an untrusted text: no key twice, no number, text or nesting that settings
never have."""

import json
import re
from typing import Any

from spinward.errors import SettingsError

DEPTH = 16  # of objects and lists within each other
LENGTH = 256  # of a list
TEXT = 4096  # characters
WHOLE = 2**63  # whole numbers are smaller
SIZE = 2**24  # and so are those in lists, which are sizes of layers
CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # and halves of characters


class Malformed(SettingsError):
    """A config with an impossible value; the message names the value."""


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys differ."""
    content = dict(pairs)
    if len(content) != len(pairs):
        keys = [key for key, _ in pairs]
        double = next(key for key in keys if keys.count(key) > 1)
        raise Malformed(f"found {double!a:.80} twice")
    return content


def constant(name: str) -> float:
    """An infinity, which a threshold may be; NaN is no setting."""
    if name == "NaN":
        raise Malformed("found NaN")
    return float(name.replace("Infinity", "inf"))


def whole(text: str) -> int:
    if len(text) > 20 or not -WHOLE < int(text) < WHOLE:
        raise Malformed(f"found the number {text:.20}...")
    return int(text)


def check_size(value: Any, depth: int = 0) -> None:
    """Raises Malformed for texts, lists and nesting that no settings have."""
    if depth > DEPTH:
        raise Malformed(f"found values nested deeper than {DEPTH}")
    if isinstance(value, str):
        if len(value) > TEXT or CONTROL.search(value):
            raise Malformed(f"found the text {value!a:.80}")
    elif isinstance(value, dict | list):
        if len(value) > LENGTH:
            raise Malformed(f"found {len(value)} values in one place")
        if isinstance(value, list):
            sizes = [x for x in value if isinstance(x, int) and not -SIZE < x < SIZE]
            if sizes:
                raise Malformed(f"found the size {sizes[0]}")
        for each in [*value, *value.values()] if isinstance(value, dict) else value:
            check_size(each, depth + 1)


def read(text: str | bytes) -> Any:
    """The content of a text.

    Raises:
        Malformed: it has what no settings have.
        ValueError: it is no JSON.
    """
    content = json.loads(text, object_pairs_hook=unique, parse_constant=constant, parse_int=whole)
    check_size(content)
    return content
