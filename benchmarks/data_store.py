"""What logged data cost: importing a Parquet table, inspecting it, training on it, sampling it.

`python -m benchmarks.data_store --rows 10000000 --folder /tmp/rows` prints one JSON document. Each
command is a process of its own, whose peak of resident memory is its own.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

FEATURES, LENGTH = 17, 200  # of an observation; steps of an episode
BATCH, BATCHES = 256, 400


def table(path: Path, rows: int) -> None:
    """Writes a Parquet table of random decisions, a part at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, writer = np.random.default_rng(0), None
    for first in range(0, rows, 500_000):
        row = np.arange(first, min(first + 500_000, rows))
        columns = {
            f"obs_{i}": rng.normal(size=len(row)).astype(np.float32) for i in range(FEATURES)
        }
        columns |= {"episode": row // LENGTH, "time": row % LENGTH}
        columns |= {"action": rng.integers(0, 6, len(row)), "reward": rng.normal(size=len(row))}
        columns |= {"terminated": row % LENGTH == LENGTH - 1}
        columns |= {"action_prob": np.full(len(row), 1 / 6)}
        part = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, part.schema)
        writer.write_table(part)
    if writer:
        writer.close()


def command(*words: str) -> dict[str, float]:
    """A command's seconds of the clock and of the processor, and its peak of resident memory."""
    began = time.monotonic()
    code = "import sys; from spinward.cli.main import main; sys.exit(main())"
    process = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{words} failed")
    return {
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": round(usage.ru_maxrss / 1024),
    }


def sampling(data: Path) -> dict[str, float]:
    """Microseconds for a batch from the memory-mapped data set, and from arrays in memory."""
    from spinward.data.store import opened

    store = opened(data)
    rng = np.random.default_rng(0)
    rows = rng.integers(0, store.rows, (BATCHES, BATCH))
    (part,) = store.parts
    held = {name: np.array(part.columns[name]) for name in ("action", "reward", "terminated")}
    held |= {"truncated": np.array(part.columns["truncated"])}
    held |= {"action_prob": np.array(part.columns["action_prob"])}
    obs = store.at(np.arange(store.rows))
    held |= {"obs": obs["obs"], "next_obs": obs["next_obs"], "time": obs["time"]}

    def from_memory(at: np.ndarray) -> None:
        _ = {name: np.take(x, at, 0) for name, x in held.items()}

    def microseconds(function: object) -> float:
        times = []
        for at in rows:
            began = time.perf_counter()
            function(at)  # type: ignore[operator]
            times.append(time.perf_counter() - began)
        return round(float(np.median(times)) * 1e6, 1)

    for function in (from_memory, store.at):
        microseconds(function)
    memory, mapped = microseconds(from_memory), microseconds(store.at)
    return {"memory_us": memory, "mapped_us": mapped, "ratio": round(mapped / memory, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, required=True)
    ask = parser.parse_args()
    ask.folder.mkdir(parents=True, exist_ok=True)
    source, data = ask.folder / "rows.parquet", ask.folder / "data"
    table(source, ask.rows)
    result: dict[str, object] = {"rows": ask.rows, "parquet_mib": source.stat().st_size >> 20}
    result["import"] = command("data", "import", str(source), "--out", str(data))
    result["inspect"] = command("data", "inspect", str(data), "--json")
    words = ("train", "bc", "--data", str(data), "--steps", "1000", "--out", str(ask.folder))
    result["train"] = command(*words)
    if ask.rows <= 10_000_000:  # all of them in memory, too
        result["sampling"] = sampling(data)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
