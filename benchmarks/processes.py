"""Sides as processes: pinned to cores, told what to do, and measured from outside."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure import Request
from benchmarks.workload import Side, Workload

ROOT = Path(__file__).resolve().parent.parent
PEERS_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
OURS_PYTHON = Path(sys.executable)
TIME_LIMIT_S = 1_800


class Ended(NamedTuple):
    """A process that has ended, and what it cost."""

    code: int
    output: str
    error: str
    cpu_s: float
    wall_s: float
    peak_rss_mb: float


def pin(cores: int) -> Callable[[], None]:
    """What a new process does first: it keeps to the last so many cores, away from the first."""
    chosen = sorted(os.sched_getaffinity(0))[-cores:]
    return lambda: os.sched_setaffinity(0, chosen)


def run(
    command: list[str], cores: int = 1, env: dict[str, str] | None = None, folder: Path = ROOT
) -> Ended:
    """Runs a command to its end in a folder, or kills it at the time limit."""
    started_s = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=pin(cores),
    )
    limit = threading.Timer(TIME_LIMIT_S, process.kill)
    limit.start()
    said: dict[str, str] = {}
    assert process.stdout is not None
    assert process.stderr is not None
    listener = threading.Thread(target=listen, args=(process.stderr, said))
    listener.start()
    output = process.stdout.read()
    listener.join()
    # wait4 rather than wait: it alone tells what this one process cost.
    _, status, usage = os.wait4(process.pid, 0)
    limit.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - started_s
    cpu_s = usage.ru_utime + usage.ru_stime
    return Ended(process.returncode, output, said["error"], cpu_s, wall_s, usage.ru_maxrss / 1024)


def listen(stream: Any, said: dict[str, str]) -> None:
    said["error"] = stream.read()


def ask(side: Side, workload: Workload, env_steps: int, seed: int) -> dict[str, Any]:
    """One side's answer, or `{"failed": why}`."""
    settings = {**workload.settings, **side.settings}
    request = Request(
        workload.algorithm, side.env, settings, env_steps, side.seeds, seed, side.variant
    )
    python = OURS_PYTHON if side.ours else PEERS_PYTHON
    command = [str(python), "-m", side.script, json.dumps(asdict(request))]
    # Every side compiles anew, also where a library keeps compiled programs by default.
    ended = run(command, workload.cores, {"JAX_ENABLE_COMPILATION_CACHE": "false"})
    lines = [line for line in ended.output.splitlines() if line.startswith("{")]
    if ended.code or not lines:
        return {"failed": f"exit {ended.code}: {ended.error.strip()[-600:]}"}
    return {**json.loads(lines[-1]), "process_cpu_s": ended.cpu_s, "process_wall_s": ended.wall_s}
