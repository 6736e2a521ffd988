"""Checks for settings of a run that contradict each other."""

from typing import Any

import jax

from spinward.core import BoundedReward, LimitsRewards, OwnLoop, UserReward
from spinward.envs import recorded
from spinward.errors import SettingsError
from spinward.experience.wanted import (
    Logged,
    Prompts,
    Rollouts,
    Samples,
    SelfPlay,
    Sequences,
    Texts,
    Want,
)
from spinward.networks.recurrent import REWARD
from spinward.rewards.environment import Environment
from spinward.rewards.preferences import PEOPLE, Preferences
from spinward.run.experiment import Experiment

MOST_UPDATES = 2**31
TEXT = "text"  # the name of the task whose prompts are in a file


def check_fit(experiment: Experiment, algorithm: Any, want: Want, players: int = 1) -> None:
    """Raises SettingsError where the settings of a run contradict what its algorithm wants."""
    name, data, reward = type(algorithm).__name__, experiment.data, experiment.reward
    if players != 1 and not isinstance(want, SelfPlay):
        raise SettingsError(
            f"{experiment.env} is a game for {players} players; {name} learns to act alone: name "
            "an opponent with --env.opponent (random, one_ply, uct100), or train alphazero"
        )
    if experiment.start_from and experiment.model:
        raise SettingsError("start_from and model both say what to begin with: give one of them")
    if experiment.freeze and isinstance(algorithm, OwnLoop):
        raise SettingsError(f"{name} has a loop of its own, and cannot freeze parts of its agents")
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
    if isinstance(want, Samples) and not data:
        check_logged_settings(name, algorithm, want)
    needs_data = isinstance(want, Logged) or (isinstance(want, Samples) and want.needs_data)
    if needs_data and not data:
        raise SettingsError(
            f"{name} learns from logged data: name a data set with --data "
            "(`spinward data record RUN --out DATA` makes one)"
        )


def check_logged_settings(name: str, algorithm: Any, want: Samples) -> None:
    """Raises SettingsError for settings of logged data where there are none."""
    normalised = dict(vars(algorithm)).get("normalise_obs", False)
    if normalised and not want.needs_data:
        raise SettingsError(f"{name}: normalise_obs=True is by logged data, and there are none")
    if want.marks:
        raise SettingsError(
            "demonstrated=True is of logged steps: name the demonstrations with --data, or with "
            "--demos where the reward is learned from comparisons"
        )


def check_steps(experiment: Experiment, algorithm: Any, logged_only: bool) -> None:
    """Raises SettingsError where a run without an environment would take steps."""
    if experiment.env.name == recorded.NAME and not logged_only:
        name = type(algorithm).__name__
        raise SettingsError(f"{name} takes steps, and there is none to take them in: name an env")


def check_length(experiment: Experiment, algorithm: Any, iterations: int) -> None:
    """Raises SettingsError for more updates than an agent counts, in 32 bits."""
    updates = int(dict(vars(algorithm)).get("updates", 1))
    if iterations * updates >= MOST_UPDATES:
        each = f" of {updates:,} updates" if updates > 1 else ""
        raise SettingsError(
            f"steps={experiment.steps} are {iterations:,} iterations{each}, and a run has fewer "
            "than 2**31 updates: give fewer steps, more envs or a longer rollout"
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


def check_asking(experiment: Experiment, algorithm: Any, want: Want, env: Any, spec: Any) -> None:
    """Raises SettingsError, before training, for what cannot learn from comparisons of clips."""
    reward, name = experiment.reward, type(algorithm).__name__
    if not isinstance(reward, Preferences):
        return
    reward.check()
    if isinstance(want, Texts | Prompts):
        raise SettingsError(
            f"{name} writes or reads texts: compare them with spinward label FOLDER --texts FILE, "
            "train reward-model on the result, and name its run with --reward-model"
        )
    if isinstance(algorithm, OwnLoop):
        raise SettingsError(f"{name} has a loop of its own, which asks nobody")
    if experiment.data and experiment.data.share == 1.0:
        raise SettingsError(
            f"data={experiment.data}: a learned reward needs a policy to film; with --data.share "
            "below 1 the policy takes steps too"
        )
    if reward.demos or reward.reset_critic:
        check_parts(reward, algorithm, spec, str(experiment.env))
    if experiment.workers:
        raise SettingsError(f"workers={experiment.workers} cannot be used with reward preferences")
    if isinstance(want, Sequences) and reads_rewards(algorithm, spec):
        raise SettingsError(
            f"{name} reads the environment's reward of the last step, which a learned reward is to "
            "replace; use another algorithm, such as ppo or sac"
        )
    if reward.teacher == PEOPLE:
        if experiment.seeds > 1:
            raise SettingsError(
                f"seeds={experiment.seeds}: people teach one agent at a time; use 1"
            )
        if reward.show == "pictures":
            from spinward.people import filming  # and Gymnasium, which few runs need

            filming.check_drawn(env, str(experiment.env))


def check_parts(reward: Preferences, algorithm: Any, spec: Any, env: str) -> None:
    """Raises SettingsError for demonstrations or critics that are not there."""
    from spinward.people import critic_reset, demonstrations  # and data sets, which few runs need

    if reward.reset_critic:
        critic_reset.check(algorithm, spec)
    if reward.demos:
        demonstrations.opened_clips(reward, spec, env)


def reads_rewards(algorithm: Any, spec: Any) -> bool:
    """Whether the memory of a policy gets the reward of the last step."""

    def memory(key: Any) -> Any:
        return algorithm.memory(algorithm.init(key, spec), 1)

    shapes = jax.eval_shape(memory, jax.random.key(0))
    return isinstance(shapes, dict) and REWARD in shapes
