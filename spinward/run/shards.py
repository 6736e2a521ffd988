"""The seeds of a run as shards, each a process of its own that advances, logs and saves alone.

On a CPU this is how seeds use several cores: one XLA client with several threads is slower than
one with a single thread. A shard is the same whoever runs it, so what it computes does not depend
on how many cores there are, and it is resumed by itself.
"""

import contextlib
import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from spinward import errors
from spinward.core import replace
from spinward.errors import SettingsError, SpinwardError, Stopped
from spinward.run import record
from spinward.run.drive import Point, drive, run_of, stopping
from spinward.run.experiment import Experiment

DEFAULT = 2  # whatever the number of cores, so that results do not depend on it
POLL_S = 0.1


def shards_of(experiment: Experiment, on_device: bool) -> list[Experiment]:
    """The experiment of each shard: consecutive seeds, as evenly as they divide."""
    automatic = DEFAULT if on_device and jax.default_backend() == "cpu" else 1
    count = min(experiment.shards or automatic, experiment.seeds)
    if count > 1 and not on_device:
        raise SettingsError(f"shards={count}: the seeds of a host environment are one batch; use 1")
    sizes = [experiment.seeds // count + (i < experiment.seeds % count) for i in range(count)]
    starts = [experiment.seed + sum(sizes[:i]) for i in range(count)]
    return [
        replace(experiment, seed=start, seeds=size, shards=1)
        for start, size in zip(starts, sizes, strict=True)
    ]


def folders(run: Path) -> list[Path]:
    """The folders of a run's shards, in the order of their seeds."""
    return sorted((run / "shards").glob("[0-9]*"))


def points(run: Path) -> list[dict[str, Any]]:
    """The log points that all shards have, with the seeds of all."""
    logs = [record.read(folder / "metrics.jsonl") for folder in folders(run)]
    return [merged(lines) for lines in zip(*logs, strict=False)]


def merged(lines: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    whole = dict(lines[0])
    for line in lines[1:]:
        whole |= {k: whole[k] + v for k, v in line.items() if isinstance(v, list)}
    return whole


def train(
    experiments: list[Experiment],
    run: Path,
    watch: Callable[[Point], None],
    checkpoint_s: float,
    trust: bool,
) -> None:
    """Trains all shards to their end: one here, several as processes."""
    for i in range(len(experiments)):
        (run / "shards" / str(i)).mkdir(parents=True, exist_ok=True)
    if len(experiments) == 1:
        train_one(experiments[0], run / "shards" / "0", watch, checkpoint_s)
    else:
        supervise(experiments, run, watch, checkpoint_s, trust)


def train_one(
    experiment: Experiment, folder: Path, watch: Callable[[Point], None], checkpoint_s: float
) -> None:
    with alone(folder):
        drive(experiment, folder, watch, checkpoint_s)


@contextlib.contextmanager
def alone(folder: Path, wait_s: float = 20.0) -> Iterator[None]:
    """Holds a shard's lock, which its process loses however it ends.

    Raises:
        SettingsError: another process is training this run.
    """
    with open(folder / "lock", "w") as file:
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


def supervise(
    experiments: list[Experiment],
    run: Path,
    watch: Callable[[Point], None],
    checkpoint_s: float,
    trust: bool,
) -> None:
    """Runs the shards as processes, tells how far all are, and ends as the first that failed."""
    words = [sys.executable, "-m", "spinward.run.shard", str(run), str(checkpoint_s), str(trust)]
    progress = Progress(experiments[0], run, watch)
    with contextlib.ExitStack() as stack, stopping() as asked:
        children = [stack.enter_context(child(words, run, i)) for i in range(len(experiments))]
        forwarded = False
        while any(c.poll() is None for c in children):
            time.sleep(POLL_S)
            progress.tell()
            failed = any(c.poll() not in (None, 0) for c in children)
            if (asked or failed) and not forwarded:
                forwarded = True
                for c in children:
                    c.terminate()  # which it answers by saving
        progress.tell()
    codes = [c.returncode for c in children]
    for wrong in ([c for c in codes if c not in (0, Stopped.exit_code)], [c for c in codes if c]):
        if wrong:
            raise failure(run / "shards" / str(codes.index(wrong[0])), wrong[0])


@contextlib.contextmanager
def child(words: list[str], run: Path, i: int) -> Iterator[subprocess.Popen[bytes]]:
    """The process of a shard, which stops when we do: it then reads the end of its input.

    It has a session of its own, so that Ctrl-C reaches it once, through us.
    """
    with open(run / "shards" / str(i) / "stderr", "wb") as file:
        command = [*words, str(i)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=file, start_new_session=True
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Progress:
    """Passes on each log point that all shards have reached."""

    def __init__(self, experiment: Experiment, run: Path, watch: Callable[[Point], None]):
        self.run, self.watch = run, watch
        self.stride = experiment.parts().source.stride
        self.iterations, _ = experiment.plan(self.stride)
        self.began, before = time.monotonic(), points(run)
        self.told = len(before)
        self.first = before[-1]["iteration"] if before else 0

    def tell(self) -> None:
        for line in points(self.run)[self.told :]:
            self.told += 1
            done = line["iteration"] - self.first
            seconds, steps = time.monotonic() - self.began, self.iterations * self.stride
            at = line["iteration"], self.iterations, line["env_steps"], steps
            self.watch(Point(*at, line, seconds, done))


def failure(folder: Path, code: int) -> SpinwardError:
    """What a shard died of, as it said itself."""
    text = (folder / "stderr").read_text(errors="replace").strip().splitlines()
    with contextlib.suppress(ValueError, IndexError, KeyError, AttributeError):
        said = json.loads(text[-1])
        return getattr(errors, said["kind"])(said["message"])
    last = f": {text[-1]}" if text else ""
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return SpinwardError(
        f"the process of {folder} {how}{last}; its last checkpoint is good: continue with "
        f"spinward resume {run_of(folder)}"
    )
