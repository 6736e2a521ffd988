"""The settings of a run: algorithm, environment, data, reward, length and seeds, as values."""

import dataclasses
import json
import math
import platform
from typing import Any

import jax
import numpy as np

import spinward
from spinward import schedules
from spinward.envs import ids
from spinward.errors import SettingsError
from spinward.rewards.environment import Environment
from spinward.store import ranges, settings

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class EnvChoice:
    """An environment's name and settings."""

    name: str
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.name)

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        return f"{self.name}({given})" if given else self.name

    def check(self) -> None:
        """Raises SettingsError where there is no name."""
        if not self.name:
            raise SettingsError("env='': name an environment; `spinward envs` lists them")

    def make(self) -> Any:
        """The environment.

        Raises:
            SettingsError: there is no environment of this name, or it has no such settings.
        """
        return ids.make(self.name, self.settings)

    def to_json(self) -> Any:
        """The name, or name and settings if there are settings."""
        return dataclasses.asdict(self) if self.settings else self.name


@dataclasses.dataclass(frozen=True)
class DataChoice:
    """The path of logged data, and the data's share of every batch."""

    path: str = ""  # a file, or the folder of a run that kept its experience; empty: no data
    share: float = 1.0  # of every batch; below 1 the rest is the agent's own steps
    skip: bool = False  # pass over rows of texts that cannot be used, in place of an error
    max_length: int = 0  # tokens that longer texts are cut to, or with skip passed over; 0: no cut
    held_out: float = 0.05  # share of texts or episodes that is evaluated with, not learned from
    memory_gib: float = 0.5  # logged steps of more are read as they are drawn, not held in memory

    @classmethod
    def of(cls, data: Any) -> "DataChoice":
        """The choice that an argument means: one, or a path."""
        return data if isinstance(data, DataChoice) else cls(str(data))

    def __bool__(self) -> bool:
        return bool(self.path)

    def __str__(self) -> str:
        return self.path

    def check(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise SettingsError(f"data.share={self.share} must be above 0 and at most 1")
        if self.share < 1.0 and not self.path:
            raise SettingsError(
                f"data.share={self.share} is of logged data: give its path (--data)"
            )
        if not self.memory_gib >= 0.0:
            raise SettingsError(f"data.memory_gib={self.memory_gib} must be at least 0")
        if not 0.0 <= self.held_out < 1.0:
            raise SettingsError(f"data.held_out={self.held_out} must be at least 0 and below 1")

    def to_json(self) -> Any:
        """The path, or all fields if some differ from their defaults in older runs."""
        whole = self == DataChoice(self.path, held_out=0.0)
        return self.path if whole or not self.path else dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """All settings of a run. `steps` are env steps of each seed, or updates on data."""

    algorithm: Any
    env: EnvChoice  # or a name
    steps: int
    seeds: int = 1
    seed: int = 0
    reward: Any = dataclasses.field(default_factory=Environment)
    data: DataChoice = dataclasses.field(default_factory=DataChoice)  # or a place
    logs: int = 100  # points of the learning curve
    shards: int = 0  # processes that share the seeds of an on-device run; 0: two on a CPU
    log_data: bool = False  # keep what is collected as a data set, in the folder of each shard
    workers: int = 0  # actors of Ray that share the environments; 0: none
    first_come: bool = False  # learn from each worker's batch as it comes (A3C), not from all
    model: str = ""  # language model to begin with: the folder of a checkpoint, or of a run
    evaluate_every: int = 0  # env steps of each seed between evaluations; 0: none
    evaluate_env: EnvChoice = dataclasses.field(default_factory=lambda: EnvChoice(""))  # or a name
    evaluate_episodes: int = 10  # whole episodes of each seed's policy in an evaluation
    evaluate_limit: int = 100_000  # steps after which an episode of an evaluation is cut
    keep_best: bool = False  # keep the agent of each seed with the highest evaluation
    stop_at: float | None = None  # end the run when all seeds have this return
    start_from: str = ""  # run whose agents to begin with
    start_checkpoint: str = "last"  # of that run: last, best, or an iteration
    start_parts: tuple[str, ...] = ()  # of its agents; empty: all but optimisers and counters
    freeze: tuple[str, ...] = ()  # parts of the agents that do not learn
    inputs: dict[str, str] = dataclasses.field(default_factory=dict)  # SHA-256 of models and data

    def __post_init__(self) -> None:
        kinds = (("env", EnvChoice), ("data", DataChoice), ("evaluate_env", EnvChoice))
        for name, kind in kinds:
            if not isinstance(value := getattr(self, name), kind):
                object.__setattr__(self, name, kind(str(value)))

        for name in ("algorithm", "reward"):
            object.__setattr__(self, name, settings.scheduled(getattr(self, name)))

    def check(self) -> None:
        """Raises SettingsError for impossible numbers, before anything is made."""
        for part in (self.algorithm, self.reward):
            settings.check_functions(part)
        self.check_schedules()
        ranges.check(self.algorithm)
        ranges.check(self.reward)
        for name in ("steps", "seeds", "logs"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name}={getattr(self, name)} must be at least 1")
        if not 0 <= self.seed < 2**32:
            raise SettingsError(f"seed={self.seed} must be between 0 and 2**32 - 1")
        self.data.check()
        if self.workers < 1 and (self.workers or self.first_come):
            instead = "set first_come=False" if self.first_come else "be 0, for none"
            raise SettingsError(f"workers={self.workers} must be at least 1, or {instead}")
        if self.workers and (self.data or self.log_data):
            raise SettingsError(f"workers={self.workers} cannot be used with data or log_data")
        if self.log_data and self.data.path and self.data.share == 1.0:
            raise SettingsError(f"log_data=True: learning from {self.data} collects nothing")

        self.check_evaluations()

    @property
    def about(self) -> dict[str, str]:
        """What the card of the steps that a run keeps says of their origin."""
        source = f"{type(self.algorithm).__name__} while it learns"
        return {"source": source, "env": str(self.env), "made": "train --log-data"}

    def check_schedules(self) -> None:
        """Raises SettingsError for schedules that contradict other settings."""
        scheduled = schedules.of(self.algorithm)
        anneal = dict(vars(self.algorithm)).get("anneal_steps") if "lr" in scheduled else 0
        if anneal:
            raise SettingsError(
                f"anneal_steps={anneal}: lr={scheduled['lr']} is a schedule by itself; set "
                "anneal_steps=0 (--anneal-steps 0)"
            )
        if self.workers and (scheduled or schedules.of(self.reward)):
            raise SettingsError(f"workers={self.workers}: actors of Ray know no schedules")

    def check_evaluations(self) -> None:
        """Raises SettingsError for evaluations that cannot be."""
        for name in ("evaluate_episodes", "evaluate_limit"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name}={getattr(self, name)} must be at least 1")
        if self.evaluate_every < 0:
            raise SettingsError(f"evaluate_every={self.evaluate_every} must be at least 0")
        for name in ("evaluate_env", "keep_best"):
            if getattr(self, name) and not self.evaluate_every:
                raise SettingsError(
                    f"{name}={getattr(self, name)} is of evaluations: say how often there is one "
                    "with evaluate_every (--evaluate-every)"
                )
        if self.stop_at is not None:
            if not math.isfinite(self.stop_at):
                raise SettingsError(f"stop_at={self.stop_at} must be a finite number")
            if self.shards > 1:
                raise SettingsError(
                    f"shards={self.shards}: a run with stop_at ends all seeds at once, in 1 process"
                )

    def plan(self, stride: int) -> tuple[int, int]:
        """The number of iterations, in whole log intervals, and the iterations in each interval."""
        iterations = -(-self.steps // stride)
        log_every = max(1, round(iterations / self.logs))
        return -(-iterations // log_every) * log_every, log_every

    def keys(self) -> jax.Array:
        """One key for each seed: seed, seed + 1, ..."""
        return jax.vmap(jax.random.PRNGKey)(np.arange(self.seed, self.seed + self.seeds))

    def to_json(self, with_versions: bool = True) -> str:
        """The content of config.json."""
        versions = {
            "spinward": spinward.__version__,
            "jax": jax.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        }
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values = {
            name: value.to_json()
            if isinstance(value, EnvChoice | DataChoice)
            else settings.to_json(value)
            for name, value in fields.items()
        }
        content = {"format": FORMAT, **values, **({"versions": versions} if with_versions else {})}
        return json.dumps(content, indent=1) + "\n"
