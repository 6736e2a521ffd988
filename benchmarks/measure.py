"""What a process has cost so far: CPU-seconds, wall time and peak memory, children included."""

import json
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

TICKS_PER_S = 100  # USER_HZ, fixed at 100 for every process in Linux's /proc


class Cost(NamedTuple):
    """What was spent between two moments, or since the process started."""

    cpu_s: float
    wall_s: float


@dataclass(frozen=True)
class Request:
    """What a side is asked to do. It arrives as JSON in the first argument."""

    algorithm: str
    env: str
    settings: dict[str, Any]  # in Spinward's names; each side translates them to its own
    env_steps: int  # of each seed
    seeds: int = 1
    seed: int = 0
    variant: str = ""  # which of a peer's ways of running is meant, where it has several


def request() -> Request:
    """The request in this process's first argument."""
    return Request(**json.loads(sys.argv[1]))


def descendants() -> list[int]:
    """Process ids of all live children, their children included."""
    found: list[int] = []
    waiting = ["self"]
    while waiting:
        for children in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            try:
                pids = children.read_text().split()
            except OSError:  # the thread or process ended while we looked
                continue
            found += [int(pid) for pid in pids]
            waiting += pids
    return found


def live_cpu_s(pid: int) -> float:
    """CPU-seconds of a live process and of the children it has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(ticks) for ticks in fields[11:15]) / TICKS_PER_S


def live_peak_mb(pid: int) -> float:
    """Peak resident memory of a live process, in MiB."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    kib = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(kib[0]) / 1024 if kib else 0.0


def process_age_s() -> float:
    """Wall-clock seconds since the kernel started this process, its imports included."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    uptime_s = float(Path("/proc/uptime").read_text().split()[0])
    return uptime_s - int(fields[19]) / TICKS_PER_S


AGE_AT_IMPORT_S = process_age_s()
IMPORTED_AT_S = time.perf_counter()


def spent() -> Cost:
    """What this process and its children have cost since it started."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = own.ru_utime + own.ru_stime + reaped.ru_utime + reaped.ru_stime
    # getrusage counts children only once they have ended, and vector environments are still alive.
    cpu_s += sum(live_cpu_s(pid) for pid in descendants())
    return Cost(cpu_s, AGE_AT_IMPORT_S + time.perf_counter() - IMPORTED_AT_S)


def peak_rss_mb() -> tuple[float, float]:
    """Peak resident memory of this process, and of its largest child, in MiB."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    children = [resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024]
    return own, max(children + [live_peak_mb(pid) for pid in descendants()])


def report(
    peer: str,
    *,
    total: Cost,
    started: Cost,
    train: Cost,
    env_steps: int,
    env_steps_train: int,
    final_return: float | None,
    **more: Any,
) -> None:
    """Prints the one line of JSON that a side answers with. Call it while children still live.

    `train` is the cost of `env_steps_train` steps after start-up and compilation; `started` is what
    had been spent when the first update was done.
    """
    own_mb, child_mb = peak_rss_mb()
    answer = {
        "peer": peer,
        "env_steps": env_steps,
        "env_steps_train": env_steps_train,
        "cpu_s_total": total.cpu_s,
        "cpu_s_train": train.cpu_s,
        "wall_s_total": total.wall_s,
        "wall_s_train": train.wall_s,
        "startup_cpu_s": started.cpu_s,
        "startup_wall_s": started.wall_s,
        "peak_rss_mb": own_mb,
        "peak_rss_child_mb": child_mb,
        "final_return": final_return,
        **more,
    }
    print(json.dumps(answer), flush=True)


def between(start: Cost, end: Cost) -> Cost:
    """What was spent from one moment to another."""
    return Cost(end.cpu_s - start.cpu_s, end.wall_s - start.wall_s)
