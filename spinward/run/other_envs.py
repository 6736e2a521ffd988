"""Environments that a caller gives: to train in, or to score agents of another one in."""

from typing import Any

from spinward.core import Box, Dict
from spinward.envs import given, recorded
from spinward.errors import SettingsError
from spinward.run.assemble import Assembled
from spinward.run.experiment import EnvChoice


def env_choice_of(
    env: Any, env_kwargs: dict[str, Any] | None = None, data: bool = False
) -> EnvChoice:
    """The environment that an argument means. With `data`, no name means the spaces of the data."""
    if isinstance(env, str) and not env and data:
        return EnvChoice(recorded.NAME)
    if isinstance(env, EnvChoice):
        return env
    name, own = given.choice_of(env)
    return EnvChoice(name, own | (env_kwargs or {}))


def is_given(name: str) -> bool:
    """Whether an environment is an object of this program, which has no other name."""
    return name.startswith(f"{given.PREFIX}:")


def fitting(choice: EnvChoice, made: Assembled) -> Any:
    """The environment of a choice, for agents that were trained in another.

    Raises:
        SettingsError: its observations or actions differ.
    """
    env = choice.make()
    for what in ("obs", "action"):
        theirs, ours = getattr(env.spec, what), getattr(made.spec, what)
        if shape_of(theirs) != shape_of(ours):
            name = {"obs": "shows", "action": "takes"}[what]
            raise SettingsError(
                f"{choice} {name} {theirs}; this run was trained in {made.experiment.env}, which "
                f"{name} {ours}"
            )
    return env


def shape_of(space: Any) -> Any:
    """The properties of a space that an agent depends on: parts, shapes, types and choices, but not
    bounds."""
    if isinstance(space, Box):
        return space.shape, space.dtype
    if isinstance(space, Dict):
        return tuple((name, shape_of(box)) for name, box in space.items)
    return space
