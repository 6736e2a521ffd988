"""What it costs to get going: imports, help, and the way to the first update, cold and warm."""

import json
import sys
import tempfile
from dataclasses import asdict, replace
from statistics import median
from typing import Any

from benchmarks.measure import Request
from benchmarks.processes import OURS_PYTHON, PEERS_PYTHON, Ended, run
from benchmarks.workload import OURS
from benchmarks.workloads import ALL

NAME = "startup"
OURS_IMPORT = "import spinward"
COMMAND_LINE = "from spinward.cli.main import main; main()"
TRAIN = ("train", "ppo", "CartPole-v1", "--steps", "512")  # its first update, and then the report
PEER_IMPORTS = ("import rejax", "import sbx", "import stable_baselines3")


def first_update(name: str) -> tuple[str, Request]:
    """A workload of which only the first update is done."""
    workload = ALL[name]
    side = next(side for side in workload.sides if side.ours)
    settings = workload.settings
    env_steps = settings["envs"] * settings["steps"]
    request = Request(workload.algorithm, side.env, settings, env_steps, variant="first update")
    if workload.algorithm == "dqn":
        request = replace(request, env_steps=settings["warmup"] + env_steps)
    return f"first update of {name}", request


def row(what: str, ended: list[Ended]) -> dict[str, Any]:
    """Medians over repeats."""
    if any(one.code for one in ended):
        why = next(one for one in ended if one.code)
        return {"what": what, "failed": f"exit {why.code}: {why.error.strip()[-600:]}"}
    return {
        "what": what,
        "cpu_s": median(one.cpu_s for one in ended),
        "wall_s": median(one.wall_s for one in ended),
        "peak_rss_mb": max(one.peak_rss_mb for one in ended),
        "repeats": len(ended),
    }


def plain_rows(repeats: int) -> list[dict[str, Any]]:
    """Imports, ours and theirs, and our help."""
    ours, peers = str(OURS_PYTHON), str(PEERS_PYTHON)
    commands = {OURS_IMPORT: [ours, "-c", OURS_IMPORT]}
    commands |= {text: [peers, "-c", text] for text in PEER_IMPORTS}
    commands["spinward --help"] = [ours, "-c", COMMAND_LINE, "--help"]
    return [row(what, [run(command) for _ in range(repeats)]) for what, command in commands.items()]


def training_rows(name: str, repeats: int) -> list[dict[str, Any]]:
    """The way to our first update with an empty cache of compiled programs, and with a full one."""
    what, request = first_update(name)
    command = [str(OURS_PYTHON), "-m", OURS, json.dumps(asdict(request))]
    cold, warm = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            env = {
                "JAX_COMPILATION_CACHE_DIR": cache,
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            }
            cold.append(run(command, env=env))
            warm.append(run(command, env=env))
    return [row(f"{what}, cold", cold), row(f"{what}, warm", warm)]


def command_rows(repeats: int) -> list[dict[str, Any]]:
    """The command that a user types, to its end after one update."""
    cold, warm = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            command = [str(OURS_PYTHON), "-c", COMMAND_LINE, *TRAIN, "--out", folder]
            cold.append(run(command, 2, {"XDG_CACHE_HOME": folder}))
            warm.append(run(command, 2, {"XDG_CACHE_HOME": folder}))
    what = f"spinward {' '.join(TRAIN)}"
    return [row(f"{what}, cold", cold), row(f"{what}, warm", warm)]


def startup(repeats: int) -> dict[str, Any]:
    """All rows, ready for JSON."""
    rows = plain_rows(repeats) + command_rows(repeats)
    for name in ("ppo_cartpole_jax", "dqn_cartpole_jax", "ppo_cartpole_gym"):
        rows += training_rows(name, repeats)
        print(f"  {NAME}: {name}", file=sys.stderr)
    return {"name": NAME, "question": "What it costs to get going", "rows": rows}
