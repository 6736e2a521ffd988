"""Verdicts of `diagnose` on runs whose fault is known, and on runs without one: from the curves of
a run alone, as one has to where there is no simulator (Kumar et al., 2021, arXiv:2109.10813).

Each case is one algorithm on one data set. Data are what controllers written by hand do; a fault is
planted by the data's size, the algorithm or its settings.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from spinward.algorithms.cql import CQL
from spinward.algorithms.cql_discrete import CQLDiscrete
from spinward.algorithms.ddpg import DDPG
from spinward.algorithms.iql import IQL
from spinward.algorithms.sac import SAC
from spinward.algorithms.td3 import TD3
from spinward.algorithms.td3_bc import TD3BC
from spinward.core import replace
from spinward.envs.cartpole import CartPole
from spinward.envs.pendulum import Pendulum
from spinward.evaluation.diagnosis import (
    DATA_LIMITED,
    NOT_SETTLED,
    OVER_ESTIMATED,
    OVER_FITTED,
    UNDER_FITTED,
    WELL_FITTED,
    Curves,
    diagnose,
    settling_time,
)
from spinward.evaluation.offline_probes import PREFIX, OfflineProbes
from spinward.evaluation.statistics import wilson
from spinward.experience.material import Data, source_for
from spinward.experiments.controllers import balance, both, data_of, swing_up
from spinward.experiments.reproduction import Reproduction, Row, first_seed
from spinward.loop import Parts
from spinward.programs.choose import program
from spinward.rewards.environment import Environment

POINTS = 60  # of a run
RIGHT, HEALTHY = 8, 5
RULE = (
    f"the rule: at least {RIGHT} of 10 planted faults get their verdict, and none of {HEALTHY} "
    "runs without a fault is called anything but well fitted, in every seed"
)
SMALL: dict[str, Any] = {"hidden": (128, 128), "batch": 64, "updates": 50}


class Case(NamedTuple):
    """A run and the verdicts that are right for it."""

    name: str
    algorithm: Any
    data: Callable[[int], Data]  # from a seed
    updates: int
    right: tuple[str, ...]
    twin: Any = None  # the algorithm with wider networks


def upright(data: Data) -> Data:
    """Pendulum's data with reward 1 where the pole is near the top, else 0."""
    cos = np.asarray(data.steps.next_obs)[:, 0]
    return data._replace(steps=replace(data.steps, reward=np.float32(cos > 0.9)))


def swings(rows: int, envs: int, noise: float = 0.1, random: float = 0.1) -> Callable[[int], Data]:
    return lambda seed: data_of(Pendulum(), swing_up, rows, noise, random, seed, envs)


def mixed(seed: int) -> Data:
    """Pendulum, half of it by chance."""
    good, chance = (data_of(Pendulum(), swing_up, 10_000, 0.1, x, seed + 1, 50) for x in (0.1, 1.0))
    return both(good, chance)


def tops(rows: int, envs: int) -> Callable[[int], Data]:
    return lambda seed: upright(swings(rows, envs)(seed))


def balanced(rows: int, random: float = 0.5) -> Callable[[int], Data]:
    return lambda seed: data_of(CartPole(), balance, rows, 0.0, random, seed)


def noisy_rewards(seed: int) -> Data:
    """CartPole with rewards that are mostly chance, which no network explains."""
    data = balanced(5_000)(seed)
    chance = np.random.default_rng(seed).normal(0.0, 3.0, len(data.steps.reward))
    reward = np.float32(np.asarray(data.steps.reward) + chance)
    return data._replace(steps=replace(data.steps, reward=reward))


CONSERVATIVE = CQL(**{**SMALL, "gamma": 0.95, "tau": 0.02, "samples": 4, "weight": 2.5})
LONG: dict[str, Any] = {**SMALL, "gamma": 0.95, "tau": 0.02}
DISCRETE: dict[str, Any] = {**SMALL, "gamma": 0.9, "tau": 0.02, "target_every": 1}
NARROW: dict[str, Any] = {**SMALL, "gamma": 0.9, "tau": 0.02, "lr": 3e-3}
DISTANT: dict[str, Any] = {**SMALL, "gamma": 0.99, "tau": 0.02}
CASES = (
    Case("CQL, 2 episodes", CONSERVATIVE, tops(400, 2), 16_000, (OVER_FITTED,)),
    Case("CQL, 2 episodes, weight 5", replace(CONSERVATIVE, weight=5.0), tops(400, 2), 16_000,
         (OVER_FITTED,)),
    Case("TD3, narrow data", TD3(**DISTANT), swings(10_000, 50, 0.1, 0.0), 8_000,
         (OVER_ESTIMATED,)),
    Case("DDPG, narrow data", DDPG(**DISTANT), swings(10_000, 50, 0.1, 0.0), 8_000,
         (OVER_ESTIMATED,)),
    Case("SAC, narrow data", SAC(**DISTANT), swings(10_000, 50, 0.1, 0.0), 8_000,
         (OVER_ESTIMATED,)),
    Case("TD3+BC, hidden layer of 1", TD3BC(**{**NARROW, "hidden": (1,)}), mixed, 8_000,
         (UNDER_FITTED,), TD3BC(**{**NARROW, "hidden": (64, 64)})),
    Case("IQL, hidden layer of 1", IQL(**{**NARROW, "hidden": (1,)}), mixed, 8_000,
         (UNDER_FITTED,), IQL(**{**NARROW, "hidden": (64, 64)})),
    Case("CQL-discrete, rewards by chance", CQLDiscrete(**DISCRETE), noisy_rewards, 6_000,
         (DATA_LIMITED, OVER_FITTED), CQLDiscrete(**{**DISCRETE, "hidden": (256, 256)})),
    Case("IQL, too short", IQL(**{**SMALL, "gamma": 0.99, "tau": 0.005}), mixed, 4_000,
         (NOT_SETTLED,)),
    Case("CQL-discrete, too short", CQLDiscrete(**{**DISCRETE, "gamma": 0.99, "tau": 0.005}),
         balanced(5_000), 6_000, (NOT_SETTLED,)),
    Case("CQL, 100 episodes, weight 0.25", replace(CONSERVATIVE, weight=0.25),
         tops(20_000, 100), 8_000, (WELL_FITTED,)),
    Case("TD3+BC, mixed data", TD3BC(**LONG), mixed, 8_000, (WELL_FITTED,)),
    Case("IQL, mixed data", IQL(**LONG), mixed, 8_000, (WELL_FITTED,)),
    Case("TD3, mixed data", TD3(**LONG), mixed, 8_000, (WELL_FITTED,)),
    Case("TD3+BC, 100 episodes, 0 or 1 as reward", TD3BC(**LONG), tops(20_000, 100), 8_000,
         (WELL_FITTED,)),
)  # fmt: skip
SETS = {"laptop": 1, "paper": 5}


def watched(algorithm: Any, data: Data, updates: int, seed: int) -> Curves:
    """The probes of a run on data."""
    data = data.hold_out(0.05)
    parts = Parts(algorithm, source_for(algorithm.wants(data.spec), None, data), Environment())
    run = program(parts)
    state = run.start(jax.random.PRNGKey(seed)[None])
    probes = OfflineProbes(parts, state)
    iterations = max(1, updates // algorithm.updates // POINTS)
    lines, at = [], []
    for point in range(1, POINTS + 1):
        state, _ = run.advance(state, iterations)
        lines.append(probes.measure(parts, state))
        at.append(point * iterations * algorithm.updates)
    columns = {
        name.removeprefix(PREFIX): np.array([line[name][0] for line in lines], float)
        for name in lines[0]
    }
    return Curves(np.array(at), columns)


def verdict(case: Case, seed: int) -> str:
    """The verdict on a case, with its twin if one is asked for."""
    algorithm, data = case.algorithm, case.data(seed)
    curves = watched(algorithm, data, case.updates, seed)
    twin = watched(case.twin, data, case.updates, seed) if case.twin else None
    gamma, conservative = float(algorithm.gamma), isinstance(algorithm, CQL | CQLDiscrete)
    settling = settling_time(gamma, float(algorithm.tau))
    return diagnose(curves, settling, gamma, conservative, twin).verdict


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    first, count = first_seed(), seeds or SETS[scale]
    rows, right = [], np.zeros((len(CASES), count), bool)
    names = []
    for i, case in enumerate(CASES):
        said = [verdict(case, seed) for seed in range(first, first + count)]
        right[i] = [each in case.right for each in said]
        names += [f"{case.name}: {', '.join(said)}"] if not right[i].all() else []
        share = float(right[i].mean())
        of = f"share of {count} seeds called {' or '.join(case.right)}, 95 % Wilson interval"
        what = f"{case.name} ({', '.join(dict.fromkeys(said))})"
        rows.append(Row(what, share, *wilson(share, count), None, of))
    planted = int(right[:-HEALTHY].all(1).sum())
    good = planted >= RIGHT and bool(right[-HEALTHY:].all())
    wrong = f"; wrong: {'; '.join(names)}" if names else ""
    return Reproduction(
        "offline-tuning", scale, rows, "reproduced" if good else "not reproduced",
        f"{planted} of {len(CASES) - HEALTHY} planted faults are named{wrong}; {RULE}",
    )  # fmt: skip
