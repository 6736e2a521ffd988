"""Commands as processes of their own, forked from one that has imported everything but has started
no device: so one costs no start of Python and of JAX."""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from spinward import interrupts


class Ended(NamedTuple):
    code: int  # negative: the signal that ended it
    said: str  # on standard error
    seconds: float


def warm() -> None:
    """Imports what the commands import."""
    import jax  # noqa: F401
    import optax  # noqa: F401
    from jax._src import xla_bridge

    from spinward.algorithms import dqn, ppo  # noqa: F401
    from spinward.cli import evaluate, main, report, resume, train  # noqa: F401
    from spinward.envs import cartpole  # noqa: F401
    from spinward.presets import choice  # noqa: F401
    from spinward.report import results  # noqa: F401
    from spinward.run import run  # noqa: F401

    assert not xla_bridge._backends, "a process with a device cannot be forked"


def fork(words: list[str], place: Path, before: Callable[[], None] = lambda: None) -> int:
    """Starts a command in a process, which does something `before`; returns its number. No signal
    reaches it before the command takes it, as in a process that has just begun."""
    sys.stdout.flush()
    sys.stderr.flush()
    with interrupts.held_back():
        pid = os.fork()
        if pid:
            return pid
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, interrupts.SIGNALS)
        os.setsid()
        for number, name in ((1, "stdout"), (2, "stderr")):
            opened = os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(opened, number)
        from spinward.cli import main

        sys.argv = ["spinward", *words]
        before()
        code = main.main()
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def ended(pid: int, place: Path, began: float, limit_s: float = 120.0) -> Ended:
    """Waits for a process, which is killed where it takes too long."""
    while time.monotonic() < began + limit_s:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            said = (place / "stderr").read_text(errors="replace")
            return Ended(os.waitstatus_to_exitcode(status), said, time.monotonic() - began)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return Ended(-9, f"it did not end in {limit_s} s", limit_s)


def done(words: list[str], place: Path, before: Callable[[], None] = lambda: None) -> Ended:
    """A command from its begin to its end."""
    began = time.monotonic()
    return ended(fork(words, place, before), place, began)


class Resumer:
    """A process that goes on with runs, one after another, and compares what they end with."""

    def __init__(self) -> None:
        here, there = socket.socketpair()
        if os.fork() == 0:
            here.close()
            self.serve(there.makefile("rw"))
            os._exit(0)
        there.close()
        self.link = here.makefile("rw")

    def resume(self, run: Path, whole: Path) -> str:
        """`resumed` where a run goes on to the bytes of another one; otherwise what went wrong."""
        self.link.write(json.dumps([str(run), str(whole)]) + "\n")
        self.link.flush()
        return json.loads(self.link.readline())

    @staticmethod
    def serve(link: Any) -> None:
        from campaigns.faults.commands import learned
        from spinward.run.run import load

        for line in link:
            run, whole = map(Path, json.loads(line))
            try:
                load(run).train(trust=True)
                same = learned(run) == learned(whole)
                answer = "resumed" if same else "resumed to other bytes"
            except Exception as error:
                answer = f"refused: {type(error).__name__}: {error}"
            link.write(json.dumps(answer) + "\n")
            link.flush()
