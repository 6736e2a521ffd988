"""What is on record below `results/`: a record for each file, and every number that is in it."""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spinward.evaluation.statistics import interquartile_mean, t_quantile

RESULTS = Path(__file__).parent.parent / "results"
UNKNOWN = "not recorded"
BROUGHT = "commits.json"  # by which commit older files came, which do not say their own
WITH_NUMBERS = ("source", "what", "interval")  # texts, as "CleanRL 490.0" or "real steps to -250"
SHORT = 64  # numbers of a list that are each of seeds or rows, and not a curve


class Record(NamedTuple):
    """Where a result comes from."""

    file: str  # below `results/`
    what: str
    numbers: str
    command: str
    seeds: str
    commit: str
    date: str
    kind: str


def read(file: str) -> Any:
    return json.loads((RESULTS / file).read_text())


def seeds_of(config: dict[str, Any]) -> str:
    first, count = config.get("seed", 0), config["seeds"]
    return str(first) if count == 1 else f"{first} to {first + count - 1}"


def commit_of(found: dict[str, Any]) -> str:
    return str(found["commit"])[:7] if found.get("commit") else UNKNOWN


def facts(file: str) -> np.ndarray:
    """All numbers of a file or folder, with the statistics of lists: what a text may claim."""
    path = RESULTS / file
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*.json"))
        found = [facts(p.relative_to(RESULTS).as_posix()) for p in inside]
        return np.concatenate(found) if found else np.empty(0)
    if path.suffix != ".json":
        return np.empty(0)
    content = json.loads(path.read_text())
    numbers = [*leaves(content), *ratios(content), *shares(content)]
    return np.array([n for n in numbers if np.isfinite(n)], float)


def leaves(content: Any) -> Iterator[float]:
    """Numbers, and of lists of them their statistics and, of curves, those of the last tenth."""
    if isinstance(content, bool) or content is None:
        return
    if isinstance(content, int | float):
        yield float(content)
    elif isinstance(content, dict):
        for name, value in content.items():
            if name in WITH_NUMBERS and isinstance(value, str):
                yield from (float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", value))
            yield from leaves(value)
    elif isinstance(content, list):
        yield len(content)
        if all(isinstance(x, int | float | None) for x in content):
            yield from of_numbers([x for x in content if x is not None])
        else:
            yield from of_rows(content)


def of_rows(content: list[Any]) -> Iterator[float]:
    """Numbers of curves [seed][point], of which each seed's last tenth counts, or of records."""
    if all(isinstance(row, list) for row in content):
        for share in (0.1, 0.05):
            ends = [tail(row, share) for row in content]
            yield from of_numbers([x for x in ends if x is not None])
    for value in content:
        yield from leaves(value)


def tail(row: list[Any], share: float) -> float | None:
    """The mean of the last points of a curve, those without a number left out."""
    last = row[-max(1, int(np.ceil(len(row) * share))) :]
    known = [x for x in last if isinstance(x, int | float)]
    return float(np.mean(known)) if known else None


def of_numbers(values: list[float]) -> Iterator[float]:
    if not values:
        return
    x = np.asarray(values, float)
    yield from (float(x.mean()), float(interquartile_mean(x)), float(x.min()), float(x.max()))
    if len(x) <= SHORT:
        yield from x.tolist()
    if 2 < len(x) <= SHORT:
        half = t_quantile(len(x)) * x.std(ddof=1) / np.sqrt(len(x))
        yield from (float(x.mean() - half), float(x.mean() + half))


def shares(content: Any) -> Iterator[float]:
    """Of everything that is true or false, how often it is true, as of `finished`."""
    found: dict[str, list[bool]] = {}
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for name, inner in value.items():
                if isinstance(inner, bool):
                    found.setdefault(name, []).append(inner)
            waiting += value.values()
        elif isinstance(value, list):
            waiting += [x for x in value if isinstance(x, dict | list)]
    yield from (float(np.mean(values)) for values in found.values())


def ratios(content: Any) -> Iterator[float]:
    """How many times as quick one side of a benchmark is as another."""
    if not isinstance(content, dict):
        return
    for workload in content.get("workloads", []):
        speeds = [
            side["steps_per_cpu_s_train"]
            for side in workload.get("sides", {}).values()
            if side.get("steps_per_cpu_s_train")
        ]
        for a, b in combinations(speeds, 2):
            yield from (a / b, b / a)


def returns(file: str) -> Record:
    """A task of `campaigns.returns`, `campaigns.minatar` or `campaigns.mujoco`."""
    found = read(file)
    config = found["config"]
    name = config["algorithm"]["class"].rpartition(":")[2]
    what = f"{name} in {config['env']}, {config['steps']:,} steps"
    campaign = "minatar" if file.startswith("returns/minatar/") else "returns"
    asked = found.get("name", "") if campaign == "returns" else ""
    command = found.get("command") or f"python -m campaigns.{campaign} {asked}".strip()
    greedy = found["greedy"] if "greedy" in found else found["evaluation"]  # of campaigns.mujoco
    told = f"greedy {told_of(greedy)}"
    if isinstance(found["training"], dict):
        told = f"training {told_of(found['training'])}, {told}"
    if "target" in found:
        value = greedy.get("value", greedy["mean"])
        reached = "reached" if value >= found["target"] else "missed"
        told += f"; {reached} {found['target']} ({found['source']})"
    return Record(
        file, what, told, command, seeds_of(config), commit_of(found),
        found["date"], "Returns",
    )  # fmt: skip


def told_of(numbers: dict[str, Any]) -> str:
    """A statistic with its interval, as it was computed on that day."""
    value = numbers.get("value", numbers["mean"])
    if "interval" not in numbers:
        return f"mean {value:.1f}"
    name = numbers["statistic"].replace("interquartile mean", "IQM")
    return f"{name} {value:.1f} ({numbers['low']:.1f} to {numbers['high']:.1f})"


def reproduction(file: str) -> Record:
    found = read(file)
    name, first = found["name"], found.get("seed")
    configs = found.get("settings") or curves_of(file)
    command = f"spinward reproduce {name}" + ("" if first is None else f" --seed {first}")
    spans = [(c.get("seed", 0), c.get("seed", 0) + c["seeds"] - 1) for c in configs.values()]
    seeds = UNKNOWN if first is None else f"from {first}"
    if spans:
        seeds = f"{min(low for low, _ in spans)} to {max(high for _, high in spans)}"
    judged = found.get("judged")
    told = f"**{found['verdict']}**" + (
        f" (judged anew {judged['date']})" if judged and judged["applied"] else ""
    )
    return Record(
        file, name, f"{told}: {found['why']}", command, seeds,
        commit_of(found), found["date"],
        "Published claims",
    )  # fmt: skip


def curves_of(file: str) -> dict[str, Any]:
    """The settings of the runs of an experiment that kept them with its curves alone."""
    folder = (RESULTS / file).parent / "curves"
    found = {p.stem: json.loads(p.read_text()) for p in sorted(folder.glob("*.json"))}
    return {name: run["config"] for name, run in found.items() if "config" in run}


def benchmark(file: str) -> Record:
    found = read(file)
    if "workloads" not in found:
        return beside_another_checkout(file, found)
    names = ", ".join(w["name"] for w in found["workloads"])
    told = "too short to quote" if found["quick"] else f"[table]({Path(file).stem}.md)"
    told = told.replace("](", "](../results/benchmarks/")
    machine = found["machine"]
    return Record(
        file, names, told, "python -m benchmarks", "0", machine["revision"],
        machine["date"][:10], "Speed",
    )  # fmt: skip


def beside_another_checkout(file: str, found: dict[str, Any]) -> Record:
    """The result of `benchmarks.side_by_side`."""
    names = [row["workload"] for row in found["rows"]]
    told = []
    for row in found["rows"]:
        pairs = row["training"]["pairs"]
        ratio = f"{row['training']['median']:.2f} times {found['other']}"
        told.append(f"{ratio} ({min(pairs):.2f} to {max(pairs):.2f}; {len(pairs)} pairs)")
    command = f"python -m benchmarks.side_by_side CHECKOUT {' '.join(names)}"
    return Record(
        file, ", ".join(names), ", ".join(told), command, "0", found["this"], found["when"][:10],
        "Speed beside an older checkout",
    )  # fmt: skip


OTHERS = {  # file, what, command, seeds, and the date where the file has none
    "benchmarks/offline_d3rlpy.json": (
        "updates on logged data beside d3rlpy", "python -m benchmarks.offline --repeats 2", "0",
        "2026-11-30",
    ),
    "benchmarks/workers.json": ("what workers cost", "python -m benchmarks.workers", "0", ""),
    "workers.json": ("workers that are killed", "python -m campaigns.workers", "0 to 7", ""),
    "kill.json": ("runs that are killed", "python -m campaigns.kill --kills 25", "0", ""),
    **{
        f"faults/{kind}.json": (what, f"python -m campaigns.faults {kind}", "0", "")
        for kind, what in (
            ("flips", "flipped bits in the files of a run"), ("configs", "malformed settings"),
            ("links", "links and pipes in a run"), ("kills", "kills within saves"),
            ("signals", "signals at random times"),
        )
    },
    "labellers.json": (
        "answers of labellers whose server is killed", "python -m campaigns.labellers", "0",
        "2026-11-30",
    ),
    "adaptive_kl/adaptive-2.json": (
        "PPO on tokens keeps 2 nats", UNKNOWN, "0 to 4", "2026-11-28",
    ),
    "adaptive_kl/adaptive-5.json": (
        "PPO on tokens keeps 5 nats", UNKNOWN, "0 to 4", "2026-11-28",
    ),
    "smollm2": ("SmolLM2 is taught to be brief", "docs/guide/language.md", "0", "2026-11-28"),
    "returns/sac_halfcheetah_vs_sb3/result.json": (
        "SAC on HalfCheetah beside stable-baselines3",
        "python -m campaigns.sac_halfcheetah_vs_sb3", "0 and 1", "",
    ),
    "presets/summary.json": (
        "presets beside stable-baselines3's defaults, in tasks that they were not chosen on",
        "python -m campaigns.presets", "from 1000 on", "",
    ),
    "returns/minatar/table-1000000.json": (
        "the agents of MinAtar beside each other", "python -m campaigns.minatar", "0 to 2",
        "2026-11-30",
    ),
}  # fmt: skip


def other(file: str) -> Record:
    what, command, seeds, date = OTHERS[file]
    found = read(file) if file.endswith(".json") else {}
    commit = commit_of(found) if isinstance(found, dict) else UNKNOWN
    date = date or found["date"]
    return Record(file, what, "", command, seeds, commit,
                  date, "Others")  # fmt: skip


def dated(record: Record, brought: dict[str, str]) -> Record:
    """A record whose commit, where it has none, is that which brought its file."""
    if record.commit not in (UNKNOWN, "unknown") or record.file not in brought:
        return record
    return record._replace(commit=f"in {brought[record.file]}")


def all_records() -> list[Record]:
    """A record for each result; parts of an experiment are its own."""
    return [dated(record, read(BROUGHT)) for record in own_records()]


def own_records() -> list[Record]:
    """The records as their files tell them."""
    files = [p.relative_to(RESULTS).as_posix() for p in sorted(RESULTS.rglob("*.json"))]
    found = [other(file) for file in OTHERS]
    for file in files:
        if file in (BROUGHT, *OTHERS) or file.startswith(("smollm2/", "presets/")):
            continue
        if file.startswith("reproduce/"):
            found += [reproduction(file)] if file.count("/") == 2 and is_rows(file) else []
        elif file.startswith("returns/"):
            found.append(returns(file))
        elif file.startswith("benchmarks/"):
            found.append(benchmark(file))
        else:
            raise ValueError(f"results/{file} is of no known kind; add it to OTHERS")
    return found


def is_rows(file: str) -> bool:
    return file.endswith("/rows.json")
