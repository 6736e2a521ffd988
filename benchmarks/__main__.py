"""`python -m benchmarks [NAME...] [--quick] [--repeats N]`: Spinward beside its peers."""

import argparse
import sys
from typing import Any

from benchmarks import report
from benchmarks.compare import compare
from benchmarks.processes import PEERS_PYTHON
from benchmarks.startup import NAME as STARTUP
from benchmarks.startup import startup
from benchmarks.workloads import ALL


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = (*ALL, STARTUP)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all, or of: {', '.join(known)}")
    parser.add_argument("--quick", action="store_true", help="few steps, once: does it work?")
    parser.add_argument("--repeats", type=int, help="runs of each side (3, or 1 with --quick)")
    chosen = parser.parse_args()
    for name in chosen.names:
        if name not in known:
            parser.error(f"NAME={name} is none of {', '.join(known)}")
    chosen.names = chosen.names or list(known)
    chosen.repeats = chosen.repeats or (1 if chosen.quick else 3)
    return chosen


def results(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Each workload's result, printed as soon as it is there."""
    found = []
    for name in chosen.names:
        if name == STARTUP:
            found.append(startup(chosen.repeats))
        else:
            found.append(compare(ALL[name], chosen.repeats, chosen.quick))
        print(report.section(found[-1]), flush=True)
    return found


def failed(result: dict[str, Any]) -> bool:
    """Whether a side, or a row of the start-up table, has no number."""
    return bool(result.get("failed")) or any("failed" in row for row in result.get("rows", []))


def main() -> int:
    chosen = options()
    if not PEERS_PYTHON.exists():
        print(f"{PEERS_PYTHON} is missing: run benchmarks/setup.sh", file=sys.stderr)
        return 2
    where = report.machine()
    found = results(chosen)
    print(f"Saved in {report.save(where, found, chosen.quick)}", file=sys.stderr)
    return 1 if any(failed(result) for result in found) else 0


if __name__ == "__main__":
    sys.exit(main())
