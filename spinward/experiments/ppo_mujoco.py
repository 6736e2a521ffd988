"""PPO's returns in HalfCheetah, Hopper and Walker2d after a million steps (Schulman et al., 2017,
arXiv:1707.06347; Weng et al., 2022, arXiv:2107.14171, whose mean of ten seeds is the number here).

The laptop's scale is one seed of HalfCheetah for 30,000 steps, which only shows that it runs.
"""

from pathlib import Path

from spinward.algorithms.ppo import PPO
from spinward.experiments.presets import preset
from spinward.experiments.reproduction import Reproduction, row_of, trained
from spinward.run import plot

# Tianshou's mean, its deviation, and the mean of Spinning Up in PyTorch: what must be had.
PUBLISHED = {
    "HalfCheetah-v4": (5784.0, 1244.0, 1671.0),
    "Hopper-v4": (2609.0, 701.0, 1779.0),
    "Walker2d-v4": (3589.0, 757.0, 1143.0),
}
SIZES = {"laptop": (1, 30_000, ("HalfCheetah-v4",)), "paper": (10, 1_000_000, tuple(PUBLISHED))}


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    usual, steps, envs = SIZES[scale]
    rows, curves, low, short = [], [], [], []
    for env in envs:
        mean, deviation, floor = PUBLISHED[env]
        chosen, reward = preset(PPO, env, steps)
        done = trained(PPO(**chosen), env, steps, seeds or usual, out, f"ppo-{env}", reward=reward)
        curves.append(plot.Curve(env, *done.curves()))
        training, greedy = done.final(), done.evaluate(10).per_seed
        rows += [
            row_of(f"{env}: return in training", training),
            row_of(f"{env}: return, greedy", greedy, mean),
        ]
        low += [env] if greedy.mean() < floor else []
        short += [env] if greedy.mean() < mean - deviation else []
    picture = out / "returns.png"
    plot.save(plot.figure(curves, f"PPO, {len(curves[0].returns)} seeds"), picture)
    result = judged(scale, low, short)
    return Reproduction("ppo-mujoco", scale, rows, *result, [picture])


def judged(scale: str, low: list[str], short: list[str]) -> tuple[str, str]:
    rule = (
        "the rule: every mean at least Spinning Up's, and at most one below "
        "Tianshou's less its deviation"
    )
    if scale != "paper":
        return "cannot tell", f"this is a trial of a few steps; {rule}"
    if low or len(short) > 1:
        return (
            "not reproduced",
            f"too little in {', '.join(dict.fromkeys([*low, *short]))} ({rule})",
        )
    return "reproduced", rule
