"""The best of n completions by a proxy, and what it is worth (Gao et al., arXiv:2210.10760)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spinward.errors import SettingsError


class Point(NamedTuple):
    """The best of `n` by a proxy."""

    n: int
    kl: float  # nats from one that is not chosen
    proxy: float
    gold: float


def divergence(n: int) -> float:
    """KL(best of n || one), in nats: log n - (n - 1) / n.

    Exact where no two scores are equal, and no less than the truth otherwise (Stiennon et al.,
    2020, arXiv:2009.01325, appendix G.3).
    """
    return math.log(n) - (n - 1) / n


def chances(drawn: int, n: int) -> np.ndarray:
    """How often each of so many completions, from the worst to the best, is the best of n that are
    chosen from them: of all choices, those of n - 1 others that are worse (Nakano et al., 2021,
    arXiv:2112.09332, appendix I).

    Raises:
        SettingsError: there are fewer than n.
    """
    if not 0 < n <= drawn:
        raise SettingsError(f"the best of n={n} needs as many completions; there are {drawn}")
    return np.array([math.comb(i, n - 1) / math.comb(drawn, n) for i in range(drawn)])


def best_of_n(proxy: np.ndarray, gold: np.ndarray, n: int) -> float:
    """An estimate without bias of what the best of n by `proxy` has of `gold`, from scores
    [..., drawn] of at least n completions of each prompt. Ties go to the later one."""
    order = np.argsort(proxy, -1, kind="stable")
    ordered = np.take_along_axis(np.asarray(gold, np.float64), order, -1)
    return float((ordered @ chances(proxy.shape[-1], n)).mean())


def curve(proxy: np.ndarray, gold: np.ndarray, counts: Sequence[int]) -> list[Point]:
    """What the best of each n has of both scores [..., drawn]."""
    return [
        Point(n, divergence(n), best_of_n(proxy, proxy, n), best_of_n(proxy, gold, n))
        for n in counts
    ]


def decline(kl: np.ndarray, gain: np.ndarray, logarithmic: bool) -> tuple[float, float]:
    """(alpha, beta) of the curve of true gains nearest to those measured so many nats away:
    d (alpha - beta d), or with `logarithmic`, for a policy that learned, d (alpha - beta ln d),
    where d is the root of the nats (Gao et al., (1) and (2))."""
    d = np.sqrt(kl)
    fall = -d * (np.log(d) if logarithmic else d)
    (alpha, beta), *_ = np.linalg.lstsq(np.stack([d, fall], 1), gain, rcond=None)
    return float(alpha), float(beta)
