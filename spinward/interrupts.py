"""Ctrl-C and SIGTERM: one sentence on what is saved, exit code 130, and nothing half written.

While a run trains, it saves and ends (`run/stopping.py`). At any other time the process ends inside
the signal handler: an exception raised at an arbitrary line is lost in finalisers and callbacks,
which print it, and breaks imports of C code. Python runs no handler while C code holds the main
thread, as XLA does when it compiles: then a thread ends the process, but not where a run has steps
to save. Little is imported here, so that the handler stands before anything else of the package is
loaded.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

CODE = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM)
unfinished: set[str] = set()  # temporary files and folders of this process, which are removed
_runs: list[str] = []  # the run that is being made or trained, if there is one
PATIENCE_S = 0.7  # for which a handler may not run before the thread ends the process
_handlers: list[Any] = []  # the one that ends the process at once
_answered: list[int] = []  # signals whose handler has run
_saved: list[bool] = [False]  # whether a run that trains has no steps that are not saved
_ending = threading.RLock()  # held by who ends the process, or says that it need not


def set_run(run: Any) -> None:
    """Names the folder of the run that this process makes or trains."""
    _runs[:] = [str(run)]


def install(tell: Callable[[str], None] | None = None) -> None:
    """Lets both signals end this process at once, with a sentence that `tell` gets."""
    tell = tell or say

    def end(number: int, frame: Any) -> None:
        answered(number)
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        end_now(tell)

    for each in SIGNALS:
        signal.signal(each, end)
    _handlers[:] = [end]
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    threading.Thread(target=watch, args=(woken, tell), daemon=True, name="signals").start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def end_now(tell: Callable[[str], None]) -> None:
    """Ends this process with a sentence on what is saved."""
    with _ending:
        try:
            with suppress(Exception):  # as where the module that it needs is half imported
                clean()
            tell(f"stopped at once; {what_is_saved()}")
        finally:
            os._exit(CODE)


def watch(woken: int, tell: Callable[[str], None]) -> None:
    """Ends this process where a signal finds no handler running for `PATIENCE_S`, and nothing is
    lost by it. `woken` gets the number of each signal when it comes."""
    while number := os.read(woken, 1):
        if number[0] not in SIGNALS:
            continue
        count = len(_answered)
        time.sleep(PATIENCE_S)
        with _ending:
            ours = signal.getsignal(number[0]) in _handlers
            if len(_answered) == count and (ours or _saved[0]):
                end_now(tell)


def answered(number: int) -> None:
    """Says that the handler of a signal runs."""
    with _ending:
        _answered.append(number)


def all_saved(whether: bool) -> None:
    """Says whether a run that trains has nothing to save just now, as while it compiles."""
    _saved[0] = whether


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
