"""What a run's folder holds: the shards of its seeds, their logs and their checkpoints."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from spinward.core import replace
from spinward.errors import DamagedFileError, SettingsError
from spinward.run.experiment import Experiment
from spinward.store import checkpoint, files, integrity
from spinward.store import log as record

PARTS = ("lock", "stderr", "metrics.jsonl", "times.jsonl", "checkpoints", "data", "between")
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
    parts = split(experiment.seed, experiment.seeds, count)
    return [replace(experiment, seed=start, seeds=size, shards=1) for start, size in parts]


def split(seed: int, seeds: int, count: int) -> list[tuple[int, int]]:
    """The first seed and the number of seeds of each of so many shards."""
    sizes = [seeds // count + (i < seeds % count) for i in range(count)]
    return [(seed + sum(sizes[:i]), size) for i, size in enumerate(sizes)]


def folders(run: Path) -> list[Path]:
    """The folders of a run's shards, in the order of their seeds.

    Raises:
        DamagedFileError: one of them, or what a shard has in it, is a symbolic link.
    """
    found = files.numbered(files.inside(run, run / "shards"))
    for folder in found:
        for name in PARTS:
            files.inside(run, folder / name)
    return found


def run_of(folder: Path) -> Path:
    """The run whose shard `folder` is."""
    return folder.parent.parent


def points(run: Path) -> list[dict[str, Any]]:
    """The log points that all shards have, with the seeds of all."""
    logs = [record.read(folder / "metrics.jsonl", run) for folder in folders(run)]
    return [merged(run, lines) for lines in zip(*logs, strict=False)]


def verify(run: Path, config: dict[str, Any], older: bool = False) -> list[str]:
    """Compares a run's settings and logs with what its newest checkpoints say of them, and tells
    of those that were passed over because `older` ones may be used.

    Raises:
        DamagedFileError: they differ, or the manifest of such a checkpoint is damaged.
    """
    found = folders(run)
    seeds = split(config["seed"], config["seeds"], len(found)) if found else []
    parts = [(folder, *each) for folder, each in zip(found, seeds, strict=True)]
    return integrity.check(run, parts, older)


def merged(run: Path, lines: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    """One log point with the seeds of all shards.

    Raises:
        DamagedFileError: the shards are not at the same point, or have other metrics.
    """
    whole = dict(lines[0])
    for line in lines[1:]:
        if line.keys() != whole.keys() or line["iteration"] != whole["iteration"]:
            raise DamagedFileError(
                f"{run / 'shards'}: the logs of the shards differ at iteration {line['iteration']}"
            )
        whole |= {k: whole[k] + v for k, v in line.items() if isinstance(v, list)}
    return whole


def chosen(run: Path, older: bool = False) -> list[integrity.Chosen]:
    """The checkpoint of each shard that has one.

    Raises:
        DamagedFileError: a newest one is damaged, and no `older` one may be used.
    """
    places = [folder / "checkpoints" for folder in folders(run)]
    return [integrity.choose(place, older) for place in places if checkpoint.checkpoints(place)]


def last_agents(
    run: Path, places: list[Path], algorithm: Any, spec: Any, experiment: Experiment
) -> Any:
    """The agents [seed] of a run's checkpoints, one of each shard.

    Raises:
        DamagedFileError: a shard has none, or it is not what was saved.
    """
    if not places or len(places) < len(folders(run)):
        raise DamagedFileError(f"{run}: expected a checkpoint of each shard, found {len(places)}")

    def init(key: jax.Array) -> Any:
        return algorithm.init(key, spec)

    agents = []
    for shard, path in zip(divided(experiment, len(places)), places, strict=True):
        like = {"agent": jax.eval_shape(jax.vmap(init), shard.keys())}
        agents.append(checkpoint.load(path, like, whole=False)[0]["agent"])
    return jax.tree.map(lambda *x: np.concatenate(x), *agents)
