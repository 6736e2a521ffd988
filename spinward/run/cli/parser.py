"""Flags: argparse, with one line for each mistake and the nearest name for a typo."""

import argparse
import json
import sys
from typing import Any, NoReturn

from spinward.errors import SettingsError, nearest


class Parser(argparse.ArgumentParser):
    def __init__(self, command: str, about: str):
        formatter = argparse.ArgumentDefaultsHelpFormatter
        super().__init__(
            f"spinward {command}", description=about, allow_abbrev=False, formatter_class=formatter
        )

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; {self.prog} --help lists what it takes")

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
    """A line for people, on standard error."""
    print(line, file=sys.stderr)
