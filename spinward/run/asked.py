"""What the arguments of `spinward.train` mean."""

from pathlib import Path
from typing import Any

from spinward.run.between import Between
from spinward.run.by_name import with_preset
from spinward.run.experiment import DataChoice, EnvChoice, Experiment
from spinward.run.other_envs import env_choice_of, is_given
from spinward.run.watching import Watch
from spinward.store import settings


def experiment_of(algorithm: Any, env: EnvChoice, reward: Any, more: dict[str, Any]) -> Experiment:
    """The experiment that the arguments of `train` mean."""
    algorithm, preset = with_preset(algorithm, env, more["steps"])
    preset = preset if reward is None else {"reward": reward}
    data = more["data"]
    kept = {"data": data if isinstance(data, DataChoice) else DataChoice(str(data)), "env": env}
    kept |= {"evaluate_env": env_choice_of(more.get("evaluate_env", ""))}
    plain = {k: str(v) if isinstance(v, Path) else v for k, v in more.items()}
    plain["start_checkpoint"] = str(more.get("start_checkpoint", "last"))
    return settings.checked(Experiment, {"algorithm": algorithm, **plain, **preset, **kept})


def needs_one_process(experiment: Experiment, watch: Watch | None, between: Between | None) -> bool:
    """Whether seeds are trained in this process: for a hook, for an environment that is an object
    of this program, and for a watcher, which gets the policies, unless `shards` says otherwise."""
    given_here = is_given(experiment.env.name) or is_given(experiment.evaluate_env.name)
    watched = watch is not None and not experiment.shards
    return between is not None or given_here or watched
