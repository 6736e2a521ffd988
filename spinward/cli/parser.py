"""Flags: argparse, with one line for each mistake and the nearest name for a typo."""

import argparse
import json
import sys
from typing import Any, NoReturn

from spinward.errors import SettingsError, nearest


class Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that say something: neither an empty text nor False."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = action.default is False or action.default == ""
        return action.help if silent else super()._get_help_string(action)


OLDER = "use an older checkpoint where the newest is damaged"


class Parser(argparse.ArgumentParser):
    def __init__(self, command: str, about: str, parts: tuple[str, ...] = ()):
        """`parts` may be given settings of their own, as in `--env.size 8`: see `own_settings`."""
        self.parts = parts
        super().__init__(
            f"spinward {command}", description=about, allow_abbrev=False, formatter_class=Formatter
        )

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; {self.prog} --help lists what it takes")

    def places(self, words: list[str]) -> list[str]:
        """The words that are neither options nor values of options, before anything is read.

        An option that this parser does not know is taken to have a value.
        """
        found, value = [], False
        for word in words:
            option = word.startswith("-") and not word[1:2].isdigit()
            if option:
                action = self._option_string_actions.get(word)
                value = "=" not in word and (action is None or action.nargs != 0)
            elif value:
                value = False
            else:
                found.append(word)
        return found

    def read(self, words: list[str]) -> argparse.Namespace:
        """The arguments; an unknown flag is an error that names the nearest."""
        words, own = own_settings(words, self.parts)
        found, unknown = self.parse_known_args(words)
        found.own = own
        if unknown:
            flags = [f for action in self._actions for f in action.option_strings]
            word = unknown[0].split("=")[0]
            near = nearest(word, flags)
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
    """A line on what happens, on standard error; results go to standard output."""
    print(line, file=sys.stderr)
