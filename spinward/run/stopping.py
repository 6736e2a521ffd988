"""What interrupts a run from outside: requests to stop, and a disk that cannot be written to."""

import errno
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spinward import interrupts
from spinward.errors import DiskError, SpinwardError
from spinward.run.folders import run_of

DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


@contextmanager
def stopping() -> Iterator[list[int]]:
    """A list that gets an entry at Ctrl-C or SIGTERM. A second signal does what it did before."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: Any) -> None:
        interrupts.answered(number)
        if asked:
            again = before[signal.Signals(number)]
            if callable(again):
                again(number, frame)
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in interrupts.SIGNALS}
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
        run = run_of(folder)
        within = Path(run) in Path(str(error.filename)).parents
        if isinstance(error, SpinwardError) or not (within or error.errno in DISK):
            raise
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise DiskError(
            f"cannot write {error.filename or folder}: {reason}; {interrupts.saved(run)}"
        ) from error
