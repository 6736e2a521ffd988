"""A run in its folder: train a run, open it, and read its curves, scores and policy."""

import importlib
import sys
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from spinward.core import UserReward, replace
from spinward.envs import given
from spinward.envs.prompts import FilePrompts
from spinward.envs.recorded import require_env
from spinward.errors import DamagedFileError, SettingsError
from spinward.evaluation import texts
from spinward.evaluation.episodes import Agents, Score, evaluate
from spinward.evaluation.statistics import last_returns
from spinward.experience.cluster import require_ray
from spinward.experience.texts import TextBatches
from spinward.rewards.function import Function
from spinward.run import device, folders, inputs, mirror, shards, warm_start
from spinward.run.anchored import anchored
from spinward.run.asked import experiment_of, needs_one_process
from spinward.run.assemble import Assembled, assemble
from spinward.run.between import Between
from spinward.run.config import choices, from_config, read_config
from spinward.run.contradictions import check_asking
from spinward.run.evaluations import env_of
from spinward.run.experiment import DataChoice, Experiment
from spinward.run.extending import extend
from spinward.run.new_folder import check_name, new_folder, removed_if_refused
from spinward.run.other_envs import env_choice_of, fitting, is_given
from spinward.run.policy import TrainedPolicy
from spinward.run.progress import watched
from spinward.run.reopened import reopened
from spinward.run.watching import Options, Watch


def train(
    algorithm: Any,
    env: Any = "",
    steps: int = 100_000,
    seeds: int = 1,
    seed: int = 0,
    reward: Any = None,
    data: str | Path | DataChoice = "",
    out: str | Path = "runs",
    name: str = "",
    exist_ok: bool = False,
    watch: Watch | None = None,
    checkpoint_s: float = 30.0,
    env_kwargs: dict[str, Any] | None = None,
    between: Between | None = None,
    loggers: tuple[str, ...] = (),
    **more: Any,
) -> "Run":
    """Trains `seeds` agents at once and returns the run, which is a folder of `out`.

    `algorithm` holds settings, such as `PPO(lr=3e-4)`; a name or class gets the command's presets.
    `env` is a name (see `spinward.envs.ids.make`), a class or function that makes one, or a JAX
    environment; `env_kwargs` are its settings. Without one, `data` give the spaces. `steps` are
    env steps of each seed, or updates on `data` alone; `more`: see `Experiment`.
    `watch(point)` gets each log point (see `Point`), and may end the run with `spinward.STOP`.
    `between(state, iteration) -> state` may change the state. `loggers` are names, as `wandb`.

    Raises:
        SettingsError: settings that cannot work, before a folder is made.
        NonFiniteError: training broke; the last finite state is saved.
    """
    mirror.require(loggers)
    more |= {"steps": steps, "seeds": seeds, "seed": seed, "data": DataChoice.of(data)}
    more = {k: v.path if isinstance(v, Run) else v for k, v in more.items()}
    env_choice = env_choice_of(env, env_kwargs, bool(more["data"]))
    experiment = experiment_of(train, algorithm, env_choice, reward, more)
    alone = needs_one_process(experiment, watch, between)
    experiment = replace(experiment, shards=1) if alone else experiment
    run = create(experiment, Path(out), name, exist_ok)
    return run.train(watch, checkpoint_s, True, between, loggers)


def create(experiment: Experiment, out: Path, name: str = "", exist_ok: bool = False) -> "Run":
    """A new folder for `experiment`, which is assembled and checked first. With `exist_ok`, a run
    of this name that has the same settings."""
    device.prepare()
    check_name(out, name)
    experiment = anchored(experiment)
    made = assemble(experiment)
    reward = made.parts.reward
    check_asking(experiment, made.algorithm, made.want, made.env, made.agent_spec)
    if isinstance(reward, Function):
        reward.check(made.spec)
    if isinstance(reward, UserReward):
        reward.try_once(made.parts.source)
    if experiment.workers:
        require_ray()
    if experiment.evaluate_every:
        env_of(made)
    if experiment.start_from or experiment.freeze:
        warm_start.check(made)
    experiment = replace(made.experiment, inputs=inputs.digests(experiment))
    run = Run(new_folder(experiment, out, name, exist_ok))
    run.__dict__ |= {"made": made, "fresh": True}
    return run


def load(path: str | Path, trust: bool = False, older: bool = False, env: Any = None) -> "Run":
    """The run in a folder. With `trust`, the run may use code from outside Spinward. With `older`,
    an older checkpoint replaces a damaged one. `env` is that of a run in a given object."""
    run = Run(Path(path), trust or env is not None, older)
    name = choices(run.config)[0].name
    if env is not None:
        if not is_given(name):
            raise SettingsError(f"{path} was trained in {name}, which needs no env")
        given.GIVEN[name] = given.maker_of(env)
    return run


class Run:
    """A folder with settings, metrics and checkpoints."""

    def __init__(self, path: Path, trust: bool = False, older: bool = False):
        self.path, self.trust, self.older, self.fresh = path, trust, older, False
        self.warned: set[str] = set()

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def config(self) -> dict[str, Any]:
        return read_config(self.path / "config.json")

    @property
    def experiment(self) -> Experiment:
        return from_config(self.config, self.trust, self.path / "config.json")

    @cached_property
    def made(self) -> Assembled:
        device.prepare()
        return reopened(self.experiment, self.path / "config.json", self.older)

    def train(
        self,
        watch: Watch | None = None,
        checkpoint_s: float = 30.0,
        trust: bool = False,
        between: Between | None = None,
        loggers: tuple[str, ...] = (),
    ) -> "Run":
        """Trains from the last checkpoint to the end; does nothing if the run is at its end."""
        self.trust = self.trust or trust
        self.check_trust()
        if self.older:
            self.checkpoint_paths()
        watch = watched(self.made.experiment, self.path.name, watch)
        refused = removed_if_refused(self.path if self.fresh else None)
        with refused, mirror.mirrored(loggers, self.path, self.config, watch) as watch:
            options = Options(watch, checkpoint_s, between, self.older)
            shards.train(self.made, self.path, options, self.trust)
        return self

    def extend(self, steps: int) -> "Run":
        """Lets `train` go on up to so many steps of each seed (see `run/extending.py`).

        Raises:
            SettingsError: the run has as many steps already.
        """
        self.warn(folders.verify(self.path, self.config, self.older))
        if note := extend(self.path, self.made, steps):
            print(f"spinward: {note}", file=sys.stderr)
        del self.__dict__["made"]  # of the settings before
        return self

    def checkpoint_paths(self, checkpoint: str | int = "last") -> list[Path]:
        """The checkpoint of each shard that has one: `last`, `best`, or of an iteration.

        Raises:
            SettingsError: there is none of that name.
            DamagedFileError: a newest checkpoint is damaged, and `older` is False.
        """
        checkpoints = folders.named(self.path, checkpoint, self.older)
        self.warn([line for each in checkpoints for line in each.damaged])
        return [each.path for each in checkpoints]

    def warn(self, damaged: list[str]) -> None:
        """Prints each damaged checkpoint that `older` ignores, once, on standard error."""
        for line in damaged:
            if line not in self.warned:
                self.warned.add(line)
                print(f"spinward: warning: {line}; an older one is used", file=sys.stderr)

    @property
    def points(self) -> list[dict[str, Any]]:
        """The log points: iteration, env_steps, and a list over seeds for each metric.

        Raises:
            DamagedFileError: the log or the settings do not match the newest checkpoints.
        """
        config = self.config
        self.warn(folders.verify(self.path, config, self.older))
        points_read, seeds = folders.points(self.path), config["seeds"]
        for point in points_read:
            if any(len(v) != seeds for v in point.values() if isinstance(v, list)):
                at = f"iteration {point['iteration']}"
                raise DamagedFileError(f"{self.path}: its log has not {seeds} seeds at {at}")
        return points_read

    def curves(self, metric: str = "episode_return") -> tuple[np.ndarray, np.ndarray]:
        """Steps [point] and a metric [seed, point]; NaN where a seed ended no episode.

        `episode_return` is the environment's reward of episodes trained on.
        """
        points = [p for p in self.points if metric in p]
        steps = np.array([p["env_steps"] for p in points], np.int64)
        values = np.array([p[metric] for p in points], np.float64)
        return steps, values.reshape(len(points), self.config["seeds"]).T

    def final(self, share: float = 0.1) -> np.ndarray:
        """The mean return [seed] of the episodes that ended in the last `share` of the run."""
        return last_returns(self.curves()[1], self.curves("episodes")[1], share)

    def agents(self, checkpoint: str | int = "last") -> Agents:
        """The agents of a checkpoint (`last`, `best` or an iteration), with their environment."""
        self.warn(folders.verify(self.path, self.config, self.older))
        made, places = self.made, self.checkpoint_paths(checkpoint)
        agents = made.agents(self.path, places)
        return Agents(made.acting(int(places[0].name)), agents, made.env, made.experiment.seeds)

    def evaluate(
        self,
        episodes: int = 100,
        explore: bool = False,
        seed: int = 0,
        env: Any = "",
        checkpoint: str | int = "last",
        limit: int = 0,
    ) -> Score:
        """The returns of `episodes` whole episodes of each seed's policy, without exploration.
        `env` may be another environment, as in `train`; `checkpoint` is as in `agents`. Episodes
        are cut after `limit` steps (0: by `limit_for`). On texts, it is a loss or a reward.

        Raises:
            SettingsError: the other environment has other observations or actions.
        """
        agents = self.agents(checkpoint)
        if env:
            agents = agents._replace(env=fitting(env_choice_of(env), self.made))
        else:
            require_env(agents.env)
        if not env and isinstance(self.made.env, FilePrompts):
            return texts.evaluate(self.with_scorer(agents), episodes, explore, seed)
        return evaluate(agents, episodes, explore, seed, limit)

    def with_scorer(self, agents: Agents) -> Agents:
        """Agents on a user's texts, with the held-out texts or the reward that scores them."""
        made, parts = self.made, self.made.parts
        if isinstance(parts.source, TextBatches):
            return agents._replace(env=parts.source)
        self.check_trust()
        init = partial(parts.reward.init, spec=made.spec)
        state = folders.last(self.path, self.checkpoint_paths(), "reward", init, made.experiment)
        return agents._replace(reward=parts.reward, reward_state=state)

    def check_trust(self) -> None:
        """Raises SettingsError for a reward that calls a user's function without `trust`."""
        reward = self.made.experiment.reward
        if not self.trust and isinstance(reward, UserReward):
            raise SettingsError(f"this run is scored by {reward.function}; --trust runs its code")

    def policy(self, seed: int = 0, checkpoint: str | int = "last") -> TrainedPolicy:
        """The policy of one of the run's seeds: `action = policy(obs)`."""
        agents = self.agents(checkpoint)
        agent = jax.tree.map(lambda x: x[seed], agents.agent)
        return TrainedPolicy(agents.algorithm, agent, agents.env.spec)

    def plot(self, *others: "Run", metric: str = "") -> Any:
        """The curves of a metric, as a picture that a notebook shows; it has `save(path)`."""
        return views().picture(self, *others, metric=metric)

    def video(self, seed: int = 0, frames: int = 300, checkpoint: str | int = "last") -> Any:
        """A video of a seed's policy, which a notebook shows; it has a `path`."""
        return views().film(self, seed, frames, checkpoint)

    def report(self, *others: "Run") -> Any:
        """The report of the run, which a notebook shows; it has a `path`."""
        return views().report(self, *others)

    def _repr_html_(self) -> str:
        return views().card(self)  # type: ignore[no-any-return]


def views() -> Any:
    """The module that draws runs. It stands above this one, so it is imported when it is used."""
    return importlib.import_module("spinward.report.views")
