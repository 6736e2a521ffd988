"""Ctrl-C or SIGTERM at a random time of a command's life: exit code 130, one sentence that is true
of what is on disk, nothing half written; and the run goes on to the same bytes."""

import fcntl
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from campaigns.faults.forked import Ended, Resumer, done, ended, fork, warm
from spinward import interrupts

TRUE_STARTS = 0.15  # share of the cases that start Python itself
SMALL = ["--hidden", "8", "--envs", "4", "--rollout", "4", "--minibatches", "2"]
TRAIN = ["train", "ppo", "CartPole-v1", *SMALL, "--steps", "6400", "--checkpoint-every", "0"]
KINDS = {
    "train": TRAIN,
    "two shards": [*TRAIN, "--seeds", "2"],
    "evaluated": [*TRAIN, "--evaluate-every", "640", "--keep-best", "--log-data"],
    "resume": ["resume", "RUN", "--checkpoint-every", "0"],
    "evaluate": ["evaluate", "RUN", "--episodes", "20"],
    "report": ["report", "RUN"],
}
RESUMED = ("train", "evaluated", "resume")  # kinds that are compared with an undisturbed run
WEIGHTS = (3, 1, 3, 3, 3, 2)
SAVED = re.compile(r"([\d,]+) steps of each seed are saved|stopped at ([\d,]+) of [\d,]+ steps")


class Signals:
    """Commands, how long they take undisturbed, and cases of them that a signal ends."""

    def __init__(self, folder: Path):
        warm()
        self.resumer = Resumer()
        self.folder, self.place = folder, folder / "case"
        self.place.mkdir()
        self.half = self.stopped_half_way(folder / "half")
        self.seconds, self.whole = {}, {}
        for kind in KINDS:
            self.clear(kind)
            began = time.monotonic()
            finished = done(self.words(kind), self.place)
            assert finished.code == 0, (kind, finished)
            self.seconds[kind] = time.monotonic() - began
            if kind in RESUMED:
                self.whole[kind] = shutil.copytree(self.run, folder / "whole" / kind)
        self.true_s = self.true(self.words("evaluate"), 0, 1e9).seconds

    @property
    def run(self) -> Path:
        return self.place / "runs/run"

    def words(self, kind: str) -> list[str]:
        words = [str(self.run) if word == "RUN" else word for word in KINDS[kind]]
        out = ["--out", str(self.run.parent), "--name", "run"]
        return [*words, *(out if words[0] == "train" else [])]

    def stopped_half_way(self, folder: Path) -> Path:
        """A run that was stopped."""
        words = [*TRAIN, "--steps", "64000", "--out", str(folder), "--name", "run"]
        began, pid = time.monotonic(), fork(words, self.place)
        while not interrupts.steps_of(str(folder / "run/shards/0")):
            time.sleep(0.05)
        os.kill(pid, signal.SIGTERM)
        assert ended(pid, self.place, began).code == 130
        config = folder / "run/config.json"
        assert config.exists()
        return folder / "run"

    def clear(self, kind: str) -> None:
        shutil.rmtree(self.place / "runs", ignore_errors=True)
        if "RUN" in KINDS[kind]:
            shutil.copytree(self.half, self.run)

    def case(self, draw: random.Random) -> tuple[str, str, str]:
        (kind,) = draw.choices(list(KINDS), WEIGHTS)
        number = draw.choice(interrupts.SIGNALS)
        self.clear(kind)
        true = draw.random() < TRUE_STARTS
        length = (self.true_s if true else 0.0) + min(self.seconds[kind], 6.0)
        after, twice = draw.uniform(0.0, 1.02 * length), draw.random() < 0.15
        pause = draw.uniform(0.0, 0.3)
        if true:
            found = self.true(self.words(kind), number, after)
        else:
            began, pid = time.monotonic(), fork(self.words(kind), self.place)
            time.sleep(after)
            self.send(pid, number)
            if twice:
                time.sleep(pause)
                self.send(pid, number)
            found = ended(pid, self.place, began)
        self.wait_for_shards()
        what = f"{kind}, {signal.Signals(number).name} after {after:.3f} s: {found}"
        what += " (a start of Python)" if true else " (twice)" if twice else ""
        started = "a start of Python" if true else kind
        return self.judged(kind, found, draw.random() < 0.5, true), started, what

    def true(self, words: list[str], number: int, after: float) -> Ended:
        """A command from the start of Python, with a signal after some seconds."""
        began = time.monotonic()
        with open(self.place / "stderr", "wb") as file:
            command = [sys.executable, "-m", "spinward", *words]
            process = subprocess.Popen(command, stderr=file, stdout=subprocess.DEVNULL)
        try:
            process.wait(min(after, 120))
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        code = process.wait(120)
        said = (self.place / "stderr").read_text(errors="replace")
        return Ended(code, said, time.monotonic() - began)

    @staticmethod
    def send(pid: int, number: int) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return

    def wait_for_shards(self) -> None:
        """Waits until no process holds the lock of a shard."""
        for lock in self.run.glob("shards/*/lock"):
            with open(lock, "ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX)

    def judged(self, kind: str, found: Ended, resumes: bool, true: bool) -> str:
        python = "Traceback" in found.said and "spinward" not in found.said
        if true and (python or (found.code < 0 and not found.said)):
            return "stopped while Python itself started"
        if "Traceback" in found.said or "Exception ignored" in found.said:
            return "traceback"
        left = [p for p in self.place.rglob("*") if p.name.endswith(".tmp")]
        empty = [p for p in self.place.rglob("*") if p.is_dir() and not any(p.iterdir())]
        if left or [p for p in empty if p.parent.name != "shards"]:
            return f"left {[p.name for p in [*left, *empty]]}"
        if found.code == 0:
            return "done"
        if found.code != 130:
            return f"exit code {found.code}"
        last = found.said.strip().split("\n")[-1]
        if not last.startswith("spinward: stopped") or not self.true_of_disk(kind, last):
            return "false sentence"
        begun = (self.run / "config.json").exists()
        if resumes and begun and kind in self.whole:
            return self.resumer.resume(self.run, self.whole[kind])
        return "stopped"

    def true_of_disk(self, kind: str, sentence: str) -> bool:
        shards = interrupts.shards(str(self.run / "shards"))
        steps = min((interrupts.steps_of(s) for s in shards), default=0)
        if match := SAVED.search(sentence):
            return int((match[1] or match[2]).replace(",", "")) == steps
        if "no step is saved yet" in sentence:
            return steps == 0 and (self.run / "config.json").exists()
        if "nothing is written" in sentence:
            return not (self.place / "runs").exists()
        if "no file is left in part" in sentence:
            return KINDS[kind][0] != "train" or not (self.place / "runs").exists()
        return False
