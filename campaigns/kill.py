"""Kills a run with SIGKILL at random moments, resumes it each time, and compares every bit.

    python -m campaigns.kill [--kills 25] [--seed 0]

Half of the kills take all of the run's processes, the others only the one that was started, which
leaves its shards to notice. The killed run must end with the files of an undisturbed one.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ARGUMENTS = {
    "ppo": ["train", "ppo", "CartPole-v1", "--steps", "1500000", "--seeds", "2"],
    "dqn": ["train", "dqn", "CartPole-v1", "--steps", "300000", "--seeds", "2"],
}
COMMAND = [sys.executable, "-m", "spinward.cli.main"]
SAVING = ["--checkpoint-every", "0.3"]


def start(words: list[str]) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen([*COMMAND, *words, *SAVING], stdout=quiet, stderr=subprocess.PIPE)


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def kill(process: subprocess.Popen[bytes], everything: bool) -> None:
    pids = [*(children(process.pid) if everything else ()), process.pid]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    process.wait()


def digests(run: Path) -> dict[str, str]:
    """The SHA-256 of each shard's log and last checkpoint, whose times do not matter."""
    found = {}
    for shard in sorted((run / "shards").iterdir()):
        last = max((shard / "checkpoints").iterdir())
        for path in (shard / "metrics.jsonl", last / "state.safetensors"):
            found[str(path.relative_to(run))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def campaign(kind: str, kills: int, draw: random.Random, folder: Path) -> dict[str, object]:
    undisturbed = start([*ARGUMENTS[kind], "--out", str(folder), "--name", f"{kind}-whole"])
    began = time.monotonic()
    assert undisturbed.wait() == 0, undisturbed.stderr.read() if undisturbed.stderr else ""
    seconds = time.monotonic() - began
    name, struck, refused = f"{kind}-killed", 0, []
    process = start([*ARGUMENTS[kind], "--out", str(folder), "--name", name])
    while struck < kills:
        time.sleep(draw.uniform(0.2, min(8.0, 0.6 * seconds)))
        if process.poll() is None:
            kill(process, everything=draw.random() < 0.5)
            struck += 1
        elif process.returncode:
            refused.append(process.stderr.read().decode() if process.stderr else "")
            break
        else:  # it got to its end between two kills: begin another
            name = f"{kind}-killed-{struck}"
            process = start([*ARGUMENTS[kind], "--out", str(folder), "--name", name])
            continue
        if (folder / name / "config.json").exists():
            process = start(["resume", str(folder / name)])
        else:
            process = start([*ARGUMENTS[kind], "--out", str(folder), "--name", name + "x"])
            name += "x"
    if process.wait():
        refused.append(process.stderr.read().decode() if process.stderr else "")
    equal = not refused and digests(folder / name) == digests(folder / f"{kind}-whole")
    return {"algorithm": kind, "kills": struck, "refused": refused, "bits_equal": equal}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=25, help="of each algorithm")
    parser.add_argument("--seed", type=int, default=0)
    ask = parser.parse_args()
    draw = random.Random(ask.seed)
    with tempfile.TemporaryDirectory() as folder:
        rows = [campaign(kind, ask.kills, draw, Path(folder)) for kind in ARGUMENTS]
    result = {"date": time.strftime("%Y-%m-%d"), "seed": ask.seed, "campaigns": rows}
    Path("results").mkdir(exist_ok=True)
    Path("results/kill.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return 0 if all(row["bits_equal"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
