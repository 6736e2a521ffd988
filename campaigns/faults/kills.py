"""SIGKILL in the middle of a save: the run goes on, has lost no checkpoint that was there, and ends
in the bytes of a run that was left in peace. Each case has two kills."""

import functools
import itertools
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from campaigns.faults.commands import learned
from campaigns.faults.forked import done, warm
from campaigns.faults.signals import TRAIN
from spinward import interrupts

CALLS = ("rename", "replace", "fsync", "unlink", "mkdir", "open", "close", "rmdir")  # of os


def armed(at: int, after: bool, limit: list[int]) -> Callable[[], None]:
    """Kills this process at call number `at` of the calls within saves, or after that call."""
    count = itertools.count()

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

        def watched(*words: Any, **more: Any) -> Any:
            inside.append(1)
            try:
                return save(*words, **more)
            finally:
                inside.pop()
                limit[:] = [0]

        checkpoint.save = watched

    return arm


class Kills:
    """A run, and cases of it that are killed twice while they save."""

    def __init__(self, folder: Path):
        warm()
        self.place = folder
        self.words = [*TRAIN[:-4], "--steps", "1600", "--checkpoint-every", "0", "--log-data"]
        self.words += ["--evaluate-every", "320", "--keep-best", "--out", str(folder / "runs")]
        assert done([*self.words, "--name", "whole"], folder).code == 0
        self.whole = learned(folder / "runs/whole")

    def case(self, draw: random.Random) -> tuple[str, str]:
        run = self.place / "runs/run"
        shutil.rmtree(run, ignore_errors=True)
        what, steps = [], 0
        for words in (
            [*self.words, "--name", "run"],
            ["resume", str(run), "--checkpoint-every", "0"],
        ):
            at, after = int(2 ** draw.uniform(0.0, 8.5)), draw.random() < 0.5
            found = done(words, self.place, armed(at, after, []))
            what.append(f"call {at}{'+' if after else ''}: {found.code} {found.said[-200:]}")
            if found.code not in (-9, 0):
                return "refused after a kill", f"{what}"
            now = interrupts.steps_of(str(run / "shards/0"))
            if now < steps:
                return "lost a checkpoint", f"{what}: {now} steps after {steps}"
            steps = now
        found = done(["resume", str(run)], self.place)
        left = [p.name for p in run.rglob("*") if p.name.endswith(".tmp")]
        if found.code or "Traceback" in found.said:
            return "refused", f"{what} {found}"
        if learned(run) != self.whole:
            return "other bytes", f"{what}"
        return (f"left {left}" if left else "resumed"), f"{what}"
