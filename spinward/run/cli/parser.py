"""Flags: argparse, with one line for each mistake and the nearest name for a typo."""

import argparse
import difflib
import json
import sys
from typing import Any, NoReturn

from spinward.errors import SettingsError


class Parser(argparse.ArgumentParser):
    def __init__(self, command: str, about: str, parts: tuple[str, ...] = ()):
        """`parts` may be given settings of their own, as in `--env.size 8`: see `own_settings`."""
        self.parts = parts
        formatter = argparse.ArgumentDefaultsHelpFormatter
        super().__init__(
            f"spinward {command}", description=about, allow_abbrev=False, formatter_class=formatter
        )

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; {self.prog} --help lists what it takes")

    def read(self, words: list[str]) -> argparse.Namespace:
        """The arguments; an unknown flag is an error that names the nearest."""
        words, own = own_settings(words, self.parts)
        found, unknown = self.parse_known_args(words)
        found.own = own
        if unknown:
            flags = [f for action in self._actions for f in action.option_strings]
            word = unknown[0].split("=")[0]
            near = difflib.get_close_matches(word, flags, 1, 0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            self.error(f"unexpected {unknown[0]!r}{hint}")
        return found


def own_settings(
    words: list[str], parts: tuple[str, ...]
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """The words that are left, and what `--PART.KEY VALUE` says, by part. A value is read as JSON
    where it is that: a number, true, a list.

    Raises:
        SettingsError: a key without a value.
    """
    rest: list[str] = []
    found: dict[str, dict[str, Any]] = {part: {} for part in parts}
    left = iter(words)
    for word in left:
        flag, equals, value = word.partition("=")
        part, _, key = flag.removeprefix("--").partition(".")
        if not (flag.startswith("--") and part in found and key):
            rest.append(word)
            continue
        value = value if equals else next(left, "")
        if not value or (not equals and value.startswith("--")):
            raise SettingsError(f"{flag} needs a value: {flag} VALUE")
        found[part][key.replace("-", "_")] = read_value(value)
    return rest, found


def read_value(text: str) -> Any:
    """A number, true, false or a list, where that is what it says; else the text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return tuple(value) if isinstance(value, list) else value


def print_json(content: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(content))


def say(line: str = "") -> None:
    """A line for people, on standard error."""
    print(line, file=sys.stderr)
