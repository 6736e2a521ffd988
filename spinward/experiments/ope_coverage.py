"""Intervals of off-policy estimates cover the truth as often as they say, and data without
exploration are called unreliable (Thomas and Brunskill, 2016, arXiv:1604.00923).

A decision process of three states and five steps, whose values are known exactly. Each seed is a
data set of 200 episodes. The model of the values is exact, or wrong by a factor and a shift.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from spinward.evaluation import off_policy
from spinward.evaluation.importance import (
    ESTIMATORS,
    Episodes,
    average_return,
    bootstrap,
    effective_size,
)
from spinward.evaluation.off_policy import EvaluationOptions
from spinward.evaluation.statistics import wilson
from spinward.experiments.reproduction import Reproduction, Row, first_seed
from spinward.experiments.verdicts import above, all_of

STEPS, GAMMA, EPISODES, RESAMPLES, LEVEL = 5, 0.9, 200, 300, 0.9
START = np.array([0.6, 0.3, 0.1])
MOVES = np.array(
    [
        [(0.7, 0.2, 0.1), (0.1, 0.6, 0.3)],
        [(0.3, 0.5, 0.2), (0.1, 0.2, 0.7)],
        [(0.5, 0.3, 0.2), (0.2, 0.2, 0.6)],
    ]
)
REWARDS = np.array([(0.0, 0.2), (0.5, 0.0), (1.0, -0.5)])
LOGGED = np.array([(0.7, 0.3), (0.5, 0.5), (0.6, 0.4)])
WANTED = np.array([(0.3, 0.7), (0.8, 0.2), (0.9, 0.1)])
CERTAIN = np.array([(1.0, 0.0), (0.0, 1.0), (1.0, 0.0)])  # logs without exploration
SETS = {"laptop": 400, "paper": 1000}
ENOUGH = 0.85
COVERING = tuple(name for name in ESTIMATORS if name != "direct method")
RULE = (
    f"the rule: intervals of {LEVEL:.0%} of every estimate but the model's own word cover the "
    f"truth in {ENOUGH:.0%} of data sets or more, with the whole interval of that share, and all "
    "data sets without exploration are called unreliable"
)


def values(policy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The exact q and v [step, state, ...] of a policy."""
    v: list[Any] = [np.zeros(3)]
    q: list[Any] = []
    for _ in range(STEPS):
        q.insert(0, REWARDS + GAMMA * MOVES @ v[0])
        v.insert(0, (policy * q[0]).sum(1))
    return np.array(q), np.array(v)


def sample(
    n: int, seed: int, wrong: bool = False, policy: Any = WANTED, logged: Any = LOGGED
) -> Any:
    """Episodes of the logging policy, with a model's values of the policy to evaluate."""
    q, v = values(policy)
    if wrong:
        q = 0.5 * q + 0.3
        v = (policy * q).sum(-1)
    random = np.random.default_rng(seed)
    state = random.choice(3, n, p=START)
    columns: list[Any] = []
    for t in range(STEPS):
        action = (random.random(n) > logged[state, 0]).astype(int)
        ratio = np.log(policy[state, action]) - np.log(logged[state, action])
        columns.append((REWARDS[state, action], ratio, q[t, state, action], v[t, state]))
        below = random.random(n)[:, None] > np.cumsum(MOVES[state, action], 1)
        state = below.sum(1).clip(max=2)
    reward, ratio, model_q, model_v = (np.stack(x, 1) for x in zip(*columns, strict=True))
    return Episodes(reward, ratio, model_q, model_v, GAMMA)


def covered(estimator: Callable[..., float], truth: float, count: int, wrong: bool) -> np.ndarray:
    """For each data set, whether its interval holds the truth."""
    rows = []
    for seed in range(first_seed(), first_seed() + count):
        low, high = bootstrap(estimator, sample(EPISODES, seed, wrong), RESAMPLES, LEVEL, seed)
        rows.append(low <= truth <= high)
    return np.array(rows)


def unreliable(count: int) -> np.ndarray:
    """For each data set without exploration, whether the verdict says that it cannot tell."""
    rows = []
    outside = float((WANTED * (CERTAIN < off_policy.RARE)).sum(1).min())
    for seed in range(first_seed(), first_seed() + count):
        episodes = sample(EPISODES, seed, logged=CERTAIN)
        result = {
            "episodes": EPISODES,
            "effective_size": effective_size(episodes.log_weights[:, -1]),
            "outside_share": outside,
            "data": {"value": average_return(episodes, episodes.once())},
        }
        verdict = off_policy.verdict(result, episodes, EvaluationOptions(GAMMA), False)
        rows.append(verdict.startswith("cannot tell"))
    return np.array(rows)


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    count = seeds or SETS[scale]
    truth = float(START @ values(WANTED)[1][0])
    rows, parts = [], {}
    for name in COVERING:
        for wrong in (False, True):
            if wrong and "IS" in name.split():
                continue  # it has no model
            share = row_of(f"{name}, {'wrong' if wrong else 'exact'} model", covered(
                ESTIMATORS[name], truth, count, wrong))  # fmt: skip
            rows.append(share)
            parts[share.what] = above(share, ENOUGH)
    model = covered(ESTIMATORS["direct method"], truth, count, True)
    rows.append(row_of("direct method, wrong model", model))
    silent = row_of("no exploration: called unreliable", unreliable(count))
    rows.append(silent)
    parts[silent.what] = "reproduced" if silent.measured == 1.0 else "not reproduced"
    unsure = [what for what, part in parts.items() if part != "reproduced"]
    why = f"not surely: {', '.join(unsure)} ({RULE})" if unsure else RULE
    return Reproduction("ope-coverage", scale, rows, all_of(*parts.values()), why)


def row_of(what: str, values: np.ndarray) -> Row:
    """A share of data sets, with its Wilson interval (1927)."""
    n, share = len(values), float(values.mean())
    bounds = wilson(share, n)
    return Row(what, share, *bounds, None, f"95 % Wilson interval of {n} data sets")
