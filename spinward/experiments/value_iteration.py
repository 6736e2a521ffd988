"""Each sweep of value iteration brings the values nearer to the optimal ones by the factor gamma or
more, in the largest difference (Bellman, 1957; Puterman, 1994, theorem 6.3.1).

Also measured on the same finite processes: policy iteration ends at the same values after a handful
of policies (Howard, 1960), and Q-learning comes to them from samples (Watkins and Dayan, 1992).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spinward.envs.finite import Finite, chain, garnet, grid
from spinward.experiments.reproduction import Reproduction, Row, first_seed, row_of
from spinward.report import plot
from spinward.store.files import write_atomically
from spinward.targets.dynamic_programming import (
    MDP,
    contraction,
    distance,
    policy_iteration,
    value_iteration,
)
from spinward.targets.tabular import q_learning

PROCESSES: dict[str, Callable[[], Finite]] = {"chain": chain, "grid": grid, "garnet": garnet}
GAMMAS = (0.5, 0.9, 0.99)
SAMPLED = 0.9  # the discount with which Q-learning is tried
SIZES = {"laptop": (5, 200_000), "paper": (20, 2_000_000)}  # seeds and steps of Q-learning
POINTS = 50
FLOOR = 1e-3  # share of the first error below which rounding shows
ROUNDING = 1e-3  # by which share a rate may exceed gamma


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    usual, steps = SIZES[scale]
    rows, errors = [], {}
    for name, make in PROCESSES.items():
        mdp = make().mdp
        for gamma in GAMMAS:
            swept_values, trace = swept(name, mdp, gamma)
            rows += swept_values
            errors[name, gamma] = trace
    curves = {}
    for name, make in PROCESSES.items():
        curves[name] = sampled(make().mdp, seeds or usual, steps)
        left = curves[name][:, -1] / curves[name][:, 0]
        rows.append(row_of(f"{name}, Q-learning: error left after {steps:,} steps", left))
    content = {f"{name}, gamma {gamma}": e.tolist() for (name, gamma), e in errors.items()}
    content |= {f"{name}, Q-learning": e.tolist() for name, e in curves.items()}
    write_atomically(out / "errors.json", (json.dumps(content) + "\n").encode())
    picture = out / "contraction.png"
    plot.save(drawing(errors, curves, steps), picture)
    return Reproduction("value-iteration", scale, rows, *verdict_of(rows), [picture])


def swept(name: str, mdp: MDP, gamma: float) -> tuple[list[Row], np.ndarray]:
    """The largest factor by which a sweep shrank the error, and the errors [sweep] themselves."""
    _, best, policies = policy_iteration(mdp, gamma)
    sweeps = int(np.ceil(np.log(FLOOR) / np.log(gamma)))
    trace = value_iteration(mdp, jnp.zeros(mdp.reward.shape), gamma, sweeps)
    errors = np.asarray(distance(trace, best), float)
    rates = np.asarray(contraction(jnp.asarray(errors), FLOOR * errors[0]))
    label = f"{name}, gamma {gamma}"
    nothing = np.nan, np.nan
    return [
        Row(f"{label}: slowest contraction in a sweep", float(np.nanmax(rates)), *nothing, gamma),
        Row(f"{label}: policies of policy iteration", float(policies), *nothing),
    ], errors


def sampled(mdp: MDP, seeds: int, steps: int) -> np.ndarray:
    """How far Q-learning is from the optimal values [seed, point], the start included."""
    _, best, _ = policy_iteration(mdp, SAMPLED)
    keys = jax.vmap(jax.random.PRNGKey)(first_seed() + np.arange(seeds))
    tables = jax.vmap(lambda k: q_learning(mdp, k, SAMPLED, steps, POINTS))(keys)
    start = jnp.broadcast_to(jnp.abs(best).max(), (seeds, 1))
    return np.asarray(jnp.concatenate([start, distance(tables, best)], 1), float)


def verdict_of(rows: list[Row]) -> tuple[str, str]:
    rule = (
        f"the rule: no sweep contracts by a factor above gamma, {ROUNDING:.1%} of it for rounding"
    )
    rates = [row for row in rows if row.published is not None]
    slow = [r.what for r in rates if r.measured > (r.published or 0.0) * (1 + ROUNDING)]
    if slow:
        return "not reproduced", f"slower than gamma: {', '.join(slow)} ({rule})"
    return "reproduced", f"every sweep of {len(rates)} processes and discounts contracts ({rule})"


def drawing(errors: dict[Any, np.ndarray], curves: dict[str, np.ndarray], steps: int) -> Any:
    """Errors by sweep beside the bound gamma^k, and those of Q-learning by its steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, gamma in enumerate(GAMMAS):
        for j, name in enumerate(PROCESSES):
            share = errors[name, gamma] / errors[name, gamma][0]
            label = f"{name}, gamma {gamma}"
            sweeps = np.arange(1, len(share))
            left.plot(
                sweeps, share[1:], plot.STYLES[j], color=plot.PALETTE[i], linewidth=1.2, label=label
            )
        sweeps = np.arange(1, len(errors["garnet", gamma]))
        left.plot(sweeps, gamma**sweeps, color=plot.LIGHT.ink, linewidth=0.6)
    left.set(xscale="log", yscale="log", ylim=(FLOOR, 1.5), xlabel="sweeps of value iteration")
    left.set_ylabel("largest error, of the first's (thin: gamma^k)")
    left.legend(fontsize=6)
    at = np.linspace(0, steps / 1000, POINTS + 1)
    for j, (name, curve) in enumerate(curves.items()):
        right.plot(at, (curve / curve[:, :1]).T, color=plot.PALETTE[j], linewidth=0.8)
        right.plot([], color=plot.PALETTE[j], label=name)
    right.set(yscale="log", xlabel=f"thousand steps of Q-learning, gamma {SAMPLED}")
    right.legend(fontsize=8)
    return figure
