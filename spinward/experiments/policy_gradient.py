"""The four forms of the policy gradient have one mean and less and less variance: reward to go,
baselines and advantages (Williams, 1992; Sutton et al., 2000; Greensmith et al., 2004; Schulman et
al., 2016, arXiv:1506.02438).

Of one policy, early in its training on CartPole, the gradient is taken from many fresh batches in
each form. Then each form is trained with.
"""

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from spinward.algorithms.vpg import FORMS, VPG
from spinward.core import Key, Policy, replace
from spinward.evaluation.episodes import Agents
from spinward.experience.rollout import Rollout
from spinward.experiments.reproduction import Reproduction, Row, first_seed, row_of, trained
from spinward.report import plot

ENV = "CartPole-v1"
EARLY = 30_000  # env steps after which the policy's gradient is looked at
SIZES = {"laptop": (5, 100_000, 256), "paper": (20, 300_000, 1024)}  # seeds, env steps, batches
NAMES = ("total return", "reward to go", "less an average", "advantage")
SAME = 0.02  # of the squared length of the mean gradient: means less far apart are one


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    usual, steps, batches = SIZES[scale]
    count = seeds or usual
    early = trained(VPG(), ENV, EARLY, count, out, "policy-gradient-early")
    variance, distance = spread(early.agents(), batches)
    ratios = variance[:, 1:] / variance[:, :-1]  # of each form to the one before, in one policy
    rows = [
        row_of(f"variance, {name}", variance[:, i] / variance[:, 0]) for i, name in enumerate(NAMES)
    ]
    falls = [
        row_of(f"variance, {after} to {before}", ratios[:, i])
        for i, (before, after) in enumerate(pairwise(NAMES))
    ]
    rows += falls
    means = [
        row_of(f"squared distance of the mean from the total return's, {name}", distance[:, i + 1])
        for i, name in enumerate(NAMES[1:])
    ]
    rows += means
    curves = []
    for form, name in zip(FORMS, NAMES, strict=True):
        learned = trained(
            VPG(form=form, normalise=False), ENV, steps, count, out, f"policy-gradient-{form}"
        )
        curves.append(plot.Curve(name, *learned.curves()))
        rows.append(row_of(f"return, {name}", learned.final()))
    pictures = [out / "variance.png", out / "returns.png"]
    plot.save(bars(variance), pictures[0])
    plot.save(plot.figure(curves, f"{ENV}, {count} seeds"), pictures[1])
    return Reproduction("policy-gradient", scale, rows, *verdict(falls, means), pictures)


def verdict(falls: list[Row], means: list[Row]) -> tuple[str, str]:
    rule = (
        "the rule: from form to form, the 95 % interval of the ratio of variances is below 1, and "
        f"the interval of each squared distance of means is below {SAME:.0%} of the squared mean"
    )
    if any(row.low != row.low for row in [*falls, *means]):
        return "cannot tell", f"one seed has no interval; {rule}"
    limits = [(row, 1.0) for row in falls] + [(row, SAME) for row in means]
    bad = [row.what for row, limit in limits if not row.high < limit]
    if not bad:
        return "reproduced", f"the variance falls from form to form, with one mean ({rule})"
    wrong = any(row.low > limit for row, limit in limits)
    return "not reproduced" if wrong else "cannot tell", f"not surely: {', '.join(bad)} ({rule})"


def spread(agents: Agents, batches: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the gradients of each seed's policy: their variance [seed, form], summed over parameters,
    and how far [seed, form] their mean is from that of the total return."""
    keys = jax.random.split(jax.random.PRNGKey(first_seed()), (agents.seeds, batches))

    def one(x: tuple[Any, Key]) -> tuple[Array, Array]:
        agent, keys = x
        gradients = jax.lax.map(partial(gradient, agents, agent), keys)  # [batch, form, dim]
        distance = squared_mean(gradients - gradients[:, :1])
        return gradients.var(0, ddof=1).sum(-1), distance / squared_mean(gradients[:, 0])

    variance, distance = jax.lax.map(one, (agents.agent, keys))
    return np.asarray(variance, float), np.asarray(distance, float)


def squared_mean(x: Array) -> Array:
    """The squared length of the mean of x [sample, ..., dim], estimated without bias: the product
    of the means of two halves, which may be below 0.

    All pairs of samples would have less noise, but a skewed one, of which Student's interval of 5
    policies covers 83 to 91 %, where of two halves it covers 95 to 97.
    """
    half = len(x) // 2
    return (x[:half].mean(0) * x[half:].mean(0)).sum(-1)


def gradient(agents: Agents, agent: Any, key: Key) -> Array:
    """What a fresh batch says in each form [form, dim], the same steps for all."""
    given: Any = agents.algorithm
    algorithm = replace(given, normalise=False, discount_states=True)
    source = Rollout(agents.env, algorithm.envs, algorithm.rollout)
    k_init, k_run = jax.random.split(key)
    policy = Policy(partial(algorithm.act, agent), partial(algorithm.memory, agent))
    state = source.init(k_init, policy.memory(algorithm.envs))
    _, batch, _ = source.collect(state, policy, k_run)
    _, value, next_value = agent.model.unroll(batch)

    def of_form(form: str) -> Array:
        weights = replace(algorithm, form=form).weights(batch, value, next_value)
        gradient_of = jax.grad(algorithm.loss, has_aux=True)
        by_part, _ = gradient_of(agent.policy.model, agent.critic.model, batch, weights)
        return ravel_pytree(by_part)[0]

    return jnp.stack([of_form(form) for form in FORMS])


def bars(variance: np.ndarray) -> Any:
    """The variance in each form as a share of the first's, a dot for each seed."""
    from matplotlib.figure import Figure

    shares = variance / variance[:, :1]
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(NAMES, shares.mean(0), color=plot.PALETTE[: len(NAMES)], alpha=0.35)
    for i in range(len(NAMES)):
        axes.plot([i] * len(shares), shares[:, i], "o", color=plot.PALETTE[i], markersize=4)
    axes.set_yscale("log")
    axes.set_ylabel("variance of the gradient, as a share")
    axes.set_title(f"{ENV} after {EARLY:,} steps; dots are seeds", loc="left", fontsize=11)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure
