"""A preset: settings that are known to work, and the tasks that they are for."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from spinward.presets.kinds import Task


@dataclasses.dataclass(frozen=True)
class OfSteps:
    """A setting that follows from the length of a run: a part of its steps, within bounds."""

    divisor: int = 1
    least: int = 0
    most: int = 2**63

    def at(self, steps: int) -> int:
        return min(max(steps // self.divisor, self.least), self.most)

    def __str__(self) -> str:
        text = "steps" + (f" / {self.divisor}" if self.divisor > 1 else "")
        text += f", at least {self.least:,}" if self.least else ""
        return text + (f", at most {self.most:,}" if self.most < 2**63 else "")


STEPS = OfSteps()  # all of the run's


class Preset(NamedTuple):
    """What differs from an algorithm's defaults. A criterion that is empty holds for every task."""

    name: str
    settings: Mapping[str, Any]  # a value of `OfSteps` is computed for the run
    obs: tuple[str, ...] = ()  # kinds of observations, as `kinds.py` calls them
    action: str = ""  # discrete or continuous
    where: str = ""  # JAX or host
    tasks: tuple[str, ...] = ()  # names without a library's prefix; `Hopper*` is any beginning
    asked: bool = False  # applies only where its name is given

    def fits(self, task: Task) -> bool:
        """Whether it applies to a task by itself."""
        return (
            not self.asked
            and (not self.obs or task.obs in self.obs)
            and self.action in ("", task.action)
            and self.where in ("", task.where)
            and (not self.tasks or any(named(task.name, pattern) for pattern in self.tasks))
        )

    def at(self, steps: int) -> dict[str, Any]:
        """The settings for a run of so many steps."""
        return {k: v.at(steps) if isinstance(v, OfSteps) else v for k, v in self.settings.items()}

    @property
    def serves(self) -> str:
        """What it is for, in words."""
        if self.asked:
            return f"--preset {self.name}"
        kinds = " or ".join(self.obs) + " observations" if self.obs else ""
        actions = f"{self.action} actions" if self.action else ""
        place = f"environments on {self.where}" if self.where else ""
        parts = [", ".join(self.tasks), kinds, actions, place]
        return "; ".join(part for part in parts if part) or "any other environment"


def named(name: str, pattern: str) -> bool:
    whole = pattern.removesuffix("*")
    return name.startswith(whole) if whole != pattern else name == pattern
