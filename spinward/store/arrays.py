"""The leaves of a tree in one safetensors file: named, written in order, read and hashed."""

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np

from spinward.store import files

CHUNK = 2**20  # bytes read at once
CODES = {  # the format's names of types
    np.dtype(kind): code
    for code, kind in {
        "BOOL": bool, "U8": np.uint8, "I8": np.int8, "U16": np.uint16, "I16": np.int16,
        "U32": np.uint32, "I32": np.int32, "U64": np.uint64, "I64": np.int64,
        "F16": np.float16, "BF16": jnp.bfloat16, "F32": np.float32, "F64": np.float64,
    }.items()
}  # fmt: skip
DTYPES = {dtype.name: dtype for dtype in CODES}
RENAMED = {  # parts of the names of leaves in older states
    "apart": "distance",
    "deviation": "std",
    "judge": "reward_state",
    "there": "present",
    "told": "context",
}
KIND = re.compile(r"(\w+)\[((?:\d{1,18}(?:,\d{1,18}){0,31})?)\]", re.ASCII)


def named(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their path, such as `agent.learner.model.actor.layers.0.w`.

    Raises:
        TypeError: two leaves of one name, as of {"a.b": x, "a": {"b": y}}.
    """
    pairs = jax.tree_util.tree_flatten_with_path(tree)[0]
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in pairs]
    if len(set(names)) < len(names) or "__metadata__" in names:
        raise TypeError(f"the leaves of a state need names of their own, found {sorted(names)}")
    return dict(zip(names, (leaf for _, leaf in pairs), strict=True))


def current(name: str) -> str:
    """The present name of a leaf of an older state."""
    return ".".join(RENAMED.get(part, part) for part in name.split("."))


def is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def stored(leaf: Any) -> Any:
    """A leaf as stored on disk: an array with NumPy's shape and dtype, or the numbers of a typed
    key."""
    if is_key(leaf):
        return jax.random.key_data(leaf)
    return leaf if hasattr(leaf, "dtype") else np.asarray(leaf)


def shape_of(leaf: Any) -> Any:
    """The shape and dtype of a leaf on disk."""
    return jax.eval_shape(jax.random.key_data, leaf) if is_key(leaf) else stored(leaf)


def restored(array: np.ndarray, like: Any) -> Any:
    """A leaf from an array on disk: the array itself, or a typed key."""
    if not is_key(like):
        return array
    impl = jax.random.key_impl(jnp.empty((0,), like.dtype))  # `like` may be a shape alone
    return jax.random.wrap_key_data(jnp.asarray(array), impl=impl)


def kind(leaf: Any) -> str:
    """Type and shape in one word: `float32[4,64]`.

    Raises:
        TypeError: a type that the file cannot hold.
    """
    if leaf.dtype not in CODES:
        raise TypeError(f"cannot save an array of type {leaf.dtype}; use one of {list(DTYPES)}")
    return f"{np.dtype(leaf.dtype).name}[{','.join(map(str, leaf.shape))}]"


def parsed(text: str) -> tuple[np.dtype, tuple[int, ...]]:
    """The type and shape that `kind` put into a word.

    Raises:
        ValueError: it is no such word.
    """
    match = KIND.fullmatch(text)
    if not match or match[1] not in DTYPES:
        raise ValueError(f"{text!a:.80} is no type and shape")
    return DTYPES[match[1]], tuple(int(n) for n in match[2].split(",") if n)


def size(text: str) -> int:
    """The bytes of a leaf of this kind."""
    dtype, shape = parsed(text)
    return dtype.itemsize * math.prod(shape)


def header(kinds: dict[str, str]) -> bytes:
    """The header of a file with leaves of these kinds, in the order of their names."""
    entries, start = {}, 0
    for name in sorted(kinds):
        dtype, shape = parsed(kinds[name])
        end = start + size(kinds[name])
        entries[name] = {"dtype": CODES[dtype], "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def write(path: Path, leaves: dict[str, Any]) -> str:
    """Writes and syncs a file, one leaf in memory at a time, and returns its SHA-256."""
    head = header({name: kind(leaf) for name, leaf in leaves.items()})
    digest = hashlib.sha256(head)
    with open(path, "xb") as file:
        file.write(head)
        for name in sorted(leaves):
            data = view(np.ascontiguousarray(np.asarray(leaves[name])))
            digest.update(data)
            file.write(data)
        file.flush()
        files.sync(file.fileno())
    return digest.hexdigest()


def read(reader: BinaryIO, digest: Any, arrays: dict[str, np.ndarray] | None) -> None:
    """Reads the bytes after the header into `arrays`, if given, and adds them to the digest."""
    if arrays is None:
        while chunk := reader.read(CHUNK):
            digest.update(chunk)
        return
    for name in sorted(arrays):
        data = view(arrays[name])
        reader.readinto(data)  # type: ignore[attr-defined]
        digest.update(data)


def view(array: np.ndarray) -> memoryview:
    """The bytes of an array, not copied."""
    return array.reshape(-1).view(np.uint8).data
