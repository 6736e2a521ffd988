"""Files that are complete or absent: written under a temporary name, synced, then renamed.

A run's folder may come from anybody, so nothing in it is opened through a symbolic link, and
nothing that is not an ordinary file.
"""

import errno
import hashlib
import itertools
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from spinward import interrupts
from spinward.errors import DamagedFileError, SettingsError

TEMPORARY = re.compile(r"\..+\.(\d+)\.\d+\.tmp")  # .NAME.PROCESS.COUNT.tmp
_count = itertools.count()


def write_atomically(path: Path, data: bytes) -> None:
    """Writes `data` to `path`; on any failure, `path` is unchanged.

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
    interrupts.unfinished.add(str(name.absolute()))
    try:
        yield name
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):  # the first error is the one to tell; the next save cleans up
            remove(name)
        interrupts.unfinished.discard(str(name.absolute()))


def check_new(path: Path) -> None:
    """Raises SettingsError where there is something of this name, if only a link."""
    if os.path.lexists(path):
        raise SettingsError(f"{path} exists; choose another name, or remove it")


def check_new_file(path: Path) -> None:
    """Raises SettingsError where a file of this name cannot be made without harm to another, or
    not at all."""
    check_new(path)
    if not path.parent.is_dir():
        raise SettingsError(f"{path}: there is no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise SettingsError(f"{path}: the folder {path.parent} may not be written to")


def new_folder(folder: Path, contents: dict[str, bytes]) -> None:
    """A new folder with these files. It, and what is missing above it, is there whole or not at
    all.

    Raises:
        FileExistsError: there is something of this name.
        OSError: naming what could not be written.
    """
    if os.path.lexists(folder):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))
    first = folder
    while not first.parent.exists():
        first = first.parent
    try:
        with temporary(first) as name:
            inner = name / folder.relative_to(first)
            inner.mkdir(parents=True)
            for file, data in contents.items():
                write_atomically(inner / file, data)
            os.rename(name, first)
            sync_folder(first.parent)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        new_folder(folder, contents)  # another process made one of the folders meanwhile


@contextmanager
def filled(folder: Path) -> Iterator[Path]:
    """A new folder to write into. Once it is complete, it takes the place of `folder`, which is
    absent or empty."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with temporary(folder) as name:
        name.mkdir()
        yield name
        sync_folder(name)
        os.rename(name, folder)
        sync_folder(folder.parent)


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
        mine = str(path.absolute()) in interrupts.unfinished
        if match and not mine and not lives_elsewhere(int(match[1])):
            with suppress(OSError):  # the next call removes them; until then they do no harm
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


def inside(run: Path, path: Path) -> Path:
    """`path`, of which no part below `run` is a link. The run itself may be reached by one.

    Raises:
        DamagedFileError: a part is one; it is named.
    """
    for part in (path, *path.parents):
        if part == run:
            return path
        if part.is_symlink():
            raise refused(part, "a symbolic link")
    raise ValueError(f"{path} is not in {run}")


def refused(path: Path, what: str) -> DamagedFileError:
    return DamagedFileError(
        f"{path}: expected an ordinary file or folder, found {what}, which no run has; remove it"
    )


def opened(path: Path, run: Path, mode: str) -> BinaryIO:
    """An ordinary file of a run, to read (`rb`), to append to (`ab`), or made anew (`xb`).

    Raises:
        DamagedFileError: it is a link, is reached through one within the run, or is no file.
        OSError: there is none to read, or it may not be opened.
    """
    flags = {"rb": os.O_RDONLY, "ab": os.O_RDWR | os.O_APPEND | os.O_CREAT}
    flags["xb"] = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    inside(run, path)
    safe = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe is not waited for
    try:
        descriptor = os.open(path, flags[mode] | safe, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENOTDIR):
            raise refused(path, f"none ({error.strerror})") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise refused(path, "a folder, a pipe or a device")
    return cast(BinaryIO, open(descriptor, mode.replace("x", "w")))


def read(path: Path, run: Path, limit: int) -> bytes:
    """The bytes of an ordinary file of a run.

    Raises:
        DamagedFileError: it is a link or no file, or has more bytes than the limit.
        FileNotFoundError: there is none.
    """
    with opened(path, run, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise DamagedFileError(f"{path}: expected at most {limit:,} bytes, found {size:,}")
        return file.read(limit)


def numbered(folder: Path) -> list[Path]:
    """The files and folders in a folder that are named by a number, in order."""
    entries = folder.iterdir() if folder.is_dir() else ()
    return sorted(
        (p for p in entries if re.fullmatch(r"[0-9]{1,6}", p.name)), key=lambda p: int(p.name)
    )
