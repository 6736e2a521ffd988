"""Best-of-n sampling by a proxy reward, and its gold score (Gao et al., arXiv:2210.10760)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spinward.errors import SettingsError


class BestOfN(NamedTuple):
    """Best-of-`n` sampling by a proxy."""

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


def chances(count: int, n: int) -> np.ndarray:
    """The probability that each of `count` completions, from the worst to the best, is the best of
    n of them: the share of subsets whose n - 1 others are worse (Nakano et al., 2021,
    arXiv:2112.09332, appendix I).

    Raises:
        SettingsError: there are fewer than n.
    """
    if not 0 < n <= count:
        raise SettingsError(f"the best of n={n} needs as many completions; there are {count}")
    return np.array([math.comb(i, n - 1) / math.comb(count, n) for i in range(count)])


def best_of_n(proxy: np.ndarray, gold: np.ndarray, n: int) -> float:
    """An unbiased estimate of the `gold` score of the best of n by `proxy`, from the scores [...,
    completion] of at least n completions of each prompt. Of equals, the later one counts."""
    order = np.argsort(proxy, -1, kind="stable")
    ordered = np.take_along_axis(np.asarray(gold, np.float64), order, -1)
    return float((ordered @ chances(proxy.shape[-1], n)).mean())


def curve(proxy: np.ndarray, gold: np.ndarray, counts: Sequence[int]) -> list[BestOfN]:
    """Both scores of the best of each n, from the scores [..., completion]."""
    return [
        BestOfN(n, divergence(n), best_of_n(proxy, proxy, n), best_of_n(proxy, gold, n))
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
