"""The seeds of a run as shards. Each shard is a process that advances, logs and saves by itself.

With shards, seeds use several cores of a CPU: an XLA client with several threads is slower than a
client with one. The results of a shard do not depend on the number of cores or on the process that
runs the shard, and a shard is resumed by itself.
"""

import contextlib
import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spinward import interrupts
from spinward.errors import SettingsError, SpinwardError, Stopped
from spinward.run.asking import asking
from spinward.run.assemble import Assembled
from spinward.run.between import both
from spinward.run.drive import drive
from spinward.run.experiment import Experiment
from spinward.run.folders import folders, run_of
from spinward.run.stopping import disk_errors, stopping
from spinward.run.watching import STOP, Options, Point, Watch
from spinward.store import files
from spinward.store.points import Tail, merged

POLL_S = 0.1
TAIL = 2**16  # bytes at the end of a process's standard error
KINDS = {kind.__name__: kind for kind in SpinwardError.__subclasses__()}


def train(made: Assembled, run: Path, options: Options, trust: bool) -> None:
    """Trains all shards to their end: a single shard in this process, several in child processes.

    Raises:
        SettingsError: a hook between chunks and several shards.
    """
    count = len(made.shards)
    if count > 1 and options.between is not None:
        raise SettingsError(f"between works in one process, and this run has {count}: shards=1")
    for i in range(count):
        files.inside(run, run / "shards" / str(i)).mkdir(parents=True, exist_ok=True)
    folders(run)  # raises where a folder holds a link
    if count == 1:
        train_one(made, made.shards[0], run / "shards" / "0", options, keeps_error=True)
    else:
        supervise(made, run, options, trust)


def train_one(
    made: Assembled, shard: Experiment, folder: Path, options: Options, keeps_error: bool = False
) -> None:
    """Trains a shard in this process, whose error is kept in the folder if `keeps_error`: that of
    a child process is in its standard error, which is in the folder already."""
    run, keeper = run_of(folder), error_kept if keeps_error else contextlib.nullcontext
    with disk_errors(folder), alone(folder), keeper(folder), asking(made, shard, run) as hook:
        drive(made, shard, folder, options._replace(between=both(hook, options.between)))


@contextlib.contextmanager
def error_kept(folder: Path) -> Iterator[None]:
    """Writes the error that ends a run of one process where a page of runs looks for it."""
    path = files.inside(run_of(folder), folder / "stderr")
    path.unlink(missing_ok=True)
    try:
        yield
    except SpinwardError as error:
        if not isinstance(error, Stopped):
            said = {"kind": type(error).__name__, "message": str(error)}
            with contextlib.suppress(OSError):  # the error itself is the one to tell
                files.write_atomically(path, f"{json.dumps(said)}\n".encode())
        raise


@contextlib.contextmanager
def alone(folder: Path, wait_s: float = 20.0) -> Iterator[None]:
    """Holds a shard's lock. The lock is released when the process ends in any way.

    Raises:
        SettingsError: another process is training this run.
    """
    with files.opened(folder / "lock", run_of(folder), "ab") as file:
        until = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise SettingsError(
                        f"{run_of(folder)} is being trained by another process"
                    ) from None
                time.sleep(POLL_S)
        yield


def supervise(made: Assembled, run: Path, options: Options, trust: bool) -> None:
    """Runs the shards as processes, reports their progress, and ends with the first failure."""
    words = [sys.executable, "-m", "spinward.run.shard"]
    words += [str(run), str(options.checkpoint_s), str(trust), str(options.older)]
    progress = MergedProgress(made, run, options.watch)
    with contextlib.ExitStack() as stack, stopping() as asked:
        children = [stack.enter_context(child(words, run, i)) for i in range(len(made.shards))]
        forwarded = False
        while any(c.poll() is None for c in children):
            time.sleep(POLL_S)
            with saved_first(children):
                if progress.report() == STOP:
                    asked.append(0)
            failed = any(c.poll() not in (None, 0) for c in children)
            if (asked or failed) and not forwarded:
                forwarded = True
                for c in children:
                    c.terminate()  # the child saves and stops
        progress.report()
    codes = [c.returncode for c in children]
    for kind in (failed_by_itself, killed):  # the cause before its consequences
        if wrong := [c for c in codes if kind(c)]:
            raise failure(run / "shards" / str(codes.index(wrong[0])), wrong[0])
    if any(codes):
        raise Stopped(f"stopped; {interrupts.saved(run)}")


@contextlib.contextmanager
def saved_first(children: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Lets the shards save and stop before an error of the watcher is raised."""
    try:
        yield
    except Exception:
        for c in children:
            c.terminate()
        for c in children:
            c.wait()
        raise


def failed_by_itself(code: int) -> bool:
    """Whether a process ended with an error of its own."""
    return code > 0 and code != Stopped.exit_code


def killed(code: int) -> bool:
    return code < 0


@contextlib.contextmanager
def child(words: list[str], run: Path, i: int) -> Iterator[subprocess.Popen[bytes]]:
    """The process of a shard. When this process ends, the child reads the end of its input and
    stops.

    The child has its own session, so that Ctrl-C reaches the child once, through this process.
    """
    path = files.inside(run, run / "shards" / str(i) / "stderr")
    path.unlink(missing_ok=True)  # a hard link to the file keeps its content
    with files.opened(path, run, "xb") as file:
        command = [*words, str(i)]
        with interrupts.held_back():
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stderr=file, start_new_session=True
            )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class MergedProgress:
    """Gives the watcher each log point that all shards have reached."""

    def __init__(self, made: Assembled, run: Path, watch: Watch):
        self.run, self.watch, self.stride = run, watch, made.stride
        self.iterations, _ = made.experiment.plan(self.stride)
        places = [run / "shards" / str(i) / "metrics.jsonl" for i in range(len(made.shards))]
        self.logs = [Tail(place, run) for place in places]
        self.waiting: list[list[dict[str, Any]]] = [[] for _ in places]
        before = self.new_points()
        self.began, self.first = time.monotonic(), before[-1]["iteration"] if before else 0

    def new_points(self) -> list[dict[str, Any]]:
        """The new log points that all shards have reached."""
        for waiting, log in zip(self.waiting, self.logs, strict=True):
            waiting += log.read()
        count = min(map(len, self.waiting))
        lines = list(zip(*(waiting[:count] for waiting in self.waiting), strict=True))
        self.waiting = [waiting[count:] for waiting in self.waiting]
        return [merged(self.run, line) for line in lines]

    def report(self) -> Any:
        """The watcher's answer to the last new log point."""
        answer = None
        for line in self.new_points():
            done = line["iteration"] - self.first
            seconds, steps = time.monotonic() - self.began, self.iterations * self.stride
            at = line["iteration"], self.iterations, line["env_steps"], steps
            answer = self.watch(Point(*at, line, seconds, done))
        return answer


def failure(folder: Path, code: int) -> SpinwardError:
    """The error of a shard's process, read from its standard error."""
    with files.opened(folder / "stderr", run_of(folder), "rb") as file:
        file.seek(max(0, file.seek(0, 2) - TAIL))
        text = file.read().decode(errors="replace").strip().splitlines()
    with contextlib.suppress(ValueError, IndexError, KeyError, TypeError):
        failure_read = json.loads(text[-1])
        return KINDS.get(failure_read["kind"], SpinwardError)(failure_read["message"])
    last = f": {text[-1]}" if text else ""
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return SpinwardError(f"the process of {folder} {how}{last}; {interrupts.saved(run_of(folder))}")
