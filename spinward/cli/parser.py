"""Flags: argparse, with one line for each mistake and the nearest name for a typo."""

import argparse
import json
import sys
from typing import Any, NoReturn

from spinward.errors import SettingsError, nearest


class Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults in the help, except for an empty text and False."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = action.default is False or action.default == ""
        return action.help if silent else super()._get_help_string(action)


OLDER = "use an older checkpoint where the newest is damaged"


def checkpoint_name(text: str) -> str | int:
    """A checkpoint: `best`, `last`, or an iteration."""
    if text in ("best", "last"):
        return text
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not best, last or an iteration")
    return int(text)


class Parser(argparse.ArgumentParser):
    def __init__(self, command: str, about: str, parts: tuple[str, ...] = ()):
        """`parts` are the parts of a run with settings as flags, such as `--env.size 8`."""
        self.parts = parts
        super().__init__(
            f"spinward {command}", description=about, allow_abbrev=False, formatter_class=Formatter
        )

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; {self.prog} --help lists what it takes")

    def add_checkpoint(self) -> None:
        """Adds the flags that choose a checkpoint of a run."""
        self.add_argument(
            "--checkpoint", type=checkpoint_name, default="last", help="best, last or an iteration"
        )
        self.add_argument("--older", action="store_true", help=OLDER)

    def places(self, words: list[str]) -> list[str]:
        """The positional arguments, before the options are read.

        An unknown option is assumed to have a value.
        """
        positional, value = [], False
        for word in words:
            option = word.startswith("-") and not word[1:2].isdigit()
            if option:
                action = self._option_string_actions.get(word)
                value = "=" not in word and (action is None or action.nargs != 0)
            elif value:
                value = False
            else:
                positional.append(word)
        return positional

    def read(self, words: list[str]) -> argparse.Namespace:
        """The arguments. The error for an unknown flag names the nearest known one."""
        words, own = own_settings(words, self.parts)
        namespace, unknown = self.parse_known_args(words)
        namespace.own = own
        if unknown:
            flags = [f for action in self._actions for f in action.option_strings]
            word = unknown[0].split("=")[0]
            near = nearest(word, flags)
            hint = f"; did you mean {near[0]}?" if near else ""
            self.error(f"unexpected {unknown[0]!r}{hint}")
        return namespace


def own_settings(
    words: list[str], parts: tuple[str, ...]
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """The remaining words, and the settings `--PART.KEY VALUE` by part. A value is read as JSON if
    it is JSON: a number, true, a list.

    Raises:
        SettingsError: a key without a value.
    """
    rest: list[str] = []
    by_part: dict[str, dict[str, Any]] = {part: {} for part in parts}
    remaining = iter(words)
    for word in remaining:
        flag, equals, value = word.partition("=")
        part, _, key = flag.removeprefix("--").partition(".")
        if not (flag.startswith("--") and part in by_part and key):
            rest.append(word)
            continue
        value = value if equals else next(remaining, "")
        if not value or (not equals and value.startswith("--")):
            raise SettingsError(f"{flag} needs a value: {flag} VALUE")
        by_part[part][key.replace("-", "_")] = read_value(value)
    return rest, by_part


def read_value(text: str) -> Any:
    """A number, true, false or a list, if the text is one; otherwise the text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return tuple(value) if isinstance(value, list) else value


def print_json(content: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(content))


def say(line: str = "") -> None:
    """Prints a line of progress on standard error; results go to standard output."""
    print(line, file=sys.stderr)
