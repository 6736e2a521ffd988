"""Log points to other loggers, from a thread of their own: a logger that is slow or fails costs no
step of the run."""

import contextlib
import importlib
import queue
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spinward.errors import SettingsError, nearest
from spinward.run.watching import Point, Watch
from spinward.store.names import modules
from spinward.store.points import by_seed

WAIT_S = 10.0  # at the end of a run, for points that are still on their way
STOPPED_WAIT_S = 0.5  # where the run was stopped or failed


def require(names: tuple[str, ...]) -> None:
    """Raises SettingsError for a logger that does not exist or cannot work here."""
    known = modules("loggers")
    for name in names:
        if name not in known:
            near = nearest(name, known) or known
            raise SettingsError(f"there is no logger {name!r}; expected one of {', '.join(near)}")
        importlib.import_module(f"spinward.loggers.{name}").check()


@contextlib.contextmanager
def mirrored(
    names: tuple[str, ...], run: Path, config: dict[str, Any], watch: Watch
) -> Iterator[Watch]:
    """A watcher that also gives each log point to the loggers."""
    if not names:
        yield watch
        return
    mirrors = [Mirror(name, run, config) for name in names]

    def both(point: Point) -> Any:
        for mirror in mirrors:
            mirror.points.put((point.env_steps, by_seed(point.metrics)))
        return watch(point)

    wait = STOPPED_WAIT_S
    try:
        yield both
        wait = WAIT_S
    finally:
        for mirror in mirrors:
            mirror.finish(wait)


class Mirror:
    """A logger and the thread that writes to it. After a first error it writes no more."""

    def __init__(self, name: str, run: Path, config: dict[str, Any]):
        self.name, self.run, self.config = name, run, config
        self.points: queue.SimpleQueue[Any] = queue.SimpleQueue()  # None: the end
        self.thread = threading.Thread(target=self.write_all, daemon=True, name=f"logger {name}")
        self.thread.start()

    def write_all(self) -> None:
        logger: Any = None
        try:
            while (item := self.points.get()) is not None:
                step, metrics = item
                if logger is None:
                    module = importlib.import_module(f"spinward.loggers.{self.name}")
                    logger = module.opened(self.run, self.config, step)
                logger.write(step, metrics)
            if logger is not None:
                logger.close()
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            self.say(f"failed and gets no more points: {reason:.300}")

    def finish(self, wait_s: float) -> None:
        self.points.put(None)
        self.thread.join(wait_s)
        if self.thread.is_alive():
            self.say("is slow: its last points may be missing")

    def say(self, what: str) -> None:
        print(
            f"spinward: the {self.name} logger {what}; the run's own log has all of them",
            file=sys.stderr,
            flush=True,
        )
