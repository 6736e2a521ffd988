"""Learned parameters from elsewhere, which an algorithm starts from: arrays by name, and info."""

from pathlib import Path
from typing import Any

import numpy as np

from spinward.errors import DamagedFileError, SettingsError
from spinward.store import arrays, checkpoint, files, integrity


def save(path: Path, **parts: Any) -> Path:
    """Writes trees of arrays, each under its name, to a folder that `read` can read.

    Raises:
        SettingsError: the folder exists.
    """
    if path.exists():
        raise SettingsError(f"{path} exists; choose another name")
    return checkpoint.save(path, 0, parts, {})


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays by name, and the info, of a checkpoint, of a folder of them, or of a run.

    Of a run those of the last checkpoint of its first seeds; each then has a leading axis of seeds.

    Raises:
        SettingsError: there is nothing there.
        DamagedFileError: it is not, to the last bit, what was saved.
    """
    if not path.is_dir():
        raise SettingsError(f"there is no folder {path} with what was learned")
    if not (path / checkpoint.MANIFEST).is_file():
        shards = files.numbered(files.inside(path, path / "shards"))
        folder = files.inside(path, shards[0] / "checkpoints") if shards else path
        if not checkpoint.checkpoints(folder):
            raise SettingsError(f"{path} holds nothing that was learned: no {checkpoint.MANIFEST}")
        path = integrity.choose(folder, None).path
    manifest = checkpoint.read_manifest(path)
    try:
        values = {n: np.empty(k[1], k[0]) for n, k in kinds(manifest.leaves).items()}
    except (ValueError, MemoryError) as error:
        raise DamagedFileError(f"{path}: {error}") from None
    checkpoint.read_state(path, manifest, values)
    return {arrays.current(name): value for name, value in values.items()} | values, manifest.info


def kinds(leaves: dict[str, str]) -> dict[str, Any]:
    return {name: arrays.parsed(text) for name, text in leaves.items()}
