"""Arrays by name from public safetensors files: one, or shards with an index."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from spinward.errors import DamagedFileError, SettingsError
from spinward.store import arrays
from spinward.store.files import temporary

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
HEAD = 100_000_000  # bytes of a head, as the format has it
JSON = 2**26  # bytes of a file of settings
DIMENSIONS = 32  # of an array
TYPES = {code: dtype for dtype, code in arrays.CODES.items()}


def read(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint's folder, mapped from the disk.

    Raises:
        SettingsError: the folder has no such files.
        DamagedFileError: a file that is not what its head says.
    """
    if (folder / WHOLE).is_file():
        return read_file(folder / WHOLE)
    if not (folder / INDEX).is_file():
        raise SettingsError(f"{folder} has neither {WHOLE} nor {INDEX}")
    where = read_json(folder / INDEX).get("weight_map")
    if not isinstance(where, dict) or not all(isinstance(v, str) for v in where.values()):
        raise DamagedFileError(f"{folder / INDEX} is damaged: it has no weight_map")
    if outside := [v for v in where.values() if Path(v).name != v]:
        raise DamagedFileError(f"{folder / INDEX} names a file elsewhere: {outside[0]!a:.80}")
    shards = {name: read_file(folder / name) for name in sorted(set(where.values()))}
    if lacking := [name for name, shard in where.items() if name not in shards[shard]]:
        raise DamagedFileError(f"{folder}: {where[lacking[0]]} lacks {lacking[0]}")
    return {name: shards[shard][name] for name, shard in where.items()}


def read_file(path: Path) -> dict[str, np.ndarray]:
    """The arrays of one file, mapped into memory."""
    if not path.is_file():
        raise SettingsError(f"{path} does not exist")
    data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
    size = int.from_bytes(data[:8].tobytes(), "little")
    if len(data) < 8 or size > min(len(data) - 8, HEAD):
        raise DamagedFileError(f"{path} is no safetensors file, or is cut off")
    body = data[8 + size :]
    try:
        entries = json.loads(data[8 : 8 + size].tobytes(), object_pairs_hook=once)
        entries.pop("__metadata__", None)
        check_apart([entry["data_offsets"] for entry in entries.values()])
        return {name: part(body, **entry) for name, entry in entries.items()}
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise DamagedFileError(f"{path} is damaged: {error!a:.120}") from None


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without duplicate names."""
    by_name = dict(pairs)
    if len(by_name) < len(pairs):
        raise ValueError("a name comes twice")
    return by_name


def check_apart(places: list[list[int]]) -> None:
    """Raises ValueError where two arrays overlap."""
    ordered = sorted((start, end) for start, end in places if start != end)
    for (_, end), (start, _) in itertools.pairwise(ordered):
        if start < end:
            raise ValueError(f"two arrays lie over one another at byte {start}")


def part(body: np.ndarray, dtype: str, shape: list[int], data_offsets: list[int]) -> np.ndarray:
    """One array of a file's body; raises ValueError, TypeError or KeyError if it does not fit."""
    if not isinstance(shape, list) or len(shape) > DIMENSIONS:
        raise ValueError(f"a shape of {len(shape)} numbers")
    if odd := [n for n in (*shape, *data_offsets) if type(n) is not int or not 0 <= n < 2**63]:
        raise ValueError(f"{odd[0]!a:.40} is no size")
    start, end = data_offsets
    kind = TYPES[dtype]
    if not 0 <= start <= end <= len(body) or end - start != kind.itemsize * math.prod(shape):
        raise ValueError(f"{dtype}{shape} does not lie at {data_offsets} of {len(body)} bytes")
    return body[start:end].view(kind).reshape(shape)


def write(folder: Path, named: dict[str, Any]) -> None:
    """Writes these arrays to `model.safetensors` in a folder."""
    with temporary(folder / WHOLE) as name:
        arrays.write(name, named)
        name.replace(folder / WHOLE)


def read_json(path: Path) -> dict[str, Any]:
    """The content of a file that holds one JSON object.

    Raises:
        SettingsError: there is no such file.
        DamagedFileError: it holds something else, or too much.
    """
    if not path.is_file():
        raise SettingsError(f"{path} does not exist")
    if path.stat().st_size > JSON:
        raise DamagedFileError(f"{path} has more than {JSON} bytes")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path} is damaged: {error!a:.120}") from None
    if not isinstance(content, dict):
        raise DamagedFileError(f"{path} is damaged: expected an object")
    return content
