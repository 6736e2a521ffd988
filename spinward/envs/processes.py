"""Worker processes, seen from the process that starts them."""

import contextlib
import json
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from spinward import interrupts
from spinward.envs import workers
from spinward.errors import EnvironmentFailedError, SettingsError, install

# The folder of this file under another name, so that the package itself, and JAX, stay out.
PROGRAM = """
import sys, types
package = types.ModuleType("spinward_worker")
package.__path__ = [sys.argv[1]]
sys.modules["spinward_worker"] = package
from spinward_worker.workers import main
main(int(sys.argv[2]))
"""


LOOK_S = 1.0  # at most between two looks at a worker that has not answered
LONGER = "; --timeout SECONDS waits longer"


class EnvWorker(NamedTuple):
    process: subprocess.Popen[bytes]
    link: socket.socket


class Lost(Exception):
    """A worker that died or had to be killed, and why."""


def start(settings: dict[str, Any], share: int | None = None) -> EnvWorker:
    """A worker process with a request.

    Raises:
        SettingsError: the settings hold something that cannot be sent to another process.
    """
    try:
        message = pickle.dumps(
            settings | {"sys_path": [entry or os.getcwd() for entry in sys.path]}
        )
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise SettingsError(f"kwargs cannot be sent to a worker process: {error}") from error
    ours, theirs = socket.socketpair()
    descriptors = [theirs.fileno(), *([share] if share is not None else [])]
    command = [sys.executable, "-P", "-c", PROGRAM, str(Path(__file__).parent)]
    with interrupts.held_back():
        process = subprocess.Popen(
            [*command, str(theirs.fileno())],
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=2,  # standard output is for the answers of commands
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    theirs.close()
    with contextlib.suppress(OSError):  # a worker that is dead already is found when it is read
        ours.sendall(struct.pack("<I", len(message)) + message)
    return EnvWorker(process, ours)


def answer(
    worker: EnvWorker, timeout_s: float, began: float, progress: Callable[[], Any] = lambda: None
) -> dict[str, Any] | None:
    """What a worker has to say: nothing, if all went well.

    `progress` returns a value that changes whenever the worker gets on. `began` is the time of the
    request.

    Raises:
        Lost: it died, or made no progress for `timeout_s`. Time in which it waited for a core of a
            busy machine does not count.
    """
    try:
        if first_byte(worker, timeout_s, began, progress) == b"k":
            return None
        worker.link.settimeout(timeout_s)
        length = struct.unpack("<I", workers.receive(worker.link, 4))[0]
        return json.loads(workers.receive(worker.link, length))
    except TimeoutError:
        raise Lost("hung") from None
    except ConnectionError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = worker.process.wait(2.0)
            if code < 0:
                raise Lost(f"killed by {signal.Signals(-code).name}") from None
            raise Lost(f"exited with code {code}") from None
        raise Lost("closed its connection") from None


def first_byte(
    worker: EnvWorker, timeout_s: float, began: float, progress: Callable[[], Any]
) -> bytes:
    since, first, seen, queued = began, True, None, 0.0
    while True:
        try:
            left = since + timeout_s - time.monotonic()
            worker.link.settimeout(max(min(left, timeout_s / 4, LOOK_S), 1e-3))
            return worker.link.recv(1)
        except TimeoutError:
            state, now = progress(), time.monotonic()
            if first:
                first, seen, queued = False, state, queued_s(worker.process.pid)
            if state != seen:
                since, seen = now, state
            waited = queued_s(worker.process.pid) - queued
            since, queued = min(since + waited, now), queued + waited
            if now >= since + timeout_s:
                raise


def queued_s(pid: int) -> float:
    """Seconds for which a process was ready to run and had no core; 0 where nobody counts them."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def stop(running: list[EnvWorker], shared_file: int | None = None) -> None:
    """Ends workers, with a moment for each to close its environments, and frees their memory."""
    for worker in running:
        worker.link.close()
    deadline = time.monotonic() + 1.0
    for worker in running:
        try:
            worker.process.wait(max(deadline - time.monotonic(), 0.01))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
    running.clear()
    if shared_file is not None:
        with contextlib.suppress(OSError):
            os.close(shared_file)


def ask(name: str, settings: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """The answer of a worker that does one thing and ends.

    Raises:
        EnvironmentFailedError: the environment raised, hung or died.
        SettingsError: the environment cannot be opened, or has spaces that cannot be used.
    """
    worker = start(settings)
    try:
        reply = answer(worker, timeout_s, time.monotonic())
    except Lost as lost:
        when = " when it was opened and reset" if settings["task"] == "describe" else ""
        hung = str(lost) == "hung"
        fate = f"hung for {timeout_s:g} s{when}" if hung else f"died{when}: {lost}"
        fate += LONGER if hung and when else ""
        raise EnvironmentFailedError(f"{name} {fate}") from None
    finally:
        worker.process.kill()
        stop([worker])
    if reply is None or "error" in reply:
        raise worded(name, reply["error"] if reply else {})
    return reply


def worded(name: str, error: dict[str, Any]) -> Exception:
    """The error to raise for the failure that a worker reported."""
    if error["unsupported"]:
        return SettingsError(f"{name}: {error['message']}")
    if error["missing"] and error["method"] == "__init__":
        return SettingsError(f"{name} needs what is not installed: {with_extra(error['message'])}")
    # No step has been made when the first reset fails.
    after = f" after step {error['count']}" if error["count"] else ""
    step = error["method"] == "step"
    where = f"step {error['count']}" if step else f"{error['method']}{after}"
    env = f"env {error['env']} of {name}"
    if error["kind"] == "fault":
        text = f"{env} {'at' if step else 'in'} {where}: {error['message']}"
    else:
        text = f"{env} raised in {where}: {error['kind']}: {error['message']}{error['place']}"
    failed = EnvironmentFailedError(text)
    failed.details = error["details"]  # type: ignore[attr-defined]
    return failed


def memory_of(size: int) -> int:
    """A descriptor of so many bytes of memory that has no name, so that nothing can be left."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("spinward")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


def with_extra(message: str) -> str:
    """What Gymnasium says of a missing package, with our command in place of its own."""
    for module in ("Box2D", "mujoco"):
        if message.lower().startswith(module.lower()):
            return f"{module} is not installed: {install(module)}"
    return message
