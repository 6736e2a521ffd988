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
    multiple: int = 1  # rounded down to one of it

    def at(self, steps: int) -> int:
        return (
            min(max(steps // self.divisor, self.least), self.most) // self.multiple * self.multiple
        )

    def __str__(self) -> str:
        text = "steps" + (f" / {self.divisor}" if self.divisor > 1 else "")
        text += f", at least {self.least:,}" if self.least else ""
        text += f", at most {self.most:,}" if self.most < 2**63 else ""
        return text + (f", a multiple of {self.multiple}" if self.multiple > 1 else "")


STEPS = OfSteps()  # all of the run's
ANY = 0, 2**63  # limits of episodes
TUNED = "tuned"  # in place of a preset's name: the one that was tuned in the very task


class Preset(NamedTuple):
    """What differs from an algorithm's defaults. A criterion that is empty holds for every task."""

    name: str
    settings: Mapping[str, Any]  # a value of `OfSteps` is computed for the run
    obs: tuple[str, ...] = ()  # kinds of observations, as `kinds.py` calls them
    action: str = ""  # discrete or continuous
    where: str = ""  # JAX or host
    limits: tuple[int, int] = ANY  # the least and the most steps of an episode
    episodes: int = 0  # the most whole episodes that the steps of a run make; 0: any number
    steps: int = 0  # the most of a run; 0: any number
    tasks: tuple[str, ...] = ()  # names without a library's prefix; `Hopper*` is any beginning
    asked: bool = False  # applies only where its name is given

    def fits(self, task: Task, steps: int) -> bool:
        """Whether it applies by itself to a task that is learned for so many steps."""
        return (
            not self.asked
            and (not self.obs or task.obs in self.obs)
            and self.action in ("", task.action)
            and self.where in ("", task.where)
            and self.limits[0] <= task.limit <= self.limits[1]
            and (not self.steps or steps <= self.steps)
            and (not self.episodes or steps <= self.episodes * task.limit)
            and (not self.tasks or self.is_tuned_for(task))
        )

    def at(self, steps: int) -> dict[str, Any]:
        """The settings for a run of so many steps."""
        return {k: v.at(steps) if isinstance(v, OfSteps) else v for k, v in self.settings.items()}

    def is_tuned_for(self, task: Task) -> bool:
        """Whether it was tuned in this very task."""
        return any(named(task.name, pattern) for pattern in self.tasks)

    @property
    def serves(self) -> str:
        """What it is for, in words."""
        if self.asked:
            tuned = f", or --preset {TUNED} in {', '.join(self.tasks)}" if self.tasks else ""
            return f"--preset {self.name}{tuned}"
        kinds = " or ".join(self.obs) + " observations" if self.obs else ""
        actions = f"{self.action} actions" if self.action else ""
        place = f"environments on {self.where}" if self.where else ""
        parts = [", ".join(self.tasks), kinds, actions, place, self.lengths]
        return "; ".join(part for part in parts if part) or "any other environment"

    @property
    def lengths(self) -> str:
        """The lengths of episodes and of runs that it is for, in words."""
        least, most = self.limits
        sides = [f"at least {least:,}"] * (least > 1) + [f"at most {most:,}"] * (most < ANY[1])
        parts = [f"episodes of {' and '.join(sides)} steps" if sides else ""]
        parts += [f"runs of at most {self.steps:,} steps"] * (self.steps > 0)
        parts += [f"runs of at most {self.episodes} whole episodes"] * (self.episodes > 0)
        return "; ".join(part for part in parts if part)


def named(name: str, pattern: str) -> bool:
    whole = pattern.removesuffix("*")
    return name.startswith(whole) if whole != pattern else name == pattern
