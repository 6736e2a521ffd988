"""What a run's folder holds: the shards of its seeds, their logs and their checkpoints."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from spinward.core import replace
from spinward.errors import SettingsError
from spinward.run import checkpoint, record
from spinward.run.experiment import Experiment

DEFAULT = 2  # shards, whatever the number of cores, so that results do not depend on it


def shards_of(experiment: Experiment, on_device: bool) -> list[Experiment]:
    """The experiment of each shard: consecutive seeds, as evenly as they divide."""
    automatic = DEFAULT if on_device and jax.default_backend() == "cpu" else 1
    count = min(experiment.shards or automatic, experiment.seeds)
    if count > 1 and not on_device:
        raise SettingsError(f"shards={count}: the seeds of a host environment are one batch; use 1")
    return divided(experiment, count)


def divided(experiment: Experiment, count: int) -> list[Experiment]:
    """So many shards of an experiment."""
    sizes = [experiment.seeds // count + (i < experiment.seeds % count) for i in range(count)]
    starts = [experiment.seed + sum(sizes[:i]) for i in range(count)]
    return [
        replace(experiment, seed=start, seeds=size, shards=1)
        for start, size in zip(starts, sizes, strict=True)
    ]


def folders(run: Path) -> list[Path]:
    """The folders of a run's shards, in the order of their seeds."""
    return sorted((run / "shards").glob("[0-9]*"))


def run_of(folder: Path) -> Path:
    """The run whose shard `folder` is."""
    return folder.parent.parent


def points(run: Path) -> list[dict[str, Any]]:
    """The log points that all shards have, with the seeds of all."""
    logs = [record.read(folder / "metrics.jsonl") for folder in folders(run)]
    return [merged(lines) for lines in zip(*logs, strict=False)]


def merged(lines: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    whole = dict(lines[0])
    for line in lines[1:]:
        whole |= {k: whole[k] + v for k, v in line.items() if isinstance(v, list)}
    return whole


def last_agents(run: Path, algorithm: Any, spec: Any, experiment: Experiment) -> Any:
    """The agents [seed] of a run's last good checkpoints."""
    places = folders(run)

    def init(key: jax.Array) -> Any:
        return algorithm.init(key, spec)

    agents = []
    for shard, folder in zip(divided(experiment, len(places)), places, strict=True):
        path, _ = checkpoint.latest(folder / "checkpoints")
        like = {"agent": jax.eval_shape(jax.vmap(init), shard.keys())}
        agents.append(checkpoint.load(path, like, whole=False)[0]["agent"])
    return jax.tree.map(lambda *x: np.concatenate(x), *agents)
