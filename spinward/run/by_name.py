"""An algorithm by its name or its class, with the settings that the command line gives it."""

from typing import Any

from spinward.data.store import env_of
from spinward.envs.recorded import NAME
from spinward.presets.choice import choose
from spinward.presets.kinds import task_of
from spinward.run.experiment import EnvChoice
from spinward.store import settings


def with_preset(
    algorithm: Any, env: EnvChoice, steps: int, data: str = ""
) -> tuple[Any, dict[str, Any]]:
    """The settings of an algorithm, and the reward to learn from where the preset says one.

    A name, such as `"ppo"`, or a class gets the preset for the environment; settings stay.

    Raises:
        SettingsError: there is no algorithm of this name; the nearest names are listed.
    """
    if isinstance(algorithm, str):
        algorithm = settings.find("algorithms", algorithm)
    if not isinstance(algorithm, type):
        return algorithm, {}
    made = env_of(data) if env.name == NAME else env.make()
    choice = choose(algorithm, task_of(env.name, made), steps)
    return algorithm(**choice.settings), {"reward": choice.reward}
