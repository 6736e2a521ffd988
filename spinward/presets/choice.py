"""Which preset applies: settings known to work, by the kind of environment.

The presets of the algorithm in `algorithms/NAME.py` are the tuple `PRESETS` of `presets/NAME.py`,
where there is such a file; the first that fits the kind of a task applies. Those that were tuned in
one task apply where they are asked for, by their names or as `tuned`. `docs/algorithms/` says where
they come from and what they reach.
"""

import importlib
import importlib.util
import pkgutil
from typing import Any, NamedTuple

import spinward.algorithms
from spinward.errors import SettingsError, nearest
from spinward.presets.kinds import ATARI, IMAGE, Task, task_of
from spinward.presets.preset import TUNED, Preset
from spinward.rewards.clipped import Clipped
from spinward.rewards.environment import Environment

NONE = "none"  # in place of a preset's name: the algorithm's own defaults
OURS = f"{spinward.algorithms.__name__}."


class Choice(NamedTuple):
    """What a preset makes of a run."""

    name: str  # of the preset; empty if there is none
    settings: dict[str, Any]
    reward: Any
    remark: str = ""  # on what it generalises to


def presets_of(kind: Any) -> tuple[Preset, ...]:
    """The presets of an algorithm of ours, the first of which that fits a task applies."""
    if not kind.__module__.startswith(OURS):
        return ()
    name = f"{__package__}.{kind.__module__.removeprefix(OURS)}"
    if importlib.util.find_spec(name) is None:
        return ()
    return importlib.import_module(name).PRESETS


def with_presets() -> list[str]:
    """The modules of the algorithms that have presets."""
    algorithms = {m.name for m in pkgutil.iter_modules(spinward.algorithms.__path__)}
    here = importlib.import_module(str(__package__))
    return sorted(m.name for m in pkgutil.iter_modules(here.__path__) if m.name in algorithms)


def find(kind: Any, name: str) -> Preset:
    """The preset of an algorithm that is called `name`.

    Raises:
        SettingsError: there is none; those that there are are listed.
    """
    known = {preset.name: preset for preset in presets_of(kind)}
    if name not in known:
        names = nearest(name, known, 3) or [*known, NONE]
        listed = ", ".join(names)
        raise SettingsError(f"there is no preset {name!r} of {kind.__name__}; there is: {listed}")
    return known[name]


def choose(kind: Any, task: Task, steps: int, asked: str = "") -> Choice:
    """What to change in the defaults of `kind` for a task, and the reward to learn from.

    `asked` names a preset, which applies in place of the one for the kind of the task.
    """
    reward = Clipped() if task.obs in (IMAGE, ATARI) else Environment()
    if asked == TUNED:
        preset = tuned(kind, task)
        remark = f"tuned in {task.name} alone, and no measure of other tasks"
        return Choice(preset.name, preset.at(steps), reward, remark)
    fitting = (p for p in presets_of(kind) if p.fits(task, steps))
    applied = find(kind, asked) if asked and asked != NONE else next(fitting, None)
    if applied is None or asked == NONE:
        return Choice("", {}, reward)
    return Choice(applied.name, applied.at(steps), reward)


def tuned(kind: Any, task: Task) -> Preset:
    """The preset that was tuned in a task.

    Raises:
        SettingsError: there is none for this task; the tasks that have one are listed.
    """
    candidates = [p for p in presets_of(kind) if p.tasks]
    if preset := next((p for p in candidates if p.is_tuned_for(task)), None):
        return preset
    tasks = ", ".join(name for p in candidates for name in p.tasks) or "no task"
    raise SettingsError(
        f"no preset of {kind.__name__} was tuned in {task.name}; tuned was: {tasks}. Without "
        f"--preset, the one for its kind applies"
    )


def preset(kind: Any, env: str, steps: int, asked: str = "") -> tuple[dict[str, Any], Any]:
    """The settings and the reward of `choose` for the environment of a name."""
    choice = choose(kind, task_of(env), steps, asked)
    return choice.settings, choice.reward


def named(kind: Any, name: str, steps: int = 0) -> dict[str, Any]:
    """The settings of one preset.

    Raises:
        SettingsError: there is none of this name for this algorithm.
    """
    return find(kind, name).at(steps)
