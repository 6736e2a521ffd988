"""PPO's returns in HalfCheetah, Hopper and Walker2d after a million steps (Schulman et al., 2017,
arXiv:1707.06347; Weng et al., 2022, arXiv:2107.14171, whose mean of ten seeds is the number here).

The laptop's scale is five seeds of HalfCheetah. EnvPool steps it where that is installed, which
takes half of the time that Gymnasium takes.
"""

import importlib.util
from pathlib import Path

from spinward.algorithms.ppo import PPO
from spinward.experiments.reproduction import Reproduction, first_seed, row_of, trained
from spinward.experiments.verdicts import above, all_of
from spinward.presets.choice import preset
from spinward.report import plot

# Tianshou's mean, its standard deviation, and the mean of Spinning Up in PyTorch: what must be had.
PUBLISHED = {
    "HalfCheetah-v4": (5784.0, 1244.0, 1671.0),
    "Hopper-v4": (2609.0, 701.0, 1779.0),
    "Walker2d-v4": (3589.0, 757.0, 1143.0),
}
SIZES = {"laptop": (5, ("HalfCheetah-v4",)), "paper": (10, tuple(PUBLISHED))}
STEPS = 1_000_000
RULE = (
    "the rule: every interval above Spinning Up's mean, and of three tasks at most one, of one "
    "none, whose interval is not above Tianshou's mean less its standard deviation"
)


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    usual, envs = SIZES[scale]
    rows, curves, low, short = [], [], [], []  # verdicts beside Spinning Up and Tianshou
    for env in envs:
        mean, std, floor = PUBLISHED[env]
        name = f"envpool:{env}" if importlib.util.find_spec("envpool") else env
        settings, reward = preset(PPO, name, STEPS)
        done = trained(
            PPO(**settings), name, STEPS, seeds or usual, out, f"ppo-{env}", reward=reward
        )
        curves.append(plot.Curve(env, *done.curves()))
        training, greedy = done.final(), done.evaluate(10, seed=first_seed()).per_seed
        rows += [
            row_of(f"{env}: return in training", training),
            row_of(f"{env}: return, greedy", greedy, mean),
        ]
        low.append(above(rows[-1], floor))
        short.append(above(rows[-1], mean - std))
    picture = out / "returns.png"
    plot.save(plot.figure(curves, f"PPO, {len(curves[0].returns)} seeds"), picture)
    why = why_of(envs)
    return Reproduction("ppo-mujoco", scale, rows, verdict_of(low, short), why, [picture])


def why_of(envs: tuple[str, ...]) -> str:
    return f"of {' and '.join(envs)} alone ({RULE})" if len(envs) < len(PUBLISHED) else RULE


def verdict_of(low: list[str], short: list[str]) -> str:
    """The verdict, of those beside Spinning Up and, of which a third may fail, beside Tianshou."""
    order = ("reproduced", "cannot tell", "not reproduced")
    counted = sorted(short, key=order.index)[: len(short) - len(short) // 3]
    return all_of(*low, *counted)
