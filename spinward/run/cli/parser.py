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


class Parser(argparse.ArgumentParser):
    def __init__(self, command: str, about: str):
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
        found, unknown = self.parse_known_args(words)
        if unknown:
            flags = [f for action in self._actions for f in action.option_strings]
            word = unknown[0].split("=")[0]
            near = nearest(word, flags)
            hint = f"; did you mean {near[0]}?" if near else ""
            self.error(f"unexpected {unknown[0]!r}{hint}")
        return found


def print_json(content: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(content))


def say(line: str = "") -> None:
    """A line on what happens, on standard error; results go to standard output."""
    print(line, file=sys.stderr)
