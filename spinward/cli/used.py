"""The settings that a run would use: a preset's values, and otherwise the algorithm's defaults."""

import importlib
from functools import partial
from typing import Any, NamedTuple

from spinward.store import settings


class Setting(NamedTuple):
    name: str
    hint: Any
    default: Any
    value: Any  # the value that a run uses
    meaning: str


def used(kind: Any, preset: dict[str, Any]) -> list[Setting]:
    """All settings of an algorithm that are flags, with the values of a preset."""
    return [
        Setting(name, hint, default, preset.get(name, default), note)
        for name, hint, default, note in settings.flags(kind)
    ]


def choice_of(
    kind: Any,
    env: str,
    steps: int,
    asked: str = "",
    own: dict[str, Any] | None = None,
    data: str = "",
) -> Any:
    """The choice of a preset for an environment; `own` are the environment's settings.
    `data` is the place of the data that stand in for one."""
    from spinward.data.store import env_of
    from spinward.envs import ids
    from spinward.envs.recorded import NAME
    from spinward.presets.choice import choose
    from spinward.presets.kinds import task_of

    made = env_of(data) if env == NAME else ids.make(env, own)
    return choose(kind, task_of(env, made), steps, asked)


def formatted(value: Any) -> str:
    """A value as its flag takes it."""
    if isinstance(value, tuple):
        return ",".join(formatted(x) for x in value)
    return value.__name__ if callable(value) and not isinstance(value, partial) else str(value)


def listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={formatted(value)}" for name, value in values.items())


def statement(choice: Any, given: Any = (), with_reward: bool = True) -> str:
    """A sentence on a preset's settings, without those that were `given`; empty if none remain."""
    settings_kept = {name: value for name, value in choice.settings.items() if name not in given}
    reward = type(choice.reward).__name__.lower()
    name = f"{choice.name} ({choice.remark})" if choice.remark else choice.name
    text = f"preset {name}: {listed(settings_kept)}" if settings_kept else ""
    if with_reward and reward != "environment":
        text += f"{'; ' if text else ''}reward {reward}"
    return text


def for_all(env: str, steps: int, asked: str = "") -> list[str]:
    """A line for each algorithm that has a preset for an environment."""
    from spinward.presets.choice import with_presets

    kinds = {name: settings.find("algorithms", name) for name in with_presets()}
    choices = {name: choice_of(kind, env, steps, asked) for name, kind in kinds.items()}
    return [f"{name:<14}{statement(choice)}" for name, choice in choices.items() if choice.name]


def docstring(kind: Any) -> str:
    return importlib.import_module(kind.__module__).__doc__ or ""
