"""What a run is: an algorithm, an environment or data, a reward, a length, and seeds."""

import dataclasses
import json
import platform
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

import spinward
from spinward.core import Transition, replace
from spinward.envs import ids
from spinward.errors import DamagedFileError, SettingsError
from spinward.experience import memory, ring
from spinward.experience.collect import collector
from spinward.experience.dataset import Dataset
from spinward.experience.workers import Workers
from spinward.loop import Parts
from spinward.rewards.environment import Environment
from spinward.run import chunks, language, learned, settings

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The whole of a run's settings. `steps` are env steps of each seed, or updates on data."""

    algorithm: Any
    env: str
    steps: int
    seeds: int = 1
    seed: int = 0
    reward: Any = dataclasses.field(default_factory=Environment)
    data: str = ""  # logged transitions, learned from in place of the environment
    logs: int = 100  # points of the learning curve
    shards: int = 0  # processes that share the seeds of an on-device run; 0: two on a CPU
    log_data: bool = False  # keep what is collected as a data set, in the folder of each shard
    workers: int = 0  # actors of Ray that share the environments; 0: none
    first_come: bool = False  # learn from each worker's batch as it comes (A3C), not from all
    model: str = ""  # language model to begin with: the folder of a checkpoint, or of a run

    def check(self) -> None:
        """Raises SettingsError for what cannot work, before anything is made."""
        for name in ("steps", "seeds", "logs"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name}={getattr(self, name)} must be at least 1")
        if not 0 <= self.seed < 2**32:
            raise SettingsError(f"seed={self.seed} must be between 0 and 2**32 - 1")
        offline = getattr(self.algorithm, "offline", False)
        name = type(self.algorithm).__name__
        if hasattr(self.algorithm, "start"):
            return self.check_texts()
        if self.model:
            raise SettingsError(f"{name} does not learn from texts, and cannot use a model")
        if hasattr(self.reward, "worded"):
            raise SettingsError(f"{name} writes no texts, which {self.reward.function} could judge")
        if offline and not self.data:
            raise SettingsError(
                f"{name} learns from logged data: name a file with --data "
                "(`spinward data record RUN --out FILE` makes one)"
            )
        if self.data and not offline:
            raise SettingsError(f"{name} learns by taking steps, and cannot use data={self.data}")
        if self.data and self.log_data:
            raise SettingsError(f"log_data=True: learning from {self.data} collects nothing")
        if self.workers or self.first_come:
            self.check_workers()

    def check_texts(self) -> None:
        name, judge = type(self.algorithm).__name__, type(self.reward)
        if getattr(self.algorithm, "offline", False) and judge is not Environment:
            raise SettingsError(
                f"{name} learns from texts as they are; {judge.__name__} judges none"
            )
        for name in ("workers", "log_data"):
            if getattr(self, name):
                told = f"{name}={getattr(self, name)} cannot be used with texts"
                raise SettingsError(f"{told}, which are written in this process and not logged")

    def check_workers(self) -> None:
        name, algorithm = type(self.algorithm).__name__, self.algorithm
        if self.workers < 1:
            instead = "set first_come=False" if self.first_come else "be 0, for none"
            raise SettingsError(f"workers={self.workers} must be at least 1, or {instead}")
        if self.data or self.log_data:
            raise SettingsError(f"workers={self.workers} cannot be used with data or log_data")
        if self.first_come and not getattr(algorithm, "corrects_lag", False):
            raise SettingsError(
                f"first_come=True: {name} does not correct for an older policy; a2c does"
            )

    def parts(self) -> Parts:
        """The parts of the loop, checked against each other."""
        self.check()
        env: Any = self.make_env()
        algorithm, reward = self.begun()
        algorithm.check(env.spec)
        if hasattr(algorithm, "check_rewards") and hasattr(reward, "bounds"):
            algorithm.check_rewards(*reward.bounds)
        if needed := self.replay_bytes(env.spec):
            memory.require_memory(self.algorithm.capacity, needed, self.seeds)
        source = algorithm.source(self.hired() if self.workers else collector(env))
        if self.workers and not isinstance(source, Workers):
            name = type(self.algorithm).__name__
            raise SettingsError(f"workers={self.workers}: the replay of {name} is in one process")
        if self.log_data:
            source = chunks.recorded(source, self.plan(source.stride)[1])
        if hasattr(algorithm, "opened"):  # it builds on what was learned elsewhere
            algorithm = algorithm.opened(learned.read)
        return Parts(algorithm, source, reward)

    def begun(self) -> tuple[Any, Any]:
        """The algorithm and the reward with the language models that they begin with."""
        algorithm, reward = self.algorithm, self.reward
        if self.model:
            algorithm = replace(algorithm, start=language.model(self.model).decoder)
        if hasattr(reward, "opened"):
            reward = reward.opened(lambda name: language.of_run(name)[0])
        if hasattr(reward, "worded"):
            reward = reward.worded(language.vocabulary(self))
        return algorithm, reward

    def replay_bytes(self, spec: Any) -> int:
        """The memory that the replay of one seed takes, where the algorithm has one."""
        algorithm = self.algorithm
        if hasattr(algorithm, "replay_bytes"):
            return algorithm.replay_bytes(spec)
        if not hasattr(algorithm, "capacity"):
            return 0
        rows = ring.rows(algorithm, algorithm.capacity)
        return memory.replay_bytes(replace(spec, envs=algorithm.envs), rows, algorithm.rollout)

    def hired(self) -> Any:
        """What makes a source of so many envs and steps, whose environments live in actors."""
        make = partial(ids.make, self.env)

        def collect(envs: int, steps: int) -> Workers:
            source = Workers(envs, steps, make, self.algorithm, self.workers, self.first_come)
            source.check()
            return source

        return collect

    def make_env(self) -> Any:
        if hasattr(self.algorithm, "start"):
            return language.material(self)
        env = ids.make(self.env)
        return read_data(Path(self.data), env.spec) if self.data else env

    def plan(self, stride: int) -> tuple[int, int]:
        """How many iterations there are, in whole log intervals, and how many to an interval."""
        iterations = -(-self.steps // stride)
        log_every = max(1, round(iterations / self.logs))
        return -(-iterations // log_every) * log_every, log_every

    def keys(self) -> jax.Array:
        """One key for each seed: those of seed, seed + 1, ..."""
        return jax.vmap(jax.random.PRNGKey)(np.arange(self.seed, self.seed + self.seeds))

    def to_json(self, with_versions: bool = True) -> str:
        """The settings as a config file has them."""
        versions = {
            "spinward": spinward.__version__,
            "jax": jax.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        }
        fields = {f.name: settings.to_json(getattr(self, f.name)) for f in dataclasses.fields(self)}
        content = {"format": FORMAT, **fields, **({"versions": versions} if with_versions else {})}
        return json.dumps(content, indent=1) + "\n"


def read_config(path: Path) -> dict[str, Any]:
    """The content of a run's config.json.

    Raises:
        SettingsError: there is no run here, or it is from a newer version.
        DamagedFileError: the file is not what was written.
    """
    if not path.is_file():
        raise SettingsError(f"{path.parent} is no run: it has no {path.name}")
    try:
        content = json.loads(path.read_bytes())
        number = content["format"]
        for name, value in (
            ("log_data", False),
            ("workers", 0),
            ("first_come", False),
            ("model", ""),
        ):
            content.setdefault(name, value)  # settings that older runs lack
        missing = {f.name for f in dataclasses.fields(Experiment)} - content.keys()
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DamagedFileError(
            f"{path} is damaged: expected a run's settings ({error!r})"
        ) from None
    if isinstance(number, int) and number > FORMAT:
        version = content.get("versions", {}).get("spinward", "a newer version")
        raise SettingsError(
            f"{path.parent} was written by Spinward {version} (format {number}); this is "
            f"{spinward.__version__} (format {FORMAT}): upgrade with pip install -U spinward"
        )
    if number != FORMAT or missing:
        raise DamagedFileError(f"{path} is damaged: it lacks {', '.join(sorted(missing))}")
    return content


def from_config(content: dict[str, Any], trust: bool = False) -> Experiment:
    """The experiment of a config. Code that is not ours runs only if `trust` is given."""
    if ids.is_own_code(content["env"]) and not trust:
        raise SettingsError(
            f"this run uses the environment {content['env']}; --trust runs its code"
        )
    fields = {f.name: content[f.name] for f in dataclasses.fields(Experiment)}
    return settings.checked(
        Experiment, {k: settings.from_json(v, trust) for k, v in fields.items()}
    )


def read_data(path: Path, spec: Any) -> Dataset:
    """Logged transitions from an npz file with an array for each field of a transition, or from
    the chunks of a run that kept them.

    Raises:
        SettingsError: a missing file or field, or shapes that do not fit the environment.
        DamagedFileError: a file that is no npz, or holds values that are not finite.
    """
    names = chunks.FIELDS
    arrays = chunks.read(path)
    if missing := [name for name in names if name not in arrays]:
        raise SettingsError(f"{path} lacks {', '.join(missing)}; expected {', '.join(names)}")
    rows = len(arrays["reward"])
    wanted = {"obs": spec.obs.shape, "next_obs": spec.obs.shape, "action": spec.action.shape}
    for name in names:
        shape = (rows, *wanted.get(name, ()))
        if arrays[name].shape != shape:
            raise SettingsError(f"{path}: {name} has shape {arrays[name].shape}; expected {shape}")
        if not np.isfinite(arrays[name]).all():
            row = int(np.argwhere(~np.isfinite(arrays[name].reshape(rows, -1)).all(1))[0, 0])
            raise DamagedFileError(f"{path}: {name} of row {row} is not finite")
    kinds = {"reward": np.float32, "terminated": bool, "truncated": bool}
    fields: dict[str, Any] = {n: np.asarray(arrays[n], kinds.get(n)) for n in names}
    weight: Any = np.ones(rows, np.float32)
    return Dataset(Transition(**fields, weight=weight, extras={}), spec)
