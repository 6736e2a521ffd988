"""Makes the paths in an experiment absolute, so that a run opens from any folder."""

from pathlib import Path

from spinward.algorithms.lpg import LPG
from spinward.core import replace
from spinward.rewards.preferences import Preferences
from spinward.rewards.reward_model_score import RewardModelScore
from spinward.rewards.verifier import Verifier
from spinward.run.config import require_readable
from spinward.run.experiment import Experiment


def anchored(experiment: Experiment) -> Experiment:
    """The experiment with absolute paths of its model, its data and its files of code.

    Raises:
        SettingsError: a run's settings cannot hold a path or a number.
    """
    env, data, reward = experiment.env, experiment.data, experiment.reward
    other = experiment.evaluate_env
    if isinstance(reward, RewardModelScore):
        reward = replace(reward, run=absolute(reward.run))
    if isinstance(reward, Preferences):
        reward = replace(reward, demos=absolute(reward.demos))
    if isinstance(reward, Verifier):
        reward = replace(reward, function=code(reward.function))
    algorithm = experiment.algorithm
    if isinstance(algorithm, LPG):
        algorithm = replace(algorithm, rule=absolute(algorithm.rule))
    absolute_paths = replace(
        experiment,
        algorithm=algorithm,
        env=replace(env, name=code(env.name)),
        evaluate_env=replace(other, name=code(other.name)),
        data=replace(data, path=absolute(data.path)),
        reward=reward,
        model=absolute(experiment.model),
        start_from=absolute(experiment.start_from),
    )
    require_readable(absolute_paths)
    return absolute_paths


def absolute(name: str) -> str:
    """An absolute path where `name` is a path that exists; otherwise `name`."""
    return str(Path(name).absolute()) if name and Path(name).exists() else name


def code(place: str) -> str:
    """`path.py:name` with an absolute path."""
    where, colon, name = place.rpartition(":")
    return f"{absolute(where)}{colon}{name}" if where.endswith(".py") else place
