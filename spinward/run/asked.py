"""What the arguments of `spinward.train` mean."""

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spinward.errors import SettingsError, nearest
from spinward.rewards.function import Function
from spinward.run.between import Between
from spinward.run.by_name import with_preset
from spinward.run.experiment import EnvChoice, Experiment
from spinward.run.other_envs import env_choice_of, is_given
from spinward.run.watching import Watch
from spinward.store import settings


def experiment_of(
    function: Callable[..., Any], algorithm: Any, env: EnvChoice, reward: Any, more: dict[str, Any]
) -> Experiment:
    """The experiment that the arguments of a `function`, such as `train`, mean; `more` are those of
    the experiment."""
    algorithm, preset = with_preset(algorithm, env, more["steps"], more["data"].path)
    if inspect.isroutine(reward):
        reward = Function(reward)
    preset = preset if reward is None else {"reward": reward}
    require_known(function, algorithm, more)
    kept = {"env": env, "evaluate_env": env_choice_of(more.get("evaluate_env", ""))}
    plain = {k: str(v) if isinstance(v, Path) else v for k, v in more.items()}
    plain["start_checkpoint"] = str(more.get("start_checkpoint", "last"))
    return settings.checked(Experiment, {"algorithm": algorithm, **plain, **preset, **kept})


def require_known(function: Callable[..., Any], algorithm: Any, more: dict[str, Any]) -> None:
    """Raises SettingsError where an argument is unknown, or a setting of the algorithm."""
    known = {f.name for f in dataclasses.fields(Experiment)}
    if not dataclasses.is_dataclass(algorithm):
        return  # and the type of what is no algorithm is refused
    own = {f.name for f in dataclasses.fields(algorithm)} & (more.keys() - known)
    if own:
        name, kind = min(own), type(algorithm).__name__
        raise SettingsError(
            f"{name} is a setting of the algorithm, not of the run: give it as in "
            f"sw.{kind}({name}={more[name]!r:.40})"
        )
    if unknown := more.keys() - known:
        name, named = min(unknown), inspect.signature(function).parameters.keys() - {"more"}
        near, all_of = nearest(name, named | known), ", ".join(sorted(named | known))
        hint = f"did you mean {near[0]}?" if near else f"there are {all_of}"
        raise SettingsError(f"{function.__name__} has no argument {name!r}; {hint}")


def needs_one_process(experiment: Experiment, watch: Watch | None, between: Between | None) -> bool:
    """Whether seeds are trained in this process: for a hook, for an environment or a function that
    is an object of this program, and for a watcher, which gets the policies, unless `shards` says
    otherwise."""
    given_here = is_given(experiment.env.name) or is_given(experiment.evaluate_env.name)
    watched = watch is not None and not experiment.shards
    kinds = [settings.place(type(part)) for part in (experiment.algorithm, experiment.reward)]
    names = [*kinds, *settings.functions(experiment)]
    here = any(name.startswith("__main__:") for name in names)
    return between is not None or given_here or watched or here
