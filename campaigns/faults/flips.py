"""One bit of one file of a run is flipped. A command either refuses it, with exit code 4 and the
file's name, or does exactly what it does with the whole run."""

import random
import shutil
from pathlib import Path

from campaigns.faults.commands import call, example, laid, learned, tree

LONG = ("learn", "report", "resume")  # a share of the cases has these commands
READERS = {  # commands that open a file, by a part of its path
    "config.json": ("plot", "runs", "evaluate", "report", "resume"),
    "metrics.jsonl": ("plot", "runs", "evaluate", "report", "resume"),
    "checkpoints": ("plot", "evaluate", "resume"),
    "best": ("best", "resume"),
    "data": ("inspect", "learn", "resume"),
    "times.jsonl": ("resume", "report"),
    "lock": ("resume",),
    "stderr": ("resume",),
    "saved": ("resume",),
    "videos": ("report",),
    "report.html": ("report",),
    "curve.png": ("plot",),
}
WEIGHTS = {"config.json": 4, "metrics.jsonl": 4, "checkpoints": 6, "best": 4, "data": 6}  # else 1


class Flips:
    """A run, what commands say of it, and cases of it with one bit flipped."""

    def __init__(
        self, folder: Path, files: dict[str, bytes] | None = None, long_share: float = 0.25
    ):
        self.folder, self.long_share = folder, long_share
        self.files = files or tree(example(folder / "whole"))
        names = [n for n, content in self.files.items() if content]
        kinds = {self.kind(name) for name in names}
        self.by_kind = {kind: [n for n in names if self.kind(n) == kind] for kind in sorted(kinds)}
        self.said = {command: self.run(command) for command in sorted(self.commands())}
        assert all(said.code == 0 for said, _ in self.said.values()), self.said

    @staticmethod
    def kind(name: str) -> str:
        parts = Path(name).parts
        return next((p for p in parts if p in READERS), parts[-1])

    def commands(self) -> set[str]:
        every = {command for found in READERS.values() for command in found}
        return every if self.long_share else every - set(LONG)

    def run(self, command: str, name: str = "", bit: int = 0):
        """What a command says of a run, with a bit of a file flipped, and what is learned then."""
        place = self.folder / "case/run"
        shutil.rmtree(place.parent, ignore_errors=True)
        files = dict(self.files)
        if name:
            content = bytearray(files[name])
            content[bit // 8] ^= 1 << bit % 8
            files[name] = bytes(content)
        laid(place, files)
        run, out = str(place), str(place.parent)
        said = call(*{
            "plot": ("plot", run, "--json"),
            "runs": ("runs", "--out", out, "--json"),
            "report": ("report", run),
            "resume": ("resume", run, "--json"),
            "evaluate": ("evaluate", run, "--episodes", "1", "--json"),
            "best": ("evaluate", run, "--episodes", "1", "--json", "--checkpoint", "best"),
            "inspect": ("data", "inspect", run, "--json"),
            "learn": ("train", "bc", "CartPole-v1", "--data", run, "--out", f"{out}/more",
                      "--steps", "8", "--hidden", "8", "--batch", "8", "--updates", "2", "--json"),
        }[command])  # fmt: skip
        more = place.parent / "more"
        of = next(more.iterdir()) if more.is_dir() else place
        return said, learned(of) if command in ("resume", "learn") and said.code == 0 else []

    def case(self, draw: random.Random) -> tuple[str, str, str]:
        weights = [WEIGHTS.get(kind, 1) for kind in self.by_kind]
        (kind,) = draw.choices(list(self.by_kind), weights)
        name = draw.choice(self.by_kind[kind])
        bit = draw.randrange(8 * len(self.files[name]))
        outcome = "harmless"
        for command in READERS.get(kind, ("plot",)):
            if command in LONG and draw.random() >= self.long_share:
                continue
            said, after = self.run(command, name, bit)
            what = f"{command}: bit {bit} of {name}: {said.code} {said.err} {said.out}"
            refused = said.code == 4 and Path(name).name in said.err + said.out
            listed = command == "runs" and said.code == 0 and "error" in said.out
            if said.broken:
                return "traceback", kind, what
            whole, learned_whole = self.said[command]
            if refused or (listed and Path(name).name in said.out):
                outcome = "told"
            elif said.code != 0:
                return "unclear", kind, what
            elif (said.result, after) != (whole.result, learned_whole):
                return "silent", kind, what
        return outcome, kind, name
