"""A run in its folder: train it, open it, ask it for curves, scores and its policy."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from spinward.envs import ids
from spinward.errors import SettingsError
from spinward.evaluation.episodes import Agents, Score, evaluate
from spinward.experience.workers import require_ray
from spinward.run import checkpoint, device, language, shards
from spinward.run.drive import Point
from spinward.run.experiment import Experiment, from_config, read_config
from spinward.run.files import write_atomically
from spinward.run.policy import Policy


def train(
    algorithm: Any,
    env: str,
    steps: int = 100_000,
    seeds: int = 1,
    seed: int = 0,
    reward: Any = None,
    data: str | Path = "",
    out: str | Path = "runs",
    name: str = "",
    watch: Callable[[Point], None] = lambda point: None,
    checkpoint_s: float = 30.0,
    shards: int = 0,
    log_data: bool = False,
    workers: int = 0,
    first_come: bool = False,
    model: str | Path = "",
) -> "Run":
    """Trains `seeds` agents at once and returns the run, which is a folder of `out`.

    `algorithm` is settings such as `PPO(lr=3e-4)`, `env` a name (see `spinward.envs.ids.make`),
    `steps` env steps of each seed, or gradient steps where `data` names what to learn from: a file,
    or the folder of a run that kept its experience because of `log_data`. `workers` are actors of
    Ray that share the environments; with `first_come` their batches are learned from as they come.
    `model` is the language model to begin with: a folder of a checkpoint, or of a run.

    Raises:
        SettingsError: settings that cannot work, before anything is written.
        NonFiniteError: training broke; the last finite state is saved.
    """
    more: dict[str, Any] = {} if reward is None else {"reward": reward}
    more |= {"workers": workers, "first_come": first_come, "model": str(model)}
    experiment = Experiment(
        algorithm, env, steps, seeds, seed, data=str(data), shards=shards, log_data=log_data, **more
    )
    return create(experiment, Path(out), name).train(watch, checkpoint_s, trust=True)


def create(experiment: Experiment, out: Path, name: str = "") -> "Run":
    """A new folder for `experiment`, which is checked first."""
    device.prepare()
    parts = experiment.parts()
    if hasattr(parts.reward, "rehearse"):
        parts.reward.rehearse(parts.source)
    if experiment.workers:
        require_ray()
    kind = type(experiment.algorithm).__name__.lower()
    env = experiment.env.rpartition("/")[2].replace(":", "-")
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
        return Run(folder)
    raise AssertionError("names never run out")


def load(path: str | Path, trust: bool = False) -> "Run":
    """The run in a folder. `trust` lets it use code that is not Spinward's."""
    run = Run(Path(path), trust)
    run.config  # noqa: B018, raises where there is none
    return run


class Run:
    """A folder with settings, metrics and checkpoints."""

    def __init__(self, path: Path, trust: bool = False):
        self.path, self.trust = path, trust

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def config(self) -> dict[str, Any]:
        return read_config(self.path / "config.json")

    @property
    def experiment(self) -> Experiment:
        return from_config(self.config, self.trust)

    def train(
        self,
        watch: Callable[[Point], None] = lambda point: None,
        checkpoint_s: float = 30.0,
        trust: bool = False,
    ) -> "Run":
        """Goes on from the last checkpoint to the end; does nothing if it is there."""
        self.trust = self.trust or trust
        if not self.trust and (judge := getattr(self.experiment.reward, "function", "")):
            raise SettingsError(f"this run is judged by {judge}; --trust runs its code")
        device.prepare()
        shards.train(self.shards, self.path, watch, checkpoint_s, self.trust)
        return self

    @property
    def shards(self) -> list[Experiment]:
        """The experiment of each process that shares the seeds."""
        experiment = self.experiment
        return shards.shards_of(experiment, experiment.parts().source.on_device)

    @property
    def points(self) -> list[dict[str, Any]]:
        """The log points: iteration, env_steps, and a list over seeds for each metric."""
        return shards.points(self.path)

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
        """The agents of the last good checkpoint, with what they act in."""
        device.prepare()
        experiment = self.experiment
        parts = experiment.parts()
        spec = parts.source.spec

        def init(key: jax.Array) -> Any:
            return parts.algorithm.init(key, spec)

        agents = []
        for shard, folder in zip(self.shards, shards.folders(self.path), strict=True):
            path, _ = checkpoint.latest(folder / "checkpoints")
            like = {"agent": jax.eval_shape(jax.vmap(init), shard.keys())}
            agents.append(checkpoint.load(path, like, whole=False)[0]["agent"])
        agent = jax.tree.map(lambda *x: np.concatenate(x), *agents)
        texts = hasattr(parts.algorithm, "start")
        env = language.task(experiment) if texts else ids.make(experiment.env)
        return Agents(parts.algorithm, agent, env, experiment.seeds)

    def evaluate(self, episodes: int = 100, explore: bool = False, seed: int = 0) -> Score:
        """Returns of so many whole episodes of each seed's policy, without exploration."""
        return evaluate(self.agents(), episodes, explore, seed)

    def policy(self, seed: int = 0) -> Policy:
        """The policy of one of the run's seeds: `action = policy(obs)`."""
        agents = self.agents()
        return Policy(
            agents.algorithm, jax.tree.map(lambda x: x[seed], agents.agent), agents.env.spec
        )
