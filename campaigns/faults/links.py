"""A part of a run is a link, a pipe or a device. Nothing is read from or written to what lies
outside, and a command that would open it refuses it by name."""

import os
import random
import shutil
from pathlib import Path

from campaigns.faults.commands import call, example, laid, tree

COMMANDS = ("resume", "report", "plot", "evaluate", "best", "watch", "record", "learn", "runs")
MARK = b"outside-7d1f"


class Links:
    """A run, and cases of it with a link in it."""

    def __init__(self, folder: Path, files: dict[str, bytes] | None = None):
        self.folder = folder
        self.files = files or tree(example(folder / "whole"))
        parents = {str(p) for name in self.files for p in Path(name).parents if str(p) != "."}
        self.names = sorted({*self.files, *parents})

    def case(self, draw: random.Random) -> tuple[str, str, str]:
        case = self.folder / "case"
        shutil.rmtree(case, ignore_errors=True)
        run, outside = laid(case / "run", self.files), case / "outside"
        name, command = draw.choice(self.names), draw.choice(COMMANDS)
        how = draw.choice(("moved", "marked", "absent", "loop", "device", "pipe", "up"))
        link = run / name
        outside.mkdir()
        (outside / "secret").write_bytes(MARK)
        self.put(link, outside, how)
        before = tree(outside)
        said = call(*self.words(command, run, case))
        what = f"{command}: {name} is {how}: {said.code} {said.err} {said.out:.300}"
        pages = [p.read_bytes() for p in run.glob("*.html") if p.is_file() and not p.is_symlink()]
        if tree(outside) != before or any(MARK in page for page in pages):
            return "escaped", how, what
        if said.broken or MARK.decode() in said.out + said.err:
            return "traceback", how, what
        if said.code == 0:
            return "harmless", how, what
        named = Path(name).name in said.err or str(run) in said.err
        return ("refused" if said.code in (2, 4) and named else "unclear"), how, what

    @staticmethod
    def put(link: Path, outside: Path, how: str) -> None:
        """Replaces a file or folder."""
        if how == "moved":
            shutil.move(link, outside / link.name)
        elif link.is_dir():
            shutil.rmtree(link)
        else:
            link.unlink()
        target = {
            "moved": outside / link.name, "marked": outside / "secret", "absent": outside / "none",
            "loop": link, "device": Path("/dev/zero"), "up": link.parent.parent,
        }.get(how)  # fmt: skip
        if target is None:
            os.mkfifo(link)
        else:
            link.symlink_to(target)

    @staticmethod
    def words(command: str, run: Path, case: Path) -> list[str]:
        few = ["--episodes", "1"]
        return {
            "best": ["evaluate", str(run), *few, "--checkpoint", "best"],
            "evaluate": ["evaluate", str(run), *few],
            "watch": ["watch", str(run), "--frames", "3"],
            "record": ["data", "record", str(run), "--steps", "8", "--out", str(case / "rows")],
            "learn": ["train", "bc", "CartPole-v1", "--data", str(run), "--out", str(case / "more"),
                      "--steps", "8", "--hidden", "8", "--batch", "8", "--updates", "2"],
            "runs": ["runs", "--out", str(case)],
        }.get(command, [command, str(run)])  # fmt: skip
