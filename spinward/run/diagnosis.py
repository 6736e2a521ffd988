"""The diagnosis of a run on logged data alone: a verdict for each seed and for the run, the agent
to use, and the one change to try next."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from spinward.core import QLearner
from spinward.errors import SettingsError
from spinward.evaluation import diagnosis
from spinward.evaluation.diagnosis import (
    DATA_LIMITED,
    FEW_POINTS,
    NOT_SETTLED,
    OVER_ESTIMATED,
    OVER_FITTED,
    SETTLINGS,
    SUSPECTED,
    UNDER_FITTED,
    Curves,
    Diagnosis,
)
from spinward.evaluation.offline_probes import PREFIX
from spinward.run import folders
from spinward.run.run import Run
from spinward.store import files

FILE = "diagnosis.json"
SEVEREST = (
    OVER_ESTIMATED, OVER_FITTED, NOT_SETTLED, UNDER_FITTED, SUSPECTED, DATA_LIMITED,
    diagnosis.WELL_FITTED,
)  # fmt: skip


@runtime_checkable
class Follows(Protocol):
    """An algorithm whose target networks move by `tau` after each update."""

    @property
    def tau(self) -> float: ...


@runtime_checkable
class Copies(Protocol):
    """An algorithm whose target network moves after `target_every` updates."""

    @property
    def target_every(self) -> int: ...


@runtime_checkable
class Conservative(Protocol):
    """An algorithm with a setting that holds values or actions near the data."""

    conservatism: ClassVar[tuple[str, float]]  # the setting, and a factor that strengthens it


@runtime_checkable
class Layers(Protocol):
    """An algorithm with hidden layers of some widths."""

    @property
    def hidden(self) -> tuple[int, ...]: ...


def diagnose(run: Run, twin: Run | None = None) -> dict[str, Any]:
    """The verdict on a run, as JSON. `twin` is the same run with wider networks.

    Raises:
        SettingsError: the run has no values, or did not learn from logged data alone.
    """
    algorithm = run.made.algorithm
    curves, other = curves_of(run), curves_of(twin) if twin else []
    if other and len(other) != len(curves):
        raise SettingsError(f"{twin} has {len(other)} seeds, and {run} {len(curves)}")
    tau = float(algorithm.tau) if isinstance(algorithm, Follows) else 1.0
    every = int(algorithm.target_every) if isinstance(algorithm, Copies) else 1
    settling = diagnosis.settling_time(float(algorithm.gamma), tau, every)
    conservative = "gap" in run.points[-1]
    seeds = [
        diagnosis.diagnose(
            each, settling, float(algorithm.gamma), conservative, other[i] if other else None
        )
        for i, each in enumerate(curves)
    ]
    count = Counter(each.verdict for each in seeds)
    verdict = max(SEVEREST, key=lambda v: (count[v], -SEVEREST.index(v)))
    agreeing = [each for each in seeds if each.verdict == verdict]
    place = checkpoint(run, agreeing)
    first = run.config["seed"]
    return {
        "verdict": verdict,
        "because": agreeing[0].because,
        "seeds": [
            {**each._asdict(), "seed": first + i, "evidence": [e._asdict() for e in each.evidence]}
            for i, each in enumerate(seeds)
        ],
        "confidence": confidence(curves[0], len(agreeing), len(seeds)),
        "checkpoint": place,
        "checkpoint_updates": None if place is None else place * run.made.stride,
        "recommended_change": change(run, verdict, settling),
        "settling_updates": settling,
        "warnings": warnings(curves[0]),
    }


def curves_of(run: Run) -> list[Curves]:
    """The probes of each seed.

    Raises:
        SettingsError: there are none.
    """
    made = run.made
    if not isinstance(made.algorithm, QLearner):
        raise SettingsError(
            f"{run.path}: {type(made.algorithm).__name__} learns no values of actions, which a "
            "diagnosis reads; `spinward evaluate RUN --offline DATA` estimates its return"
        )
    points = [p for p in run.points if f"{PREFIX}q_data" in p]
    if not points:
        raise SettingsError(
            f"{run.path} has no values of fixed steps in its log: a diagnosis is of runs on logged "
            "data alone (--data), of at least one log point"
        )
    updates = np.array([p["env_steps"] for p in points])
    names = [name for name in points[-1] if name.startswith(PREFIX)]
    seeds = []
    for seed in range(run.config["seeds"]):
        columns = {
            name.removeprefix(PREFIX): np.array([p[name][seed] for p in points], float)
            for name in names
        }
        seeds.append(Curves(updates, columns))
    return seeds


def checkpoint(run: Run, seeds: list[Diagnosis]) -> int | None:
    """The iteration of the kept agents to use: the last at or before the updates that the seeds
    name; None where no agent of the run should be used."""
    if any(each.updates is None for each in seeds):
        return None
    if seeds[0].verdict in (NOT_SETTLED, OVER_ESTIMATED):
        return None
    wanted = float(np.median([each.updates for each in seeds if each.updates is not None]))
    known = list(folders.numbered(run.path))
    before = [number for number in known if number * run.made.stride <= wanted]
    return max(before, default=min(known, default=None))


def confidence(curves: Curves, agreeing: int, seeds: int) -> str:
    if len(curves.updates) < FEW_POINTS or agreeing < seeds or seeds == 1:
        return "low"
    return "as high as curves allow"


def warnings(curves: Curves) -> list[str]:
    """What the verdict cannot rest on."""
    notes = []
    if "held_td_error" not in curves.values:
        notes.append("no episodes were held out, so errors on others are not known")
    if "return_mean" not in curves.values:
        notes.append("no episode of the data ended, so its returns are not known")
    if len(curves.updates) < FEW_POINTS:
        notes.append(f"the curves have {len(curves.updates)} points; {FEW_POINTS} tell more")
    return notes


def change(run: Run, verdict: str, settling: float) -> dict[str, Any] | None:
    """The one setting to change next; None where a change of settings is not what helps."""
    algorithm, experiment = run.made.algorithm, run.experiment
    if verdict == NOT_SETTLED:
        steps = math.ceil(max(SETTLINGS * settling, 1.5 * experiment.steps))
        return {"setting": "steps", "from": experiment.steps, "to": steps}
    if verdict == OVER_ESTIMATED:
        if isinstance(algorithm, Conservative):
            name, factor = algorithm.conservatism
            now = float(vars(algorithm)[name])
            return {"setting": name, "from": now, "to": now * factor}
        kind = type(algorithm).__name__
        return {"setting": "algorithm", "from": kind, "to": "one that keeps near the data"}
    widths = {OVER_FITTED: 0.5, UNDER_FITTED: 2.0, SUSPECTED: 2.0}
    if verdict not in widths or not isinstance(algorithm, Layers):
        return None
    hidden = list(algorithm.hidden)
    return {
        "setting": "hidden",
        "from": hidden,
        "to": [max(8, round(width * widths[verdict])) for width in hidden],
    }


def write(run: Run, result: dict[str, Any], path: Path | None = None) -> Path:
    """Writes a diagnosis into the run's folder, or to a path."""
    path = path or run.path / FILE
    files.write_atomically(path, json.dumps(result, indent=1, allow_nan=False).encode() + b"\n")
    return path


def lines(run: Run, result: dict[str, Any]) -> list[str]:
    """The diagnosis for people."""
    said = [f"{result['verdict']}: {result['because']}"]
    others = [s for s in result["seeds"] if s["verdict"] != result["verdict"]]
    said += [f"  seed {s['seed']} is {s['verdict']}: {s['because']}" for s in others]
    if result["checkpoint"] is None:
        early = result["verdict"] == NOT_SETTLED
        said.append("no agent can be named yet" if early else "use no agent of this run")
    else:
        said.append(
            f"use the agent after {result['checkpoint_updates']:,} updates: "
            f"--checkpoint {result['checkpoint']}"
        )
    if changed := result["recommended_change"]:
        new, old = (
            ",".join(map(str, x))
            if isinstance(x, list)
            else f"{x:g}"
            if isinstance(x, float)
            else x
            for x in (changed["to"], changed["from"])
        )
        said.append(f"change one thing next: {changed['setting']} {old} to {new}")
        if result["verdict"] == SUSPECTED:
            said.append(f"then compare: spinward diagnose {run.path} --twin THE_WIDER_RUN")
    if result["verdict"] == DATA_LIMITED:
        said.append("more or other data are what may help")
    said += [f"note: {warning}" for warning in result["warnings"]]
    return [*said, f"confidence: {result['confidence']}; this reads curves and proves nothing"]
