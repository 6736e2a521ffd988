"""A run's state on disk and back, exactly: arrays without pickle, and a manifest with checksums.

A checkpoint is a folder named for its iteration. `manifest.json` says what the leaves in
`state.safetensors` are, and carries the SHA-256 of that file and of itself. As the manifest fixes
every byte of the other file's header, that header is compared and never parsed.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from spinward.errors import DamagedFileError
from spinward.store import arrays, files
from spinward.store import manifest as manifests
from spinward.store.manifest import (
    MANIFEST,
    MANIFEST_LIMIT,
    NAME,
    OPENING,
    checkpoints,
    number,
    opened,
)

FORMAT = 1
STATE = "state.safetensors"


class Manifest(NamedTuple):
    iteration: int
    info: dict[str, Any]
    leaves: dict[str, str]  # what each is, as in float32[4,64]
    sha256: str  # of the file that holds them

    @property
    def bytes(self) -> int:
        return len(arrays.header(self.leaves)) + sum(map(arrays.size, self.leaves.values()))


def save(folder: Path, iteration: int, state: Any, info: dict[str, Any], keep: int = 3) -> Path:
    """Writes a checkpoint completely or not at all, then removes all but the last `keep`.

    `info` is whatever JSON can hold. What was there before is not touched until this one is safe.

    Raises:
        OSError: naming the checkpoint, where the disk is full or may not be written to.
        TypeError: a leaf that is no array of numbers, or `info` that JSON cannot hold.
        ValueError: so much `info` that the manifest would pass its limit.
    """
    leaves = {name: arrays.stored(leaf) for name, leaf in arrays.named(state).items()}
    kinds = {name: arrays.kind(leaf) for name, leaf in leaves.items()}
    path = folder / f"{iteration:010d}"
    folder.mkdir(parents=True, exist_ok=True)
    files.remove_leftovers(folder)
    with files.temporary(path) as name:
        name.mkdir()
        digest = arrays.write(name / STATE, leaves)
        text = manifest_text(Manifest(iteration, info, kinds, digest))
        files.write_atomically(name / MANIFEST, text)
        put(name, path)
        files.sync_folder(folder)
    older = [other for other in checkpoints(folder) if number(other) < iteration]
    for old in [replaced(path), *older[max(keep - 1, 0) :]]:
        files.discard(old)
    return path


def load(path: Path, like: Any, whole: bool = True) -> tuple[Any, dict[str, Any]]:
    """The state as NumPy arrays in the structure of `like`, and the info saved with it.

    `like` may be a part of what was saved, where it need not be the `whole`.

    Raises:
        DamagedFileError: a file that is not, to the last bit, what was saved, or not like `like`.
    """
    wanted = {name: arrays.shape_of(leaf) for name, leaf in arrays.named(like).items()}
    with advice(path):
        manifest = read_manifest(path)
    saved = manifest.leaves
    stored = {n if n in wanted else arrays.current(n): n for n in saved}  # n is its older name
    kinds = {n: saved[old] for n, old in stored.items() if whole or n in wanted}
    compare(path, kinds, {name: arrays.kind(leaf) for name, leaf in wanted.items()})
    state = {}
    for name, kind in manifest.leaves.items():
        dtype, shape = arrays.parsed(kind)
        state[name] = np.empty(shape, dtype)
    with advice(path):
        read_state(path, manifest, state)
    leaves, tree = jax.tree.flatten(like)
    restored = map(arrays.restored, (state[stored[name]] for name in wanted), leaves)
    return jax.tree.unflatten(tree, restored), manifest.info


def stamp(path: Path, info: dict[str, Any]) -> None:
    """Gives a checkpoint other info, completely or not at all; the state stays."""
    text = manifest_text(read_manifest(path)._replace(info=info))
    files.write_atomically(path / MANIFEST, text)


def latest(folder: Path) -> tuple[Path, list[str]]:
    """The newest undamaged checkpoint, and a line on each newer, damaged one.

    Raises:
        DamagedFileError: none is whole.
    """
    damaged = []
    for path in checkpoints(folder):
        try:
            verify(path)
        except DamagedFileError as error:
            damaged.append(str(error))
        else:
            return path, damaged
    reason = "; ".join(damaged) if damaged else "there is none"
    raise DamagedFileError(f"{folder}: expected a checkpoint, but {reason}; train the run anew")


def verify(path: Path) -> Manifest:
    """Reads a whole checkpoint with little memory.

    Raises:
        DamagedFileError: a file that is not, to the last bit, what was saved.
    """
    manifest = read_manifest(path)
    read_state(path, manifest, None)
    return manifest


def is_whole(path: Path) -> bool:
    try:
        verify(path)
    except DamagedFileError:
        return False
    return True


def replaced(path: Path) -> Path:
    """The name of a checkpoint while another checkpoint replaces it."""
    return path.with_name(path.name + ".replaced")


def put(name: Path, path: Path) -> None:
    """Renames a finished checkpoint. A whole one there steps aside, where it is still found."""
    if path.is_symlink() or path.exists():
        if is_whole(path):
            files.discard(replaced(path))
            os.rename(path, replaced(path))
        else:
            files.discard(path)
    os.rename(name, path)


@contextmanager
def advice(path: Path) -> Iterator[None]:
    """The error with advice on which checkpoint to use."""
    try:
        yield
    except DamagedFileError as error:
        others = (p for p in checkpoints(path.parent) if p.name != path.name and is_whole(p))
        other = next(others, None)
        way = f"{other} is whole" if other else f"{path.parent} holds no other that is whole"
        raise DamagedFileError(f"{error}; {way}") from None


def compare(path: Path, actual: dict[str, str], wanted: dict[str, str]) -> None:
    """Compares the leaves of a file with the wanted leaves.

    Raises:
        DamagedFileError: where they do.
    """
    names = [n for n in sorted(actual.keys() | wanted.keys()) if actual.get(n) != wanted.get(n)]
    if names:
        differences = [
            f"{ascii(n)[1:-1]:.120} (expected {wanted.get(n, 'none')}, "
            f"found {actual.get(n, 'none')})"
            for n in names[:5]
        ]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise DamagedFileError(
            f"{path / STATE} was saved with other settings: {', '.join(differences)}{more}; load "
            "it with the settings and the version in the run's config.json"
        )


def manifest_text(manifest: Manifest) -> bytes:
    """The manifest as written in its file, which begins with the checksum of the rest."""
    content = {
        "checksum": "",
        "format": FORMAT,
        "iteration": manifest.iteration,
        "versions": {name: version(name) for name in ("spinward", "jax", "numpy")},
        "info": manifest.info,
        "files": {STATE: {"bytes": manifest.bytes, "sha256": manifest.sha256}},
        "leaves": manifest.leaves,
    }
    text = json.dumps(content, indent=1).encode() + b"\n"
    if len(text) > MANIFEST_LIMIT - 64:
        raise ValueError(f"a manifest of {len(text)} bytes passes {MANIFEST_LIMIT}; shorten info")
    return OPENING + hashlib.sha256(text).hexdigest().encode() + text[len(OPENING) :]


def read_manifest(path: Path) -> Manifest:
    """The content of a checkpoint's manifest.

    Raises:
        DamagedFileError: it is not, to the last bit, what was saved.
    """
    content = manifests.content(path)
    try:
        return understood(content, path)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(
            f"{path / MANIFEST}: expected a manifest, found {error!r:.120}"
        ) from None


def understood(content: Any, path: Path) -> Manifest:
    """The manifest in this JSON.

    Raises:
        DamagedFileError, ValueError, KeyError, TypeError: it is none.
    """
    if content["format"] != FORMAT:
        raise DamagedFileError(
            f"{path / MANIFEST}: expected format {FORMAT}, found {content['format']!r:.20}, of "
            "another version; upgrade with `git pull` and `pip install -e .`"
        )
    digest = content["files"][STATE]["sha256"]
    manifest = Manifest(content["iteration"], content["info"], content["leaves"], digest)
    kinds = [type(part) for part in manifest]
    if kinds != [int, dict, dict, str]:
        raise TypeError(f"fields of types {kinds}")
    if NAME.fullmatch(path.name) and number(path) != manifest.iteration:
        raise ValueError(f"iteration {manifest.iteration}, not that of its folder")
    if manifest.bytes != content["files"][STATE]["bytes"]:
        raise ValueError(f"{content['files'][STATE]['bytes']!r:.20} bytes, not those of its leaves")
    return manifest


def read_state(path: Path, manifest: Manifest, into: dict[str, np.ndarray] | None) -> None:
    """Reads the arrays into the given ones by name, or nowhere, and checks every byte.

    Raises:
        DamagedFileError: the file's size, head or SHA-256 is not the manifest's.
    """
    file, head = path / STATE, arrays.header(manifest.leaves)
    with opened(file) as (reader, size):
        if size != manifest.bytes:
            raise DamagedFileError(f"{file}: expected {manifest.bytes} bytes, found {size}")
        if reader.read(len(head)) != head:
            raise DamagedFileError(f"{file}: expected the head of its manifest, found another")
        digest = hashlib.sha256(head)
        arrays.read(reader, digest, into)
    if digest.hexdigest() != manifest.sha256:
        raise DamagedFileError(
            f"{file}: expected SHA-256 {manifest.sha256:.12}, found {digest.hexdigest():.12}"
        )
