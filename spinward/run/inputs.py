"""The models and the data that a run depends on: their digests, recorded when the run begins.

`Experiment.inputs` holds a SHA-256 for each role; the path is the setting of that role. Files of
data sets and checkpoints have digests of their own, which are checked when they are read, so for
them the digest of the index or of the manifest stands for all.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from spinward.algorithms.lpg import LPG
from spinward.data import card, chunks, store, writer
from spinward.errors import DamagedFileError
from spinward.language import gguf
from spinward.rewards.preferences import Preferences
from spinward.rewards.reward_model_score import RewardModelScore
from spinward.run.experiment import Experiment
from spinward.store import checkpoint, files, integrity

OF_DATA = ("data", "demos")  # roles of data sets
OF_MODEL = ("*.json", "*.jinja", "*.safetensors")  # files of a model's folder that may be read


def places(experiment: Experiment) -> dict[str, str]:
    """The paths that an experiment names, by role; only those that are there."""
    algorithm, reward = experiment.algorithm, experiment.reward
    named = {
        "data": experiment.data.path,
        "model": experiment.model,
        "reward_model": reward.run if isinstance(reward, RewardModelScore) else "",
        "demos": reward.demos if isinstance(reward, Preferences) else "",
        "rule": algorithm.rule if isinstance(algorithm, LPG) else "",
        "start_from": experiment.start_from,
    }
    paths = {role: str(gguf.smollm2()) if x == gguf.SMOLLM2 else x for role, x in named.items()}
    return {role: path for role, path in paths.items() if path and Path(path).exists()}


def digests(experiment: Experiment) -> dict[str, str]:
    """The SHA-256 of each model and data set of an experiment, by role."""
    return {role: digest(Path(path), role) for role, path in places(experiment).items()}


def require(experiment: Experiment, roles: Iterable[str]) -> None:
    """Compares what has these roles with what was recorded; what is gone is left to its reader.

    Raises:
        DamagedFileError: something was changed; it is named.
    """
    paths = places(experiment)
    for role in roles:
        expected, path = experiment.inputs.get(role), paths.get(role)
        if expected and path and (now := digest(Path(path), role)) != expected:
            raise DamagedFileError(
                f"{path}: expected the {role.replace('_', ' ')} with SHA-256 {expected:.12}, which "
                f"the run began with, found {now:.12}: it was changed; put it back, or train a new "
                "run"
            )


def digest(path: Path, role: str) -> str:
    """The SHA-256 that stands for a file or folder in a role."""
    if path.is_file():
        return files.sha256(path)
    whole = hashlib.sha256()
    for file in files_of_data(path) if role in OF_DATA else files_of_model(path):
        whole.update(f"{file.relative_to(path)} {files.sha256(file)}\n".encode())
    return whole.hexdigest()


def files_of_data(path: Path) -> list[Path]:
    """The indices and cards of a data set; of the first format the chunks."""
    if folders := store.stores_below(path):
        return [folder / name for folder in folders for name in (writer.FILE, card.FILE)]
    return chunks.listed(path)


def files_of_model(path: Path) -> list[Path]:
    """The settings and the newest manifest of each shard of a run; or the files of a model."""
    if (path / checkpoint.MANIFEST).is_file():
        return [path / checkpoint.MANIFEST]
    shards = files.numbered(path / "shards")
    saved = [checkpoint.checkpoints(shard / "checkpoints")[:1] for shard in shards]
    if shards:
        manifests = [each / checkpoint.MANIFEST for newest in saved for each in newest]
        return [path / integrity.CONFIG, *manifests]
    files_of_folder = {f for pattern in OF_MODEL for f in path.glob(pattern) if f.is_file()}
    return sorted(files_of_folder) or [
        each / checkpoint.MANIFEST for each in checkpoint.checkpoints(path)
    ]
