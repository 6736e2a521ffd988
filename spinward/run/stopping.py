"""What interrupts a run from outside: requests to stop, and a disk that cannot be written to."""

import errno
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spinward.errors import DiskError, SpinwardError
from spinward.run.folders import run_of


@contextmanager
def stopping() -> Iterator[list[int]]:
    """A list that gets an entry at Ctrl-C or SIGTERM; a second signal stops at once."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turns an OSError into a DiskError, which says in one line why a file was not written."""
    try:
        yield
    except OSError as error:
        if isinstance(error, SpinwardError) or error.errno is None:
            raise
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise DiskError(
            f"cannot write {error.filename or folder}: {reason}; the last checkpoint is good: "
            f"when there is room, continue with spinward resume {run_of(folder)}"
        ) from error
