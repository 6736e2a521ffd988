"""The content of a run's folder: the shards of its seeds, their logs and their checkpoints."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from spinward.core import replace
from spinward.errors import DamagedFileError, SettingsError
from spinward.run.experiment import Experiment
from spinward.store import checkpoint, files, integrity
from spinward.store import points as log_points

PARTS = (  # of a shard
    "lock", "stderr", "metrics.jsonl", "times.jsonl", "checkpoints", "data", "between", "best",
    "candidates", integrity.SAVED,
)  # fmt: skip
DEFAULT = 2  # shards, whatever the number of cores, so that results do not depend on it


def shards_of(experiment: Experiment, on_device: bool) -> list[Experiment]:
    """The experiment of each shard: consecutive seeds, divided as evenly as possible."""
    alone = experiment.stop_at is not None  # all seeds end at once
    automatic = DEFAULT if on_device and not alone and jax.default_backend() == "cpu" else 1
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
        DamagedFileError: a folder, or a file or folder inside, is a symbolic link.
    """
    shards = files.numbered(files.inside(run, run / "shards"))
    for folder in shards:
        for name in PARTS:
            files.inside(run, folder / name)
    return shards


def run_of(folder: Path) -> Path:
    """The run that the shard `folder` belongs to."""
    return folder.parent.parent


def points(run: Path) -> list[dict[str, Any]]:
    """The log points that all shards have, with the seeds of all."""
    logs = [log_points.read(folder / "metrics.jsonl", run) for folder in folders(run)]
    return [log_points.merged(run, lines) for lines in zip(*logs, strict=False)]


def verify(run: Path, config: dict[str, Any], older: bool | None = False) -> list[str]:
    """Compares a run's settings and logs with its newest checkpoints. Returns a line for each
    damaged checkpoint that is ignored because of `older`.

    Raises:
        DamagedFileError: they differ, or the manifest of a checkpoint is damaged.
    """
    return integrity.check(run, seeds_of(run, config), older)


def seeds_of(run: Path, config: dict[str, Any]) -> list[tuple[Path, int, int]]:
    """The folder, the first seed and the number of seeds of each shard of a run."""
    shards = folders(run)
    seeds = split(config["seed"], config["seeds"], len(shards)) if shards else []
    return [(folder, *each) for folder, each in zip(shards, seeds, strict=True)]


def newest(run: Path, older: bool | None = False) -> list[integrity.Usable]:
    """The checkpoint of each shard that has one.

    Raises:
        DamagedFileError: a newest checkpoint is damaged, and `older` is False.
    """
    places = [folder / "checkpoints" for folder in folders(run)]
    return [integrity.choose(place, older) for place in places if checkpoint.checkpoints(place)]


def named(run: Path, which: str | int, older: bool | None = False) -> list[integrity.Usable]:
    """The checkpoint of each shard that a name means: `last`, `best`, or an iteration.

    Raises:
        SettingsError: there is none of that name.
        DamagedFileError: it is damaged.
    """
    last = newest(run, older)
    which = int(which) if isinstance(which, str) and which.isdecimal() else which
    if which == "last":
        return last
    if which == "best":
        places = [each.path.parent.parent / "best" / each.path.name for each in last]
        if not all(path.is_dir() for path in places):
            raise SettingsError(f"{run} kept no best agents: train with --keep-best")
    else:
        known = numbered(run)
        if which not in known:
            names = ", ".join(map(str, ["best", "last", *sorted(known)]))
            raise SettingsError(f"{run} has no checkpoint {which!r}; expected one of {names}")
        places = known[int(which)]
    return [integrity.Usable(path, each.damaged) for path, each in zip(places, last, strict=True)]


def numbered(run: Path) -> dict[int, list[Path]]:
    """The place in each shard of the agents of every iteration that all shards have: checkpoints,
    and the agents that a run on logged data keeps."""
    places: list[dict[int, Path]] = []
    for folder in folders(run):
        paths = [*checkpoint.checkpoints(folder / "candidates"),
                 *checkpoint.checkpoints(folder / "checkpoints")]  # fmt: skip
        places.append({checkpoint.number(path): path for path in paths})
    known = set(places[0]).intersection(*places) if places else set()
    return {number: [each[number] for each in places] for number in sorted(known)}


def last_agents(
    run: Path, places: list[Path], algorithm: Any, spec: Any, experiment: Experiment
) -> Any:
    """The agents [seed] of a run, from one checkpoint of each shard."""
    return last(run, places, "agent", partial(algorithm.init, spec=spec), experiment)


def last(
    run: Path,
    places: list[Path],
    part: str,
    init: Callable[[jax.Array], Any],
    experiment: Experiment,
) -> Any:
    """A part of the state [seed] in a run's checkpoints; `init` makes such a part from a key.

    Raises:
        DamagedFileError: a shard has no checkpoint, or its checkpoint is damaged.
    """
    if not places or len(places) < len(folders(run)):
        raise DamagedFileError(f"{run}: expected a checkpoint of each shard, found {len(places)}")
    loaded = []
    for shard, path in zip(divided(experiment, len(places)), places, strict=True):
        like = {part: jax.eval_shape(jax.vmap(init), shard.keys())}
        loaded.append(checkpoint.load(path, like, whole=False)[0][part])
    return jax.tree.map(lambda *x: np.concatenate(x), *loaded)
