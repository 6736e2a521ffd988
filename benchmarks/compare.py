"""Runs a workload's sides in turn, several times, and tells the medians and their ratios."""

import sys
from statistics import median
from typing import Any

from benchmarks.processes import ask
from benchmarks.workload import Workload

Answers = dict[str, list[dict[str, Any]]]  # of each side, one per repeat that did not fail


def answers(workload: Workload, repeats: int, quick: bool) -> tuple[Answers, dict[str, str]]:
    """What every side answered, and why those that failed did.

    Sides take turns, each repeat starting with another, so that a machine that slows down meanwhile
    slows them alike.
    """
    env_steps = workload.quick_env_steps if quick else workload.env_steps
    got: Answers = {side.name: [] for side in workload.sides}
    failed: dict[str, str] = {}
    for repeat in range(repeats):
        turn = repeat % len(workload.sides)
        for side in workload.sides[turn:] + workload.sides[:turn]:
            if side.name in failed:
                continue
            answer = ask(side, workload, env_steps, seed=repeat)
            if "failed" in answer:
                failed[side.name] = answer["failed"]
            else:
                got[side.name].append(answer)
            print(f"  {workload.name}: {side.name}, {repeat + 1}/{repeats}", file=sys.stderr)
    return got, failed


def rate(answer: dict[str, Any], cost: str = "cpu_s_train") -> float:
    """Env steps per second of that cost, of all seeds together."""
    steps = answer["env_steps_train" if cost.endswith("train") else "env_steps"]
    return steps / answer[cost] if answer[cost] else float("nan")


def learning_rate(answer: dict[str, Any]) -> float:
    """Env steps per CPU-second of training without the environment's own part."""
    return answer["env_steps_train"] / (answer["cpu_s_train"] - answer["env_cpu_s"])


def summary(got: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over repeats of what one side answered, with the range of its training rate."""
    rates = [rate(answer) for answer in got]
    told: dict[str, Any] = {
        "steps_per_cpu_s_train": median(rates),
        "steps_per_cpu_s_train_low": min(rates),
        "steps_per_cpu_s_train_high": max(rates),
        "steps_per_cpu_s_total": median(rate(answer, "cpu_s_total") for answer in got),
        "repeats": len(got),
    }
    for name in ("cpu_s_total", "cpu_s_train", "wall_s_total", "wall_s_train", "startup_cpu_s"):
        told[name] = median(answer[name] for answer in got)
    for name in ("peak_rss_mb", "peak_rss_child_mb"):
        told[name] = max(answer[name] for answer in got)
    if all("env_cpu_s" in answer for answer in got):
        told["steps_per_cpu_s_learning"] = median(learning_rate(answer) for answer in got)
    returns = [answer["final_return"] for answer in got if answer["final_return"] is not None]
    told["final_return"] = median(returns) if returns else None
    told["return_kind"] = got[0]["return_kind"]
    told["settings_left_out"] = got[0].get("settings_left_out", [])
    return told


def ratios(workload: Workload, sides: dict[str, Any]) -> list[dict[str, Any]]:
    """How often better our sides are than the others of as many seeds; above 1 is better."""
    pairs = [
        (ours, peer)
        for ours in workload.sides
        for peer in workload.sides
        if ours.ours and not peer.ours and ours.seeds == peer.seeds
    ]
    found = []
    for ours, peer in pairs:
        if ours.name not in sides or peer.name not in sides:
            continue
        mine, other = sides[ours.name], sides[peer.name]
        row = {"ours": ours.name, "peer": peer.name, "main": ours.beside == peer.name}
        for name in ("steps_per_cpu_s_train", "steps_per_cpu_s_total", "steps_per_cpu_s_learning"):
            if name in mine and name in other:
                row[name] = mine[name] / other[name]
        for name in ("wall_s_total", "startup_cpu_s", "peak_rss_mb"):
            row[name] = other[name] / mine[name]
        found.append(row)
    return found


def seed_costs(workload: Workload, sides: dict[str, Any]) -> dict[str, float]:
    """CPU-seconds per seed when many are trained together, over those of one trained alone."""
    alone = {(s.script, s.variant): s for s in workload.sides if s.seeds == 1 and s.name in sides}
    return {
        side.name: sides[side.name]["cpu_s_train"]
        / side.seeds
        / sides[alone[side.script, side.variant].name]["cpu_s_train"]
        for side in workload.sides
        if side.seeds > 1 and side.name in sides and (side.script, side.variant) in alone
    }


def compare(workload: Workload, repeats: int, quick: bool) -> dict[str, Any]:
    """All there is to tell about one workload, ready for JSON."""
    got, failed = answers(workload, repeats, quick)
    sides = {name: summary(runs) for name, runs in got.items() if runs}
    return {
        "name": workload.name,
        "question": workload.question,
        "settings": workload.settings,
        "cores": workload.cores,
        "notes": list(workload.notes),
        "sides": sides,
        "ratios": ratios(workload, sides),
        "seed_costs": seed_costs(workload, sides),
        "failed": failed,
        "answers": got,
    }
