"""Opens HDF5 files as untrusted ones: nothing outside of a file is read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spinward.errors import DamagedFileError, SettingsError, install

LARGEST = 2**30  # bytes of a block of values that are read at once


def h5py() -> Any:
    """The module h5py.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise SettingsError(f"HDF5 files need h5py: {install('h5py')}") from None
    return h5py


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An HDF5 file to read.

    Raises:
        DamagedFileError: it is none, was cut, or cannot be read further on.
    """
    module = h5py()
    try:
        with module.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, DamagedFileError | SettingsError):
            raise
        what = " ".join(str(error).split())[:160]
        raise DamagedFileError(f"{path} cannot be read as an HDF5 file: {what}") from None


def dataset(path: Path, group: Any, name: str) -> Any:
    """An array of numbers in a group, as h5py has it.

    Raises:
        DamagedFileError: there is none, it is a link, or its values are elsewhere or no numbers.
    """
    module = h5py()
    link = group.get(name, getlink=True)
    if link is None:
        raise DamagedFileError(f"{path}: {group.name} lacks {name}; it has {', '.join(group)}")
    if not isinstance(link, module.HardLink):
        raise DamagedFileError(f"{path}: {name} is a link, which is not followed")
    entry = group[name]
    if not isinstance(entry, module.Dataset) or entry.is_virtual or entry.external:
        raise DamagedFileError(f"{path}: {name} is no array in this file")
    if entry.dtype.kind not in "fiub":
        raise DamagedFileError(f"{path}: {name} has values of type {entry.dtype}, not numbers")
    return entry


def subgroup(path: Path, group: Any, name: str) -> Any:
    """A group within a group, which is no link."""
    module = h5py()
    link = group.get(name, getlink=True)
    if not isinstance(link, module.HardLink) or not isinstance(group[name], module.Group):
        raise DamagedFileError(f"{path}: expected the group {name} in {group.name}")
    return group[name]


def values(path: Path, entry: Any, rows: slice = slice(None)) -> Any:
    """Rows of an array, if they are not more than fits in memory."""
    first, end, _ = rows.indices(len(entry))
    size = (end - first) * entry.dtype.itemsize
    for n in entry.shape[1:]:
        size *= n
    if size > LARGEST:
        raise DamagedFileError(f"{path}: {entry.name} has {size:,} bytes in one place; not read")
    return entry[rows]
