"""Statistics of few seeds (Agarwal, Schwarzer, Castro, Courville and Bellemare, 2021, 2108.13264).

Scores are [seed, ...], seeds first. A NaN among what is averaged makes the result NaN.
"""

import numpy as np
from numpy.typing import ArrayLike

ELEMENTS = 2**22  # redrawn scores in memory at once


def interquartile_mean(x: ArrayLike, axis: int | tuple[int, ...] | None = 0) -> np.ndarray:
    """The mean of what is left when the lowest and the highest quarter are cut off.

    A quarter is rounded down to whole scores: of 4 the middle 2 count, of 3 or fewer all do.
    """
    x = np.asarray(x, float)
    axes = range(x.ndim) if axis is None else np.atleast_1d(axis) % x.ndim
    rest = [n for n in range(x.ndim) if n not in axes]
    flat = x.transpose(*rest, *axes).reshape(*(x.shape[n] for n in rest), -1)
    count = flat.shape[-1]
    if count == 0:
        raise ValueError(f"no scores to average along axis {axis} of shape {x.shape}")
    cut = count // 4
    middle = np.partition(flat, (cut, count - cut - 1), axis=-1)[..., cut : count - cut]
    return np.where(np.isnan(flat).any(-1), np.nan, middle.mean(-1))[()]


def bootstrap_interval(
    scores: ArrayLike,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    tasks: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Between which values the interquartile mean lies: a stratified percentile bootstrap.

    `scores` are [seed, ...], and the interval is [...]: the same seeds are redrawn for every
    point of a curve. With `tasks` they are [seed, task, ...], the mean is over seeds and tasks,
    and seeds are redrawn within each task. One seed says nothing about others: its interval is NaN.
    """
    scores = np.asarray(scores, float)
    if not tasks:
        scores = np.expand_dims(scores, 1)
    seeds, strata, *shape = scores.shape
    if seeds < 2:
        return np.full(shape, np.nan)[()], np.full(shape, np.nan)[()]
    points = scores.reshape(seeds, strata, -1)
    drawn = np.random.default_rng(seed).integers(seeds, size=(resamples, seeds, strata))
    at_once = max(1, ELEMENTS // drawn.size)
    tails = [50 * (1 - level), 50 * (1 + level)]  # per cent
    bounds = [
        np.percentile(redrawn_means(points[..., n : n + at_once], drawn), tails, axis=0)
        for n in range(0, points.shape[-1], at_once)
    ]
    low, high = np.concatenate(bounds, 1) if bounds else np.empty((2, 0))
    return low.reshape(shape)[()], high.reshape(shape)[()]


def redrawn_means(points: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Interquartile means [resample, point] of scores [seed, task, point] at drawn seeds."""
    redrawn = points[drawn, np.arange(points.shape[1])]  # [resample, seed, task, point]
    return interquartile_mean(redrawn, axis=(1, 2))


def probability_of_improvement(a: ArrayLike, b: ArrayLike) -> float:
    """How likely a run of `a` beats a run of `b`, ties counting half, averaged over tasks.

    `a` and `b` are [seed] or [seed, task] with the same tasks; they may differ in seeds.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(f"tasks differ: {a.shape[1:]} and {b.shape[1:]}")
    if np.isnan(a).any() or np.isnan(b).any():
        return float("nan")
    ahead, level = a[:, None] > b[None], a[:, None] == b[None]
    return float(np.mean(ahead + 0.5 * level))
