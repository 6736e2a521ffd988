"""Which key of a page means which action: for one choice, and for one or two numbers."""

import re
import string
from typing import Any, NamedTuple

import numpy as np

from spinward.core import Box, Discrete
from spinward.envs.action_names import STAY
from spinward.errors import SettingsError, nearest
from spinward.people.guard import Refused

ARROWS = {"left": "ArrowLeft", "right": "ArrowRight", "up": "ArrowUp", "down": "ArrowDown"}
NAMED = {**ARROWS, "space": " "}  # keys that are named by a word, as browsers call them
WORDS = {**ARROWS, "fire": " ", "press": " "}  # what choices are called: their keys
PLAIN = tuple(string.digits[1:] + "0" + string.ascii_lowercase)  # keys of choices without a name
AXES = (("ArrowLeft", "ArrowRight"), ("ArrowDown", "ArrowUp"))  # less and more, of each number


class Controls(NamedTuple):
    """The keys of an action space."""

    keys: dict[str, int]  # of the choices, by the names that browsers give to keys
    names: tuple[str, ...]  # of the choices
    idle: int | None  # the choice where no key is pressed; None: the last one again
    numbers: int = 0  # of an action of numbers, in place of a choice
    reach: float = 1.0  # of a number, where a key is pressed

    def shown(self) -> dict[str, Any]:
        """What the page shows and sends."""
        axes = [list(pair) for pair in AXES[: self.numbers]]
        known = [{"key": k, "action": a, "name": self.names[a]} for k, a in self.keys.items()]
        return {"keys": known, "axes": axes, "idle": self.idle, "reach": self.reach}

    def action(self, value: Any) -> np.ndarray:
        """The action, in the scale of a policy, that a page sent.

        Raises:
            Refused: it is none.
        """
        if not self.numbers:
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not whole or not 0 <= value < len(self.names):
                raise Refused(400, f"action={value!a:.40} must be 0 to {len(self.names) - 1}")
            return np.asarray(value, np.int32)
        numbers = value if isinstance(value, list) else []
        sound = all(type(x) in (int, float) and abs(x) <= abs(self.reach) for x in numbers)
        if len(numbers) != self.numbers or not sound:
            raise Refused(
                400, f"action={value!a:.40} must be {self.numbers} numbers within {self.reach:g}"
            )
        return np.asarray(numbers, np.float32)


def controls_of(
    space: Any, names: tuple[str, ...] = (), keys: str = "", idle: int | None = None,
    reach: float = 1.0,
) -> Controls:  # fmt: skip
    """The keys of an action space whose choices have `names`, or none. `keys` are pairs such as
    `left=0,space=2`, in place of those that would be taken.

    Raises:
        SettingsError: a space that keys cannot play, or keys that it has not.
    """
    if isinstance(space, Box):
        return of_numbers(space, keys, idle, reach)
    if not isinstance(space, Discrete):
        raise SettingsError(
            f"actions of {type(space).__name__} have no keys: expected one choice, or one or two "
            "numbers"
        )
    if reach != 1.0:
        raise SettingsError(f"--reach {reach:g} is of numbers; these actions are choices")
    if idle is not None and not 0 <= idle < space.n:
        raise SettingsError(f"--idle {idle} must be 0 to {space.n - 1}")
    if len(names) != space.n:
        names = tuple(f"action {i}" for i in range(space.n))
    pairs = given(keys, space.n) if keys else usual(names)
    stays = names.index(STAY) if STAY in names else None
    return Controls(pairs, names, stays if idle is None else idle)


def of_numbers(space: Box, keys: str, idle: int | None, reach: float) -> Controls:
    if keys or idle is not None:
        raise SettingsError("--keys and --idle are of choices; these actions are numbers")
    if space.size > len(AXES) or len(space.shape) > 1:
        raise SettingsError(
            f"actions of {space.size} numbers have no keys: at most {len(AXES)} can be played"
        )
    if not 0.0 < reach <= (1.0 if space.bounded else 1e6):
        limit = "at most 1, the bound" if space.bounded else "a number above 0"
        raise SettingsError(f"--reach {reach:g} must be above 0 and {limit}")
    return Controls({}, (), None, space.size, reach)


def usual(names: tuple[str, ...]) -> dict[str, int]:
    """A key for each choice: the arrow or space that its name means, otherwise the next digit or
    letter. To stay needs none."""
    pairs = {WORDS[name]: i for i, name in enumerate(names) if name in WORDS}
    rest = [i for i, name in enumerate(names) if name not in WORDS and name != STAY]
    if len(rest) > len(PLAIN):
        raise SettingsError(
            f"{len(names)} choices are more than there are keys; name those that are played with "
            "--keys a=0,b=17"
        )
    return pairs | dict(zip(PLAIN, rest, strict=False))


def given(keys: str, choices: int) -> dict[str, int]:
    """The keys of an argument such as `left=0,right=1,x=2`."""
    pairs: dict[str, int] = {}
    for word in filter(None, (x.strip() for x in keys.split(","))):
        key, _, action = word.rpartition("=")
        if not re.fullmatch("[0-9]{1,9}", action) or int(action) >= choices:
            raise SettingsError(f"--keys {word}: expected KEY=ACTION, with 0 to {choices - 1}")
        name = NAMED.get(key.lower(), key.lower())
        if name not in (*PLAIN, *NAMED.values()):
            near = nearest(key, list(NAMED))
            hint = f"; did you mean {near[0]}?" if near else f", or {', '.join(NAMED)}"
            raise SettingsError(f"--keys {word}: expected a digit or a letter{hint}")
        if name in pairs:
            raise SettingsError(f"--keys {word}: {key} is there twice; a key means one action")
        pairs[name] = int(action)
    return pairs
