"""A run in its folder: train a run, open it, and read its curves, scores and policy."""

import itertools
import sys
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from spinward.core import UserReward
from spinward.envs import given
from spinward.envs.prompts import FilePrompts
from spinward.envs.recorded import require_env
from spinward.errors import DamagedFileError, SettingsError
from spinward.evaluation import texts
from spinward.evaluation.episodes import Agents, Score, evaluate
from spinward.experience.cluster import require_ray
from spinward.experience.texts import TextBatches
from spinward.run import device, folders, shards, starting
from spinward.run.anchored import anchored
from spinward.run.assemble import Assembled, assemble
from spinward.run.between import Between
from spinward.run.by_name import with_preset
from spinward.run.config import choices, from_config, read_config
from spinward.run.contradictions import check_asking
from spinward.run.drive import Options, Watch
from spinward.run.experiment import DataChoice, Experiment
from spinward.run.other_envs import env_choice_of, fitting, is_given
from spinward.run.policy import TrainedPolicy
from spinward.store import settings
from spinward.store.files import write_atomically


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
    watch: Watch = lambda point: None,
    checkpoint_s: float = 30.0,
    env_settings: dict[str, Any] | None = None,
    between: Between | None = None,
    **more: Any,
) -> "Run":
    """Trains `seeds` agents at once and returns the run, which is a folder of `out`.

    `algorithm` holds settings, such as `PPO(lr=3e-4)`; a name or class gets the command's presets.
    `env` is a name (see `spinward.envs.ids.make`), a class or function that makes an environment,
    or a JAX environment; `env_settings` are its settings. Without one, `data` give the spaces.
    `steps` are env steps of each seed, or gradient steps on `data` alone. `more` are others.

    `watch(point)` is called at each log point; if it returns `spinward.STOP`, the run is saved and
    ends. `between(state, iteration) -> state` is called there too, and training continues from the
    state that it returns (see `run/between.py`).

    Raises:
        SettingsError: settings that cannot work, before anything is written.
        NonFiniteError: training broke; the last finite state is saved.
    """
    data_choice = DataChoice.of(data)
    env_choice = env_choice_of(env, env_settings, bool(data_choice))
    algorithm, preset = with_preset(algorithm, env_choice, steps, data_choice.path)
    alone = between is not None or is_given(env_choice.name)  # which no other process can have
    more |= (preset if reward is None else {"reward": reward}) | ({"shards": 1} if alone else {})
    more |= {"env": env_choice, "steps": steps, "seeds": seeds, "seed": seed, "data": data_choice}
    more = {k: str(v) if isinstance(v, Path) else v for k, v in more.items()}
    run = create(settings.checked(Experiment, {"algorithm": algorithm, **more}), Path(out), name)
    return run.train(watch, checkpoint_s, trust=True, between=between)


def create(experiment: Experiment, out: Path, name: str = "") -> "Run":
    """A new folder for `experiment`, which is assembled and checked first."""
    device.prepare()
    experiment = anchored(experiment)
    made = assemble(experiment)
    reward = made.parts.reward
    check_asking(experiment, made.algorithm, made.want, made.env, made.agent_spec)
    if isinstance(reward, UserReward):
        reward.try_once(made.parts.source)
    if experiment.workers:
        require_ray()
    if experiment.start:
        starting.agents(made, experiment)
    kind = type(experiment.algorithm).__name__.lower()
    env = experiment.env.name.rpartition("/")[2].replace(":", "-")
    taken = (f"{kind}-{env}-{i}" for i in itertools.count(1))
    for folder in (out / n for n in ([name] if name else taken)):
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if name:
                raise SettingsError(
                    f"{folder} exists; choose another --name, or continue it with "
                    f"spinward resume {folder}"
                ) from None
            continue
        write_atomically(folder / "config.json", experiment.to_json().encode())
        run = Run(folder)
        run.__dict__["made"] = made
        return run
    raise AssertionError("names never run out")


def load(path: str | Path, trust: bool = False, older: bool = False, env: Any = None) -> "Run":
    """The run in a folder. With `trust`, the run may use code from outside Spinward. With `older`,
    an older checkpoint replaces a damaged newest one. `env` is the environment of a run that was
    trained in an object of its program, given again."""
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
        self.path, self.trust, self.older = path, trust, older
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
        """The assembled run; assembled once."""
        device.prepare()
        return assemble(self.experiment)

    def train(
        self,
        watch: Watch = lambda point: None,
        checkpoint_s: float = 30.0,
        trust: bool = False,
        between: Between | None = None,
    ) -> "Run":
        """Trains from the last checkpoint to the end; does nothing if the run is at its end."""
        self.trust = self.trust or trust
        self.check_trust()
        if self.older:
            self.chosen()
        options = Options(watch, checkpoint_s, between, self.older)
        shards.train(self.made, self.path, options, self.trust)
        return self

    def chosen(self) -> list[Path]:
        """The checkpoint of each shard that has one.

        Raises:
            DamagedFileError: a newest checkpoint is damaged, and `older` is False.
        """
        checkpoints = folders.chosen(self.path, self.older)
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

        `episode_return` is the environment's own reward, of the episodes trained on.
        """
        points = [p for p in self.points if metric in p]
        steps = np.array([p["env_steps"] for p in points], np.int64)
        values = np.array([p[metric] for p in points], np.float64)
        return steps, values.reshape(len(points), self.config["seeds"]).T

    def final(self, share: float = 0.1) -> np.ndarray:
        """The mean return [seed] of the episodes that ended in the last `share` of the run."""
        _, returns = self.curves()
        _, episodes = self.curves("episodes")
        last = max(1, int(np.ceil(returns.shape[1] * share)))
        total = np.nansum((returns * episodes)[:, -last:], 1)
        count = episodes[:, -last:].sum(1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def agents(self) -> Agents:
        """The agents of the last good checkpoint, with their environment."""
        self.warn(folders.verify(self.path, self.config, self.older))
        made = self.made
        agents = made.agents(self.path, self.chosen())
        return Agents(made.algorithm, agents, made.env, made.experiment.seeds)

    def evaluate(
        self,
        episodes: int = 100,
        explore: bool = False,
        seed: int = 0,
        env: Any = "",
    ) -> Score:
        """The returns of `episodes` whole episodes of each seed's policy, without exploration.
        `env` may be another environment, as in `train`. For a run on texts, the score is the
        loss or the accuracy on held-out texts, or the reward of completions.

        Raises:
            SettingsError: the other environment has other observations or actions.
        """
        agents = self.agents()
        if not env:
            require_env(agents.env)
        if env:
            agents = agents._replace(env=fitting(env_choice_of(env), self.made))
        elif isinstance(self.made.env, FilePrompts):
            return texts.evaluate(self.with_scorer(agents), episodes, explore, seed)
        return evaluate(agents, episodes, explore, seed)

    def with_scorer(self, agents: Agents) -> Agents:
        """Agents on a user's texts, with the held-out texts or the reward that scores them."""
        made, parts = self.made, self.made.parts
        if isinstance(parts.source, TextBatches):
            return agents._replace(env=parts.source)
        self.check_trust()
        init = partial(parts.reward.init, spec=made.spec)
        state = folders.last(self.path, self.chosen(), "reward", init, made.experiment)
        return agents._replace(reward=parts.reward, judge=state)

    def check_trust(self) -> None:
        """Raises SettingsError for a reward that calls a user's function without `trust`."""
        reward = self.made.experiment.reward
        if not self.trust and isinstance(reward, UserReward):
            raise SettingsError(f"this run is scored by {reward.function}; --trust runs its code")

    def policy(self, seed: int = 0) -> TrainedPolicy:
        """The policy of one of the run's seeds: `action = policy(obs)`."""
        agents = self.agents()
        return TrainedPolicy(
            agents.algorithm, jax.tree.map(lambda x: x[seed], agents.agent), agents.env.spec
        )
