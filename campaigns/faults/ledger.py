"""The record of a campaign: how many cases had which outcome, and every case that is wrong."""

import json
import random
import resource
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spinward.run import provenance

FOLDER = Path("results/faults")
FINE = ("told", "harmless", "refused", "stopped", "done", "resumed")  # outcomes that may be
EVERY = 5  # cases between two writes

Case = Callable[[random.Random], tuple[str, str, str]]  # outcome, kind, and what the case was


def cpu_s() -> float:
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def begun(path: Path, seed: int, commit: str) -> dict[str, Any]:
    """The record to go on from: that of the same commit and seed, or an empty one."""
    found = json.loads(path.read_text()) if path.exists() else {}
    if (found.get("commit"), found.get("seed")) == (commit, seed):
        return found
    empty: dict[str, Any] = {"outcomes": {}, "kinds": {}, "wrong": []}
    return {"commit": commit, "seed": seed, "done": 0, "cpu_s": 0.0, **empty}


def repeat(kind: str, case: Case, folder: Path = FOLDER) -> bool:
    """Repeats the cases that were wrong; those that are as they may be count as mended."""
    path = folder / f"{kind}.json"
    record = json.loads(path.read_text())
    left, mended = [], record.get("mended", [])
    for wrong in record["wrong"]:
        outcome, _, what = case(random.Random(f"{record['seed']}-{wrong['case']}"))
        fine = outcome in FINE
        (mended if fine else left).append(wrong | {"now": outcome, "at": provenance.commit()})
        print(wrong["case"], outcome, what[:200], flush=True)
    path.write_text(json.dumps(record | {"wrong": left, "mended": mended}, indent=1) + "\n")
    return not left


def carry_out(kind: str, count: int, seed: int, case: Case, folder: Path = FOLDER) -> bool:
    """Carries out the cases of a campaign that are left. Returns whether all are as they may be."""
    path = folder / f"{kind}.json"
    record = begun(path, seed, provenance.commit())
    outcomes, before, used = Counter(record["outcomes"]), record["cpu_s"], cpu_s()
    for number in range(record["done"], count):
        outcome, kind_of_case, what = case(random.Random(f"{seed}-{number}"))
        outcomes[outcome] += 1
        of_kind = record["kinds"].setdefault(kind_of_case, {})
        of_kind[outcome] = of_kind.get(outcome, 0) + 1
        if outcome not in FINE:
            record["wrong"].append({"case": number, "outcome": outcome, "what": what[:1000]})
            print(number, outcome, what[:600], flush=True)
        record |= {"done": number + 1, "outcomes": dict(sorted(outcomes.items()))}
        record |= {"cpu_s": round(before + cpu_s() - used, 1), "date": time.strftime("%Y-%m-%d")}
        if (number + 1) % EVERY == 0 or number + 1 == count:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(record, indent=1) + "\n")
    print(kind, {k: v for k, v in record.items() if k != "wrong"}, flush=True)
    return not record["wrong"]
