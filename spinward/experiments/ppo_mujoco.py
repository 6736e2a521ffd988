"""PPO's returns in HalfCheetah, Hopper and Walker2d after a million steps (Schulman et al., 2017,
arXiv:1707.06347; Weng et al., 2022, arXiv:2107.14171, whose mean of ten seeds is the number here).

The laptop's scale is three seeds of HalfCheetah. EnvPool steps it where that is installed, which
takes half of the time that Gymnasium takes.
"""

import importlib.util
from pathlib import Path

from spinward.algorithms.ppo import PPO
from spinward.experiments.reproduction import Reproduction, row_of, trained
from spinward.presets.choice import preset
from spinward.report import plot

# Tianshou's mean, its standard deviation, and the mean of Spinning Up in PyTorch: what must be had.
PUBLISHED = {
    "HalfCheetah-v4": (5784.0, 1244.0, 1671.0),
    "Hopper-v4": (2609.0, 701.0, 1779.0),
    "Walker2d-v4": (3589.0, 757.0, 1143.0),
}
SIZES = {"laptop": (3, ("HalfCheetah-v4",)), "paper": (10, tuple(PUBLISHED))}
STEPS = 1_000_000
RULE = (
    "the rule: every mean at least Spinning Up's, and of three at most one below Tianshou's "
    "less its standard deviation"
)


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    usual, envs = SIZES[scale]
    rows, curves, low, short = [], [], [], []
    for env in envs:
        mean, std, floor = PUBLISHED[env]
        name = f"envpool:{env}" if importlib.util.find_spec("envpool") else env
        settings, reward = preset(PPO, name, STEPS)
        done = trained(
            PPO(**settings), name, STEPS, seeds or usual, out, f"ppo-{env}", reward=reward
        )
        curves.append(plot.Curve(env, *done.curves()))
        training, greedy = done.final(), done.evaluate(10).per_seed
        rows += [
            row_of(f"{env}: return in training", training),
            row_of(f"{env}: return, greedy", greedy, mean),
        ]
        low += [env] if greedy.mean() < floor else []
        short += [env] if greedy.mean() < mean - std else []
    picture = out / "returns.png"
    plot.save(plot.figure(curves, f"PPO, {len(curves[0].returns)} seeds"), picture)
    verdict, why = "reproduced", RULE
    if low or len(short) > len(envs) // 3:
        missed = ", ".join(dict.fromkeys([*low, *short]))
        verdict, why = "not reproduced", f"too little in {missed} ({RULE})"
    return Reproduction("ppo-mujoco", scale, rows, verdict, why, [picture])
