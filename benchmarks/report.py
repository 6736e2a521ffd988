"""Results as a table for people and as a file that says where they come from."""

import datetime
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.processes import PEERS_PYTHON, ROOT

FOLDER = ROOT / "results" / "benchmarks"
PACKAGES = (
    *("jax", "jaxlib", "numpy", "optax", "gymnasium", "envpool", "mujoco", "ale-py"),
    *("torch", "stable-baselines3", "sbx-rl", "rejax", "gymnax", "flax"),
)
LIST_VERSIONS = """
import json, sys
from importlib import metadata
print(json.dumps({d.name.lower().replace("_", "-"): d.version for d in metadata.distributions()}))
"""


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def installed(python: Path | None = None) -> dict[str, str]:
    """Versions of the packages that matter, here or under another Python."""
    if python is None:
        found = {d.name.lower().replace("_", "-"): d.version for d in metadata.distributions()}
    else:
        found = json.loads(subprocess.check_output([python, "-c", LIST_VERSIONS], text=True))
    return {name: found[name] for name in PACKAGES if name in found}


def revision() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "unknown"


def machine() -> dict[str, Any]:
    """Where and with what the results were made."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "revision": revision(),
        "spinward_packages": installed(),
        "peer_packages": installed(PEERS_PYTHON),
    }


def number(value: float | None) -> str:
    """Three figures, no exponents."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def side_row(name: str, side: dict[str, Any]) -> list[str]:
    low, high = side["steps_per_cpu_s_train_low"], side["steps_per_cpu_s_train_high"]
    return [
        name,
        f"{number(side['steps_per_cpu_s_train'])} ({number(low)} to {number(high)})",
        number(side.get("steps_per_cpu_s_learning")),
        number(side["steps_per_cpu_s_total"]),
        number(side["startup_cpu_s"]),
        number(side["wall_s_total"]),
        number(side["peak_rss_mb"] + side["peak_rss_child_mb"]),
        number(side["final_return"]),
    ]


def ratio_line(found: dict[str, Any]) -> str:
    names = {
        "steps_per_cpu_s_train": "training",
        "steps_per_cpu_s_learning": "learning alone",
        "steps_per_cpu_s_total": "whole command, CPU",
        "wall_s_total": "whole command, wall",
        "startup_cpu_s": "start-up",
        "peak_rss_mb": "memory",
    }
    told = [f"{text} {found[name]:.2f}" for name, text in names.items() if name in found]
    mark = "**" if found["main"] else ""
    return f"- {mark}{found['ours']} against {found['peer']}{mark}: " + ", ".join(told)


def comparison(result: dict[str, Any]) -> str:
    heads = ["side", "env steps per CPU-s, training", "learning alone", "whole command"]
    heads += ["start-up CPU-s", "wall s", "peak MiB", "return"]
    lines = [table(heads, [side_row(name, side) for name, side in result["sides"].items()]), ""]
    lines += [ratio_line(found) for found in result["ratios"]]
    for name, cost in result["seed_costs"].items():
        lines.append(f"- {name}: each seed costs {cost:.2f} of one trained alone")
    for name, side in result["sides"].items():
        if side["settings_left_out"]:
            lines.append(f"- {name} has no setting {', '.join(side['settings_left_out'])}")
    lines += [
        f"- FAILED {name}: `{why.splitlines()[-1]}`" for name, why in result["failed"].items()
    ]
    lines += [f"- {note}" for note in result["notes"]]
    return "\n".join(lines)


def startup_table(result: dict[str, Any]) -> str:
    rows = [
        [one["what"], number(one["cpu_s"]), number(one["wall_s"]), number(one["peak_rss_mb"])]
        for one in result["rows"]
        if "failed" not in one
    ]
    failed = [
        f"- FAILED {one['what']}: `{one['failed'].splitlines()[-1]}`"
        for one in result["rows"]
        if "failed" in one
    ]
    return "\n".join([table(["what", "CPU-s", "wall s", "peak MiB"], rows), "", *failed])


def section(result: dict[str, Any]) -> str:
    body = startup_table(result) if "rows" in result else comparison(result)
    return f"## {result['name']}\n\n{result['question']}.\n\n{body}\n"


def page(where: dict[str, Any], results: list[dict[str, Any]], quick: bool) -> str:
    """The whole report in Markdown."""
    packages = ", ".join(f"{name} {version}" for name, version in where["peer_packages"].items())
    head = [
        "# Benchmarks" + (" (quick: too short to quote)" if quick else ""),
        "",
        f"{where['date']}, {where['cpu']} with {where['cores']} cores, load "
        f"{where['load_before']:.1f} before the start, Python {where['python']}, "
        f"revision {where['revision']}.",
        f"Peers: {packages}.",
        "",
        "Medians over repeats, ranges in brackets. Ratios above 1 are in Spinward's favour. "
        "Training leaves out start-up and compilation; the whole command has them.",
        "",
    ]
    return "\n".join(head) + "\n" + "\n".join(section(result) for result in results)


def save(where: dict[str, Any], results: list[dict[str, Any]], quick: bool) -> Path:
    """Writes the report and its numbers beside each other, and returns the report's path."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    stamp = where["date"][:16].replace(" ", "-").replace(":", "")
    path = FOLDER / f"{stamp}{'-quick' if quick else ''}.md"
    path.write_text(page(where, results, quick))
    document = {"machine": where, "quick": quick, "workloads": results}
    path.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    return path
