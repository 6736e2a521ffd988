"""Commands in this process: their exit codes and what they print."""

import contextlib
import io
import json
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import spinward as sw
from spinward.cli import main
from spinward.store import checkpoint

TIMES = ("wall_s", "steps_per_s")  # of a result, which differ each time


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def broken(self) -> bool:
        """Whether an error was not expected."""
        return self.code == 1 or "Traceback" in self.err or "unexpected" in self.err

    @property
    def result(self) -> Any:
        """What was printed, without times."""
        with contextlib.suppress(ValueError):
            found = json.loads(self.out)
            if isinstance(found, dict):
                return {k: v for k, v in found.items() if k not in TIMES}
            return found
        return self.out


def call(*words: str) -> Said:
    """What a command does."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main.main(list(words))
        except BaseException:
            traceback.print_exc()
            code = 1
    return Said(code, out.getvalue(), err.getvalue())


def tree(folder: Path) -> dict[str, bytes]:
    """The bytes of all ordinary files below a folder."""
    found = (p for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink())
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def laid(folder: Path, files: dict[str, bytes]) -> Path:
    """A folder with these files."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def example(out: Path, steps: int = 640, **more: Any) -> Path:
    """A finished run with one of everything: three checkpoints, best agents, data, a video, a
    report and a curve."""
    algorithm = sw.PPO(hidden=(8,), envs=4, rollout=4, epochs=2, minibatches=2)
    chosen = {"shards": 1, "log_data": True, "logs": 20, "checkpoint_s": 0.0}
    chosen |= {"evaluate_every": 160, "evaluate_episodes": 2, "keep_best": True}
    run = sw.train(algorithm, "CartPole-v1", steps, 2, out=out, name="run", **chosen | more)
    (run.path / "shards/0/stderr").write_text("what a process said\n")
    for words in (("watch", str(run.path), "--frames", "5"), ("plot", str(run.path))):
        assert call(*words).code == 0
    return run.path


def learned(run: Path) -> list[bytes]:
    """What a run has learned: its logs and the arrays of its newest checkpoints."""
    found = []
    for shard in sorted((run / "shards").iterdir()):
        newest = checkpoint.checkpoints(shard / "checkpoints")
        found += [(shard / "metrics.jsonl").read_bytes()]
        found += [(path / checkpoint.STATE).read_bytes() for path in newest[:1]]
    return found
