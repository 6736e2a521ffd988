"""The files of an RLDS data set, and what TensorFlow Datasets says of its features."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from spinward.errors import DamagedFileError, SettingsError
from spinward.store import files

LIMIT = 2**24  # bytes of the description of features
SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})")


class RecordFiles(NamedTuple):
    """The files of a data set, and the shapes [of a step] of features that are described."""

    files: list[Path]
    shapes: dict[str, tuple[int, ...]]


def files_of(path: Path) -> list[Path]:
    """The TFRecord files at a path, in their order; none where it has none."""
    if path.is_file():
        return [path] if ".tfrecord" in path.name else []
    return sorted(p for p in path.glob("*.tfrecord*") if p.is_file()) if path.is_dir() else []


def source_of(path: Path) -> RecordFiles:
    """The files at a path, all of which are there.

    Raises:
        SettingsError: they are of several splits.
        DamagedFileError: one is missing, or the description of the features is none.
    """
    paths = files_of(path)
    folder = path if path.is_dir() else path.parent
    names = {p.name for p in paths}
    stems = {m[1] for p in paths if path.is_dir() and (m := SHARD.fullmatch(p.name))}
    if len(stems) > 1:
        raise SettingsError(
            f"{path} has the splits {', '.join(sorted(stems))}: put the files of each in a folder "
            "of its own, and read one"
        )
    for one in paths if path.is_dir() else ():
        if match := SHARD.fullmatch(one.name):
            for number in range(int(match[3])):
                other = f"{match[1]}-{number:05d}-of-{match[3]}"
                if other not in names:
                    raise DamagedFileError(f"{folder / other} is missing: there are {match[3]}")
    description = folder / "features.json"
    if not description.is_file():
        return RecordFiles(paths, {})
    try:
        content = json.loads(files.read(description, folder, LIMIT))
        if "featuresDict" not in content:
            raise ValueError("paths no featuresDict")
        return RecordFiles(paths, dict(described(content, "")))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DamagedFileError(f"{description}: expected features, {error!r:.120}") from None


def described(content: dict[str, Any], name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The shapes in a description of features, as TensorFlow Datasets writes it."""
    if "featuresDict" in content:
        for key, part in content["featuresDict"]["features"].items():
            yield from described(part, f"{name}/{key}" if name else key)
    elif "sequence" in content:
        yield from described(content["sequence"]["feature"], name)
    elif kind := next((k for k in ("tensor", "image") if k in content), ""):
        shape = content[kind].get("shape", {}).get("dimensions", [])
        yield name, tuple(int(n) for n in shape)
