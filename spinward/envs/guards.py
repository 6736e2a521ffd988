"""Guards between a broken environment and a run: a finite check and a watchdog."""

import contextlib
import ctypes
import math
import os
import signal
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from spinward.core import MASK, Obs
from spinward.errors import EnvironmentFailedError, NonFiniteError

GRACE_S = 1.0  # between asking a hung step to stop and ending the process
EXIT_CODE = EnvironmentFailedError.exit_code


def require_finite(name: str, obs: Obs, reward: np.ndarray, count: Callable[[int], int]) -> None:
    """Passes if all is finite. `count` says how many steps an environment has been open.

    Raises:
        NonFiniteError: naming the first entry that is not.
    """
    parts = obs if isinstance(obs, dict) else {"": obs}
    # A sum of squares is finite only if all its terms are, and warns of nothing.
    total = float(np.vdot(reward, reward))
    for value in parts.values():
        if value.dtype.kind == "f":
            total += float(np.vdot(value, value))
    if math.isfinite(total):
        return
    for part, value in [*parts.items(), ("reward", reward)]:
        if value.dtype.kind != "f" or np.isfinite(value).all():
            continue  # the sum of squares alone has overflowed
        env, *index = (int(i) for i in np.argwhere(~np.isfinite(value))[0])
        bad_value = value[(env, *index)]
        label = "reward" if value is reward else f"observation{[part] if part else ''}"
        place = f"[{', '.join(map(str, index))}]" if index else ""
        raise NonFiniteError(
            f"{label}{place} of env {env} of {name} is {bad_value} at step {count(env)} "
            "(expected finite numbers)"
        )


def require_choice(name: str, obs: Obs, count: Callable[[int], int]) -> None:
    """Passes if in each of `obs`, which is to be acted on, some action is allowed.

    Raises:
        EnvironmentFailedError: a mask forbids all of them.
    """
    if isinstance(obs, dict) and MASK in obs:
        stuck = ~(obs[MASK] != 0).any(-1)
        if stuck.any():
            env = int(np.flatnonzero(stuck)[0])
            raise EnvironmentFailedError(
                f"{MASK} of env {env} of {name} allows no action at step {count(env)} "
                "(expected at least one that is not 0)"
            )


class Watchdog:
    """Stops a step in this process that takes too long, or the process if that is not possible."""

    def __init__(self, name: str, timeout_s: float) -> None:
        self.name, self.timeout_s = name, timeout_s
        self.deadline, self.count = math.inf, 0
        self.message = f"{name} hung for {timeout_s:g} s in step"
        self.thread = threading.get_ident()
        self.closed = threading.Event()
        if threading.current_thread() is threading.main_thread() and (
            signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
        ):
            signal.signal(signal.SIGALRM, alarm)
        watch = threading.Thread(target=_watch, args=(weakref.ref(self), self.closed), daemon=True)
        watch.start()

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function` returns.

        Raises:
            EnvironmentFailedError: it raised, or took longer than `timeout_s`.
        """
        self.count += 1
        self.thread = threading.get_ident()  # which may not be that of the last step
        self.deadline = time.monotonic() + self.timeout_s
        try:
            return function(*arguments)
        except EnvironmentFailedError as hung:
            # An exception that was thrown into another thread comes without a message.
            raise hung if hung.args else EnvironmentFailedError(self.message) from None
        except Exception as error:
            said = str(error).strip().split("\n")[0]
            failed = EnvironmentFailedError(
                f"{self.name} raised in call {self.count} of {function.__name__}: "
                f"{type(error).__name__}: {said}"
            )
            failed.details = traceback.format_exc()  # type: ignore[attr-defined]
            raise failed from error
        finally:
            self.deadline = math.inf

    def close(self) -> None:
        self.deadline = math.inf
        self.closed.set()


def alarm(signum: int, frame: Any) -> None:
    """Raises in the main thread if a watchdog has run out; other alarms are passed on."""
    dog = _hung.pop() if _hung else None
    if dog is not None and time.monotonic() > dog.deadline:  # the step may have ended meanwhile
        raise EnvironmentFailedError(dog.message)


_hung: list[Watchdog] = []  # the last to have run out


def _watch(watchdog: "weakref.ref[Watchdog]", closed: threading.Event) -> None:
    while (dog := watchdog()) is not None:
        pause = min(0.5, dog.timeout_s / 4)
        if time.monotonic() > dog.deadline:
            _interrupt(dog)
        del dog
        if closed.wait(pause):
            return


def _interrupt(dog: Watchdog) -> None:
    """Raises in the thread of the step; ends the process where that has no effect."""
    _hung[:] = [dog]
    main = dog.thread == threading.main_thread().ident
    if main and signal.getsignal(signal.SIGALRM) is alarm:
        signal.pthread_kill(dog.thread, signal.SIGALRM)
    else:
        error = ctypes.py_object(EnvironmentFailedError)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(dog.thread), error)
    if not dog.closed.wait(GRACE_S) and time.monotonic() > dog.deadline:
        with contextlib.suppress(Exception):
            print(f"{dog.message}, and cannot be interrupted", file=sys.stderr, flush=True)
        os._exit(EXIT_CODE)
