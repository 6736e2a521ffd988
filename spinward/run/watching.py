"""What a watcher gets at each log point of a run: the metrics, and the policies so far."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from spinward.errors import SettingsError
from spinward.evaluation.episodes import Agents, Score, evaluate
from spinward.run.assemble import Assembled
from spinward.run.between import Between
from spinward.run.other_envs import env_choice_of, fitting
from spinward.run.policy import TrainedPolicy


class Acting(NamedTuple):
    """The agents at a log point, and the run that they belong to."""

    made: Assembled
    agents: Agents


class Point(NamedTuple):
    """A log point, as the watcher of a run gets it."""

    iteration: int
    iterations: int
    env_steps: int
    steps: int
    metrics: dict[str, Any]
    seconds: float  # since this process started to train
    done: int  # iterations in these seconds
    acting: Acting | None = None  # None where other processes train the seeds
    sample: str = ""  # a text that the policy has just written, and its reward

    def policy(self, seed: int = 0) -> TrainedPolicy:
        """The policy of one of the run's seeds at this point: `action = policy(obs)`."""
        made, agents = self.here()
        agent = jax.tree.map(lambda x: np.array(x[seed]), agents.agent)
        return TrainedPolicy(agents.algorithm, agent, made.env.spec)

    def evaluate(
        self, episodes: int = 10, explore: bool = False, seed: int = 0, env: Any = ""
    ) -> Score:
        """The returns of whole episodes of each seed's policy at this point, as of
        `Run.evaluate`."""
        made, agents = self.here()
        if env:
            agents = agents._replace(env=fitting(env_choice_of(env), made))
        return evaluate(agents, episodes, explore, seed)

    def here(self) -> Acting:
        """The agents, where this process trains them.

        Raises:
            SettingsError: other processes train them.
        """
        if self.acting is None:
            raise SettingsError(
                "this run's seeds are trained by other processes, which a watcher cannot reach: "
                "train with shards=1"
            )
        return self.acting


STOP = "stop"  # a watcher returns this to save and end a run
Watch = Callable[[Point], Any]


class Options(NamedTuple):
    """How a run is driven. Only `between` changes what is learned."""

    watch: Watch = lambda point: None
    checkpoint_s: float = 30.0
    between: Between | None = None  # see `run/between.py`
    older: bool = False  # use an older checkpoint where the newest is damaged
