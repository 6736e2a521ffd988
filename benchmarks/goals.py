"""Which ratio to which peer was set as a goal, and what the newest results on record say of it."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.processes import ROOT

FOLDER = ROOT / "results" / "benchmarks"
CPU, WALL = "steps_per_cpu_s_train", "wall_s_total"


class Goal(NamedTuple):
    what: str
    workload: str
    ours: str
    peer: str
    goal: float
    metric: str = CPU
    backends: str = "same"  # whether both sides step the same simulator


GYM = "spinward (Gymnasium)"
GOALS = (
    Goal("PPO, CartPole in JAX", "ppo_cartpole_jax", "spinward", "rejax", 1.3),
    Goal("PPO, CartPole in JAX, 10 seeds, whole command, wall time", "ppo_cartpole_10seeds",
         "spinward", "rejax", 2.0, WALL),
    Goal("PPO, Gymnasium's CartPole", "ppo_cartpole_gym", "spinward", "sbx", 5.0),
    Goal("PPO, Gymnasium's CartPole", "ppo_cartpole_gym", "spinward", "sb3", 7.0),
    Goal("DQN, CartPole in JAX", "dqn_cartpole_jax", "spinward", "rejax", 1.6),
    Goal("DQN, Gymnasium's CartPole", "dqn_cartpole_gym", "spinward", "sbx", 4.0),
    Goal("PPO, HalfCheetah", "ppo_halfcheetah", GYM, "sbx", 6.0),
    Goal("A2C, HalfCheetah", "a2c_halfcheetah", GYM, "sb3", 6.0),
    Goal("TRPO, HalfCheetah", "trpo_halfcheetah", GYM, "sb3-contrib", 4.0),
    Goal("recurrent PPO, CartPole", "recurrent_ppo", GYM, "sb3-contrib", 5.0),
    Goal("SAC, Pendulum", "sac_pendulum", "spinward", "sbx", 1.4),
    Goal("SAC, Pendulum", "sac_pendulum", "spinward", "sb3", 2.0),
    Goal("TD3, Pendulum", "td3_pendulum", "spinward", "sbx", 1.4),
    Goal("TD3, Pendulum", "td3_pendulum", "spinward", "sb3", 2.0),
    Goal("SAC, HalfCheetah", "sac_halfcheetah", GYM, "sbx", 1.4),
    Goal("SAC, HalfCheetah", "sac_halfcheetah", GYM, "sb3", 2.0),
    Goal("TD3, HalfCheetah", "td3_halfcheetah", GYM, "sbx", 1.4),
    Goal("TD3, HalfCheetah", "td3_halfcheetah", GYM, "sb3", 2.0),
    Goal("SAC, two seeds, whole command, wall time", "sac_two_seeds", "spinward", "sbx", 2.0, WALL),
    Goal("DQN, Pong", "dqn_pong", "spinward", "sb3", 1.4, backends="EnvPool, theirs ALE"),
    Goal("C51, Pong", "c51_pong", "spinward", "dopamine", 2.0),
    Goal("QR-DQN, Pong", "qr_dqn_pong", "spinward", "dopamine", 2.0),
    Goal("GRPO", "grpo_tokens", "spinward", "trl", 5.0,
         backends="scores in the program, theirs in Python"),
)  # fmt: skip
OFFLINE = {"bc": 2.5, "td3_bc": 2.3, "iql": 2.8, "cql": 3.5}  # over d3rlpy


class Measured(NamedTuple):
    ratio: float
    low: float
    high: float
    pairs: int  # runs of each side
    file: str

    def verdict(self, goal: float) -> str:
        """Met only where the whole spread is, and where there is a spread."""
        if self.ratio < goal:
            return "not met"
        if self.pairs < 2:
            return "met, in one run"
        return "met" if self.low >= goal else "not surely met"


def newest(goal: Goal) -> Measured | None:
    """The newest measurement of a goal that is not a quick one."""
    for path in sorted(FOLDER.glob("2*.json"), reverse=True):
        content = json.loads(path.read_text())
        if content["quick"]:
            continue
        for workload in content["workloads"]:
            sides = workload.get("sides", {})
            if workload["name"] == goal.workload and {goal.ours, goal.peer} <= sides.keys():
                return measured(goal, sides[goal.ours], sides[goal.peer], path)
    return None


def measured(goal: Goal, ours: dict[str, Any], peer: dict[str, Any], path: Path) -> Measured:
    pairs = min(ours["repeats"], peer["repeats"])
    if goal.metric == WALL:  # of which no range was kept
        ratio = peer[WALL] / ours[WALL]
        return Measured(ratio, ratio, ratio, 1, path.name)
    return Measured(
        ours[CPU] / peer[CPU],
        ours[f"{CPU}_low"] / peer[f"{CPU}_high"],
        ours[f"{CPU}_high"] / peer[f"{CPU}_low"],
        pairs,
        path.name,
    )


def offline() -> list[tuple[str, float, Measured]]:
    """The algorithms for logged data, beside d3rlpy."""
    path = FOLDER / "offline_d3rlpy.json"
    found = []
    for name, row in json.loads(path.read_text()).items():
        ours, peer = row["ours"], row["theirs"]
        spread = min(ours) / max(peer), max(ours) / min(peer)
        found.append((name, OFFLINE[name], Measured(row["ratio"], *spread, len(ours), path.name)))
    return found


def workers() -> list[tuple[str, float, Measured]]:
    """What a worker of Ray leaves of one process, and what two are of one."""
    path = FOLDER / "workers.json"
    found = json.loads(path.read_text())
    pairs = [
        ("a worker of Ray beside one process, at most 15 % more CPU", 1 / 1.15,
         found["HalfCheetah-v5"], "one worker", "one process"),
        ("two workers beside one, slow steps, wall time", 1.6,
         found["busy"], "two workers", "one worker"),
    ]  # fmt: skip
    return [
        (what, goal, of_costs(times[ours], times[peer], path))
        for what, goal, times, ours, peer in pairs
    ]


def of_costs(ours: list[float], peer: list[float], path: Path) -> Measured:
    ratio = float(np.median(peer) / np.median(ours))
    spread = min(peer) / max(ours), max(peer) / min(ours)
    return Measured(ratio, *spread, len(ours), path.name)


def rows() -> list[list[str]]:
    """The table: what, beside whom, goal, ratio, spread, verdict, both sides' simulators, file."""
    table = []
    for goal in GOALS:
        if found := newest(goal):
            table.append(row(goal.what, goal.peer, goal.goal, found, goal.backends))
        else:
            table.append(
                [goal.what, goal.peer, f"{goal.goal:g}", *["not on record"] * 2, "", "", ""]
            )
    table += [
        row(f"{name}, updates on logged data", "d3rlpy", goal, found, "same")
        for name, goal, found in offline()
    ]
    table += [row(what, "itself", goal, found, "same") for what, goal, found in workers()]
    return table


def row(what: str, peer: str, goal: float, found: Measured, backends: str) -> list[str]:
    spread = f"{found.low:.2f} to {found.high:.2f}" if found.pairs > 1 else "one run"
    return [
        what, peer, f"{goal:.3g}", f"{found.ratio:.2f}", spread, found.verdict(goal), backends,
        f"[{found.file}](../results/benchmarks/{found.file})",
    ]  # fmt: skip
