"""Ctrl-C and SIGTERM: one sentence on what is saved, exit code 130, and nothing half written.

While a run trains, it saves and ends (`run/stopping.py`). At any other time the process ends inside
the signal handler: an exception raised at an arbitrary line is lost in finalisers and callbacks,
which print it, and breaks imports of C code. Little is imported here, so that the handler stands
before anything else of the package is loaded.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

CODE = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM)
unfinished: set[str] = set()  # temporary files and folders of this process, which are removed
_runs: list[str] = []  # the run that is being made or trained, if there is one


def set_run(run: Any) -> None:
    """Names the folder of the run that this process makes or trains."""
    _runs[:] = [str(run)]


def install(tell: Callable[[str], None] | None = None) -> None:
    """Lets both signals end this process at once, with a sentence that `tell` gets."""
    tell = tell or say

    def end(number: int, frame: Any) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        try:
            with suppress(Exception):  # as where the module that it needs is half imported
                clean()
            tell(f"stopped at once; {what_is_saved()}")
        finally:
            os._exit(CODE)

    for each in SIGNALS:
        signal.signal(each, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def say(line: str) -> None:
    """Writes a line to standard error, past Python's buffers."""
    os.write(2, f"spinward: {line}\n".encode())


def what_is_saved() -> str:
    """`saved`, or how to find out where it cannot be read just now."""
    try:
        return saved(*_runs)
    except Exception:
        return f"go on from what is saved with: spinward resume {_runs[0]}"


def clean() -> None:
    """Removes the temporary files and folders that this process is writing."""
    if not unfinished:
        return
    from shutil import rmtree

    for name in list(unfinished):
        if os.path.isdir(name) and not os.path.islink(name):
            rmtree(name, ignore_errors=True)
        else:
            with suppress(OSError):
                os.unlink(name)


def ended() -> None:
    """Ignores both signals from here on: the command is done, and only Python is left to end."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)


@contextmanager
def raised() -> Iterator[None]:
    """Lets both signals raise KeyboardInterrupt, for a server that they end."""
    before = {each: signal.signal(each, signal.default_int_handler) for each in SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def held_back() -> Iterator[None]:
    """Starts processes that receive neither signal until they ask for it, so that neither ends
    them while Python starts. This process receives its own afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def saved(run: Any = "") -> str:
    """What is on disk of a run, and how it goes on; read from its folder alone."""
    if not run:
        return "no file is left in part"
    if not os.path.exists(os.path.join(run, "config.json")):
        return "the run was not begun, and nothing is written"
    steps = [steps_of(shard) for shard in shards(os.path.join(run, "shards"))]
    if not any(steps):
        return f"no step is saved yet; begin anew with: spinward resume {run}"
    return f"{min(steps):,} steps of each seed are saved; continue with: spinward resume {run}"


def shards(folder: str) -> list[str]:
    """The folders of a run's shards."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [os.path.join(folder, name) for name in sorted(names) if name.isdecimal()]


def steps_of(shard: str) -> int:
    """The steps of each seed in the newest checkpoint of a shard; 0 where there is none."""
    from json import loads

    folder = os.path.join(shard, "checkpoints")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    newest = max((name for name in names if name.isdecimal()), default="")
    try:
        with open(os.path.join(folder, newest, "manifest.json"), "rb") as file:
            return int(loads(file.read())["info"]["env_steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
