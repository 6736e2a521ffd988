"""When a run asks how many questions, and what a fit learns from them in which order."""

import math
from typing import Any, NamedTuple

import jax
import numpy as np

from spinward.rewards.preferences import Preferences


class AskingPlan(NamedTuple):
    """The length of a run, and its seeds."""

    iterations: int
    points: int  # at which questions can be asked
    stride: int  # env steps of an iteration
    seed: int
    seeds: int


def wanted(reward: Preferences, plan: AskingPlan, iteration: int) -> int:
    """Questions to have asked each seed before an iteration, by a rate proportional to c / (T + c)
    (Christiano et al., 2017). Within a round their number stays the same."""
    rounds = min(reward.rounds, plan.points)
    start = min(reward.unsupervised, rounds - 1)
    asking = math.floor(rounds * iteration / plan.iterations) - start
    if asking < 0:
        return 0
    progress = asking / rounds
    first = round(reward.initial_share * reward.labels)
    if reward.halving_share == 0.0:
        return reward.labels
    last = (
        rounds - 1 - start
    ) / rounds  # of the run: the last round that can still be learned from
    due = 1.0
    if last:
        due = math.log1p(progress / reward.halving_share) / math.log1p(last / reward.halving_share)
    return min(reward.labels, first + round((reward.labels - first) * due))


def stacked(rows: list[Any], size: int) -> Any:
    """Trees as one tree with a leading axis, filled up with zeros to `size`."""
    whole = jax.tree.map(lambda *x: np.stack(x), *rows)

    def padded(x: np.ndarray) -> np.ndarray:
        return np.concatenate([x, np.zeros((size - len(x), *x.shape[1:]), x.dtype)])

    return jax.tree.map(padded, whole)


def batches(counts: Any, steps: int, batch: int, seed: list[int]) -> np.ndarray:
    """Labels [steps, members, batch], drawn as often as `counts` [members, labels] says."""
    chance = np.random.default_rng(seed)
    weights = np.asarray(counts, np.float64)
    sampled = [chance.choice(len(c), (steps, batch), p=c / c.sum()) for c in weights]
    return np.stack(sampled, 1).astype(np.int32)
