"""Language models in files: a public checkpoint, a GGUF file, or a package's, each read once."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from spinward.errors import DamagedFileError, SettingsError
from spinward.networks.decoder import Decoder

Stamp = tuple[tuple[str, int, int], ...]  # of each file its name, size and time of change


class Model(NamedTuple):
    """A language model and its vocabulary."""

    decoder: Decoder
    vocabulary: Any


def public(name: str) -> Model:
    """The model in the folder of a public checkpoint, in a GGUF file, or in a package.

    Raises:
        SettingsError: there is none, or it has no tokenizer.
        DamagedFileError: a file is corrupt, or a parameter is not finite.
    """
    from spinward.language import gguf

    path = gguf.smollm2() if name == gguf.SMOLLM2 else Path(name)
    if path.suffix != ".gguf" and not path.is_dir():
        raise SettingsError(f"model={name!r}: there is no such folder")
    return opened(name, path.resolve(), stamp(path))


def stamp(path: Path) -> Stamp:
    """The versions of a file, or of the files in a folder: a changed stamp means changed files."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return tuple((str(p), s.st_size, s.st_mtime_ns) for p in files for s in (p.stat(),))


@functools.lru_cache(maxsize=2)
def opened(name: str, path: Path, stamp: Stamp) -> Model:
    """The model at a path; cached until a file changes."""
    from spinward.language import gguf, pretrained, tokenizer

    if path.suffix == ".gguf":
        return finite(name, Model(*gguf.load(path)))
    decoder = pretrained.load(path)
    return finite(name, Model(decoder, tokenizer.load(path, decoder.shape.vocab)))


def finite(name: str, model: Model) -> Model:
    """Raises DamagedFileError for a model with numbers that are not finite."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(model.decoder):
        if not bool(jnp.isfinite(leaf).all()):
            part = jax.tree_util.keystr(path).lstrip(".")
            raise DamagedFileError(f"model={name!r}: {part} has numbers that are not finite")
    return model
