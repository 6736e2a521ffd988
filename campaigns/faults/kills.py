"""SIGKILL in the middle of a save: no checkpoint that was complete is lost, and the run goes on to
the bytes of one that was left in peace."""

import functools
import itertools
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from campaigns.faults.forked import Resumer, done, warm
from campaigns.faults.signals import SMALL
from spinward import interrupts

CALLS = ("rename", "replace", "fsync", "unlink", "mkdir", "open", "close", "rmdir")  # of os
WORDS = ["train", "ppo", "CartPole-v1", *SMALL, "--steps", "1600", "--checkpoint-every", "0"]
KINDS = {"plain": [], "data and best": ["--log-data", "--evaluate-every", "320", "--keep-best"]}


def armed(at: int, after: bool, note: Path) -> Callable[[], None]:
    """Kills this process at call number `at` of the calls within saves, or after that call. The
    steps of each finished save are noted."""
    count, opened, write = itertools.count(), os.open, os.write

    def arm() -> None:
        from spinward.store import arrays, checkpoint

        inside: list[int] = []

        def struck(call: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(call)
            def strike(*words: Any, **more: Any) -> Any:
                hit = bool(inside) and next(count) == at
                if hit and not after:
                    os.kill(os.getpid(), signal.SIGKILL)
                found = call(*words, **more)
                if hit:
                    os.kill(os.getpid(), signal.SIGKILL)
                return found

            return strike

        for name in CALLS:
            setattr(os, name, struck(getattr(os, name)))
        arrays.view = struck(arrays.view)  # between the leaves of a state
        save = checkpoint.save

        def watched(folder: Path, iteration: int, state: Any, info: Any, *more: Any) -> Path:
            inside.append(1)
            path = save(folder, iteration, state, info, *more)
            inside.pop()
            if folder.name == "checkpoints":
                write(opened(note, os.O_WRONLY | os.O_CREAT, 0o644), b"%019d" % info["env_steps"])
            return path

        checkpoint.save = watched

    return arm


class Kills:
    """Runs of two kinds, and cases of them that are killed while they save."""

    def __init__(self, folder: Path):
        warm()
        self.place, self.note, self.whole = folder, folder / "note", {}
        self.resumer = Resumer()
        for kind, more in KINDS.items():
            words = [*WORDS, *more, "--out", str(folder / "runs"), "--name", kind.replace(" ", "-")]
            assert done(words, folder).code == 0
            self.whole[kind] = folder / "runs" / kind.replace(" ", "-")

    def case(self, draw: random.Random) -> tuple[str, str, str]:
        kind = draw.choice(list(KINDS))
        run = self.place / "runs/run"
        shutil.rmtree(run, ignore_errors=True)
        self.note.unlink(missing_ok=True)
        at, after = int(2 ** draw.uniform(0.0, 6.5)), draw.random() < 0.5
        words = [*WORDS, *KINDS[kind], "--out", str(run.parent), "--name", "run"]
        found = done(words, self.place, armed(at, after, self.note))
        what = f"call {at}{'+' if after else ''}: {found}"
        if found.code != -9:
            return ("done" if found.code == 0 else "not killed"), kind, what
        noted = int(self.note.read_text()) if self.note.exists() else 0
        if (steps := interrupts.steps_of(str(run / "shards/0"))) < noted:
            return "lost a checkpoint", kind, f"{what}: {steps} steps, {noted} were saved"
        outcome = self.resumer.resume(run, self.whole[kind])
        left = [p.name for p in run.rglob("*") if p.name.endswith(".tmp")]
        return (f"left {left}" if left else outcome), kind, what
