"""Checks for settings of a run that contradict each other."""

from typing import Any

from spinward.core import BoundedReward, LimitsRewards, UserReward
from spinward.errors import SettingsError
from spinward.experience.wanted import Logged, Prompts, Rollouts, Samples, Texts, Want
from spinward.rewards.environment import Environment
from spinward.run.experiment import Experiment

TEXT = "text"  # the name of the task whose prompts are in a file


def check_fit(experiment: Experiment, algorithm: Any, want: Want, players: int = 1) -> None:
    """Raises SettingsError where the settings of a run contradict what its algorithm wants."""
    name, data, reward = type(algorithm).__name__, experiment.data, experiment.reward
    if players != 1:
        raise SettingsError(
            f"{experiment.env} is a game for {players} players; {name} learns to act alone"
        )
    if isinstance(want, Texts | Prompts):
        return check_texts(experiment, name, want)
    if experiment.workers and experiment.env.name.startswith("given:"):
        raise SettingsError(
            f"workers={experiment.workers}: actors cannot open {experiment.env}, an object of this "
            "program; put it in a module, and give its name as 'module:Class'"
        )
    if experiment.model:
        raise SettingsError(f"{name} does not learn from texts, and cannot use a model")
    if data.skip or data.max_length:
        raise SettingsError(f"{name} reads no texts, and cannot use skip or max_length")
    if isinstance(reward, UserReward):
        raise SettingsError(f"{name} writes no texts that {reward.function} could score")
    if data and isinstance(want, Rollouts):
        raise SettingsError(f"{name} learns by taking steps, and cannot use data={data}")
    needs_data = isinstance(want, Logged) or (isinstance(want, Samples) and want.needs_data)
    if needs_data and not data:
        raise SettingsError(
            f"{name} learns from logged data: name a file with --data "
            "(`spinward data record RUN --out FILE` makes one)"
        )


def check_texts(experiment: Experiment, name: str, want: Texts | Prompts) -> None:
    env, data, reward = experiment.env, experiment.data, type(experiment.reward)
    if isinstance(want, Texts) and reward is not Environment:
        raise SettingsError(f"{name} learns from texts as they are; {reward.__name__} scores none")
    for option, value in (("workers", experiment.workers), ("log_data", experiment.log_data)):
        if value:
            raise SettingsError(
                f"{option}={value} cannot be used with texts, which are written in this process "
                "and not logged"
            )
    if isinstance(want, Prompts) and data and env.name != TEXT:
        raise SettingsError(f"{env} has prompts of its own, and cannot use {data}")
    if isinstance(want, Prompts) and not data and env.name == TEXT:
        raise SettingsError("text needs prompts: name a file of rows with --data")
    if isinstance(want, Prompts) and env.name == TEXT and reward is Environment:
        raise SettingsError(
            f"{name} learns from a reward, and text has none of its own: name a function with "
            "--reward, or the run of a reward model with --reward-model"
        )


def check_rewards(algorithm: Any, reward: Any) -> None:
    """Raises SettingsError where rewards lie outside the limits of an algorithm."""
    if isinstance(algorithm, LimitsRewards) and isinstance(reward, BoundedReward):
        algorithm.check_rewards(*reward.bounds)
