"""What a run is: an algorithm, an environment or data, a reward, a length, and seeds."""

import dataclasses
import json
import platform
from pathlib import Path
from typing import Any

import jax
import numpy as np

import spinward
from spinward.core import Transition
from spinward.envs import ids
from spinward.errors import DamagedFileError, SettingsError
from spinward.experience.collect import collector
from spinward.experience.dataset import Dataset
from spinward.loop import Parts
from spinward.rewards.environment import Environment
from spinward.run import settings

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
    data: str = ""  # a file of logged transitions, learned from in place of the environment
    logs: int = 100  # points of the learning curve
    shards: int = 0  # processes that share the seeds of an on-device run; 0: two on a CPU

    def check(self) -> None:
        """Raises SettingsError for what cannot work, before anything is made."""
        for name in ("steps", "seeds", "logs"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name}={getattr(self, name)} must be at least 1")
        offline = getattr(self.algorithm, "offline", False)
        name = type(self.algorithm).__name__
        if offline and not self.data:
            raise SettingsError(
                f"{name} learns from logged data: name a file with --data "
                "(`spinward data record RUN --out FILE` makes one)"
            )
        if self.data and not offline:
            raise SettingsError(f"{name} learns by taking steps, and cannot use data={self.data}")
        if not 0 <= self.seed < 2**32:
            raise SettingsError(f"seed={self.seed} must be between 0 and 2**32 - 1")

    def parts(self) -> Parts:
        """The parts of the loop, checked against each other."""
        self.check()
        env: Any = self.make_env()
        self.algorithm.check(env.spec)
        return Parts(self.algorithm, self.algorithm.source(collector(env)), self.reward)

    def make_env(self) -> Any:
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
    """Logged transitions from an npz file with an array for each field of a transition.

    Raises:
        SettingsError: a missing file or field, or shapes that do not fit the environment.
        DamagedFileError: a file that is no npz, or holds values that are not finite.
    """
    if not path.is_file():
        raise SettingsError(f"there is no data file {path}")
    names = ("obs", "action", "reward", "terminated", "truncated", "next_obs")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError) as error:
        raise DamagedFileError(f"{path} is no npz file of plain arrays: {error}") from None
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
