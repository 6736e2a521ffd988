"""Files that are whole or absent: written under a temporary name, synced, then renamed."""

import hashlib
import itertools
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TEMPORARY = re.compile(r"\..+\.(\d+)\.\d+\.tmp")  # .NAME.PROCESS.COUNT.tmp
_count = itertools.count()
_writing: set[Path] = set()  # what this process is at work on


def write_atomically(path: Path, data: bytes) -> None:
    """Makes `path` hold `data`, or leaves it as it was, however this ends.

    Raises:
        OSError: naming `path`, where the disk is full or may not be written to.
    """
    with temporary(path) as name:
        with open(name, "xb") as file:
            file.write(data)
            sync(file.fileno())
        os.replace(name, path)
        sync_folder(path.parent)


@contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """A name beside `path` for what shall be renamed to it; what is left of it is removed.

    An OSError from within is raised anew with `path` as the file it is about.
    """
    name = path.parent / f".{path.name}.{os.getpid()}.{next(_count)}.tmp"
    _writing.add(name.absolute())
    try:
        yield name
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):  # the first error is the one to tell; the next save cleans up
            remove(name)
        _writing.discard(name.absolute())


def discard(path: Path) -> None:
    """Removes a file or folder, which is at no moment there in part under its own name."""
    with temporary(path) as name, suppress(FileNotFoundError):
        os.rename(path, name)


def remove(path: Path) -> None:
    """Removes a file, a link (not what it points at) or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files and folders of processes that were killed."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        match = TEMPORARY.fullmatch(path.name)
        if match and path.absolute() not in _writing and not lives_elsewhere(int(match[1])):
            with suppress(OSError):  # left for the next time: they harm nobody
                remove(path)


def lives_elsewhere(process: int) -> bool:
    """Whether this is the number of another process that runs."""
    if process == os.getpid():
        return False
    if os.name == "nt":  # there, signal 0 would interrupt it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def sync(descriptor: int) -> None:
    """Waits until an open file is on the disk."""
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk."""
    if os.name == "nt":  # which cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
