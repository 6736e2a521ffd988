"""No update of TRPO leaves the trust region, and it learns steadily (Schulman et al., 2015,
arXiv:1502.05477); a clipped ratio promises no such limit (Schulman et al., 2017).

Every update's divergence is logged. The returns of CartPole and Pendulum are those of the
rl-baselines3-zoo, single tuned runs.
"""

from pathlib import Path
from typing import Any

import numpy as np

from spinward.algorithms.ppo import PPO
from spinward.algorithms.trpo import TRPO
from spinward.experiments.reproduction import Reproduction, Row, row_of, trained
from spinward.presets.choice import preset
from spinward.report import plot
from spinward.run.run import Run

LIMIT = 0.01
TASKS = {"CartPole-v1": (100_000, 500.0, 475.0), "Pendulum-v1": (100_000, -174.6, -250.0)}
SEEDS = {"laptop": 5, "paper": 20}


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    count = seeds or SEEDS[scale]
    rows, pictures, missed = [], [], []
    worst = []
    for env, (steps, published, wanted) in TASKS.items():
        own, _ = preset(TRPO, env, steps)
        region = trained(
            TRPO(**{**own, "kl_limit": LIMIT}), env, steps, count, out, f"trpo-{env}", logs=steps
        )
        own, _ = preset(PPO, env, steps)
        ppo = trained(PPO(**own), env, steps, count, out, f"trpo-{env}-ppo", logs=steps)
        kl = region.curves("kl")[1].max(1) / LIMIT
        worst.append(kl.max())
        greedy = region.evaluate(100).per_seed
        score = row_of(f"{env}: return, greedy", greedy, published)
        missed += [env] if score.measured < wanted else []
        rows += [
            row_of(f"{env}: largest divergence of an update, in limits", kl),
            row_of(f"{env}: the same of PPO", ppo.curves("approx_kl")[1].max(1) / LIMIT),
            row_of(f"{env}: updates that were accepted", region.curves("accepted")[1].mean(1)),
            score,
        ]
        pictures.append(out / f"{env}.png")
        plot.save(divergences(region, ppo, env), pictures[-1])
    rule = "the rule: no divergence above the limit, and CartPole >= 475 and Pendulum >= -250"
    rows.append(
        Row("largest divergence of all updates, in limits", max(worst), np.nan, np.nan, 1.0)
    )
    if max(worst) > 1.0 + 1e-4:
        return Reproduction(
            "trpo-trust-region",
            scale,
            rows,
            "not reproduced",
            f"an update left it ({rule})",
            pictures,
        )
    verdict = "not reproduced" if missed else "reproduced"
    why = f"too little return in {', '.join(missed)} ({rule})" if missed else rule
    return Reproduction("trpo-trust-region", scale, rows, verdict, why, pictures)


def divergences(region: Run, ppo: Run, env: str) -> Any:
    """The divergence of every update of every seed, and the limit."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for name, (steps, kl), colour in (
        ("PPO", ppo.curves("approx_kl"), plot.PALETTE[1]),
        ("TRPO", region.curves("kl"), plot.PALETTE[0]),
    ):
        for i, row in enumerate(kl):
            axes.plot(steps, row, ".", color=colour, markersize=3, label=name if i == 0 else None)
    axes.axhline(LIMIT, color="#6b7480", linestyle=":")
    axes.set_yscale("symlog", linthresh=LIMIT)
    axes.set_xlabel("environment steps")
    axes.set_ylabel("divergence of each update")
    axes.set_title(f"{env}: TRPO's limit is {LIMIT}", loc="left", fontsize=11)
    axes.legend(frameon=False)
    return figure
