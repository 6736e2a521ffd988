"""What another policy would have returned, estimated from logged episodes by weights of importance.

All estimators are pure functions of `Episodes`, and of how often each episode counts, so that a
bootstrap is a draw of counts. The weight of the first t + 1 steps of an episode is w_t, the product
of the ratios of the policy's probability to the logged one, kept after the end of the episode.

Precup, Sutton and Singh (2000); Jiang and Li (2016, arXiv:1511.03722); Thomas and Brunskill (2016,
arXiv:1604.00923). With episodes of one step the same functions are the estimators of a contextual
bandit: `importance` is IPS, `weighted` is SNIPS, and `doubly_robust` is DR (Dudik et al., 2011,
arXiv:1103.4601).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from spinward.evaluation.statistics import widened

MAGIC_STEPS = 20  # lengths of the importance-sampled part that MAGIC mixes, at most
MAGIC_LEVEL = 0.9  # of the interval that its biases are distances from
MAGIC_RESAMPLES = 50

Estimator = Callable[["Episodes", np.ndarray], float]


class Episodes(NamedTuple):
    """Logged episodes [n, steps], with zeros after the end of each. The value to estimate is the
    discounted sum of the rewards of an episode, whichever way it ended."""

    reward: np.ndarray
    log_ratio: np.ndarray  # log pi(a|s) - log of the logged probability
    q: np.ndarray  # a model's value of the logged action under the policy
    v: np.ndarray  # its value of the state
    gamma: float

    @property
    def discounts(self) -> np.ndarray:
        return self.gamma ** np.arange(self.reward.shape[1])

    @property
    def log_weights(self) -> np.ndarray:
        """log w_t."""
        return np.cumsum(self.log_ratio, 1)

    @property
    def returns(self) -> np.ndarray:
        """The discounted returns [n]."""
        return self.reward @ self.discounts

    def once(self) -> np.ndarray:
        """Counts [n] of 1."""
        return np.ones(len(self.reward))


def with_clipped_ratios(episodes: Episodes, most: float) -> Episodes:
    """Episodes whose weights w_t are at most `most`: less variance, and a bias towards 0."""
    log_weights = np.minimum(episodes.log_weights, np.log(most))
    # The difference of two infinities: a weight that was 0 stays 0.
    before = np.concatenate([np.zeros((len(log_weights), 1)), log_weights[:, :-1]], 1)
    with np.errstate(invalid="ignore"):
        ratio = np.where(np.isneginf(log_weights), -np.inf, log_weights - before)
    return episodes._replace(log_ratio=ratio)


def average_return(episodes: Episodes, counts: np.ndarray) -> float:
    """The mean return of the logged episodes: the value of the policy of the data."""
    return average(episodes.returns, counts)


def importance(episodes: Episodes, counts: np.ndarray) -> float:
    """mean w G: unbiased, and of a variance that grows exponentially with the length."""
    return average(np.exp(episodes.log_weights[:, -1]) * episodes.returns, counts)


def weighted(episodes: Episodes, counts: np.ndarray) -> float:
    """sum w G / sum w: biased and consistent, within the range of the returns."""
    return float(normalised(episodes.log_weights[:, -1:], counts)[:, 0] @ episodes.returns)


def per_decision(episodes: Episodes, counts: np.ndarray) -> float:
    """mean sum_t gamma^t w_t r_t: a reward is weighted by what came before it alone."""
    weighed = np.exp(episodes.log_weights) * episodes.reward
    return average(weighed @ episodes.discounts, counts)


def weighted_per_decision(episodes: Episodes, counts: np.ndarray) -> float:
    """sum_t gamma^t (sum_i w_t r_t) / (sum_i w_t)."""
    shares = normalised(episodes.log_weights, counts)
    return float((shares * episodes.reward).sum(0) @ episodes.discounts)


def direct(episodes: Episodes, counts: np.ndarray) -> float:
    """mean v(s_0): the model's word, as biased as the model."""
    return average(episodes.v[:, 0], counts)


def doubly_robust(episodes: Episodes, counts: np.ndarray) -> float:
    """mean D_0 with D_t = v(s_t) + rho_t (r_t + gamma D_{t+1} - q(s_t, a_t)): right where either
    the model or the probabilities are (Jiang and Li, 2016, (10))."""
    later = np.zeros(len(episodes.reward))
    ratio = np.exp(episodes.log_ratio)
    for t in reversed(range(episodes.reward.shape[1])):
        value = episodes.reward[:, t] + episodes.gamma * later
        later = episodes.v[:, t] + ratio[:, t] * (value - episodes.q[:, t])
    return average(later, counts)


def weighted_doubly_robust(episodes: Episodes, counts: np.ndarray) -> float:
    """`doubly_robust` with normalised weights (Thomas and Brunskill, 2016, (7))."""
    now, before = shares_of(episodes, counts)
    return float(corrected(episodes, now, before).sum(0) @ episodes.discounts)


def magic(episodes: Episodes, counts: np.ndarray, seed: int = 0) -> float:
    """A mixture of the model's word and weighted doubly robust estimates of several lengths, with
    the least estimated mean squared error (Thomas and Brunskill, 2016, section 7)."""
    return float(magic_shares(episodes, counts, seed) @ partial_estimates(episodes, counts).sum(0))


def magic_shares(episodes: Episodes, counts: np.ndarray, seed: int = 0) -> np.ndarray:
    """The share of each partial estimate in MAGIC, from their covariance, and their distance from
    the bootstrap interval of the whole one as their bias."""
    parts = partial_estimates(episodes, counts)
    random, n = np.random.default_rng(seed), len(counts)
    odds = counts / counts.sum()
    resampled = [random.multinomial(n, odds).astype(float) for _ in range(MAGIC_RESAMPLES)]
    whole = [weighted_doubly_robust(episodes, draw) for draw in resampled]
    low, high = np.quantile(whole, [(1 - MAGIC_LEVEL) / 2, (1 + MAGIC_LEVEL) / 2])
    estimates = parts.sum(0)
    bias = estimates - np.clip(estimates, low, high)
    centred = parts - parts.mean(0)
    return least_error(n / max(n - 1, 1) * centred.T @ centred, bias)


def least_error(covariance: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The shares x, none below 0 and 1 in all, with the least x' (covariance + bias bias') x."""
    from scipy.optimize import nnls

    values, vectors = np.linalg.eigh(covariance)
    root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    rows = np.vstack([root, bias])
    scale = max(np.abs(rows).max(), 1e-12)
    # Equal errors are shared equally: a ridge of a millionth of their size.
    ridge = 1e-6 * scale * np.eye(len(bias))
    rows = np.vstack([rows, ridge, 1e4 * scale * np.ones(len(bias))])
    wanted = np.zeros(len(rows))
    wanted[-1] = 1e4 * scale
    shares = nnls(rows, wanted)[0]
    return shares / shares.sum()


def partial_estimates(episodes: Episodes, counts: np.ndarray) -> np.ndarray:
    """The part [n, length] that each episode has in estimates whose first `length` steps are doubly
    robust and whose rest is the model's; 0 steps first, all steps last."""
    now, before = shares_of(episodes, counts)
    steps = episodes.reward.shape[1]
    gains = np.cumsum(corrected(episodes, now, before) * episodes.discounts, 1)
    gains = np.concatenate([np.zeros((len(gains), 1)), gains], 1)
    lengths = np.unique(np.linspace(0, steps, min(steps + 1, MAGIC_STEPS)).round().astype(int))
    value = np.concatenate([episodes.v, np.zeros((len(gains), 1))], 1)
    shares = np.concatenate([before, now[:, -1:]], 1)  # of the steps before each
    later = episodes.gamma ** np.arange(steps + 1) * shares * value
    return (gains + later)[:, lengths]


def corrected(episodes: Episodes, now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """u_t (r - q)_t + u_{t-1} v_t [n, steps], for normalised weights u."""
    return now * (episodes.reward - episodes.q) + before * episodes.v


def shares_of(episodes: Episodes, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The normalised weights [n, steps] with each step, and before it."""
    now = normalised(episodes.log_weights, counts)
    first = (counts / counts.sum())[:, None]
    return now, np.concatenate([first, now[:, :-1]], 1)


def normalised(log_weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Weights [n, steps] that sum to 1 over the episodes; 0 where all are."""
    with np.errstate(divide="ignore"):
        logs = log_weights + np.log(counts)[:, None]
    largest = logs.max(0)
    weights = np.exp(logs - np.where(np.isfinite(largest), largest, 0.0))
    return weights / np.maximum(weights.sum(0), 1e-300)


def average(values: np.ndarray, counts: np.ndarray) -> float:
    """The mean of `values` [n] that count so often; a value that does not count may be infinite."""
    return float(np.where(counts > 0, values, 0.0) @ counts / counts.sum())


def effective_size(log_weights: np.ndarray) -> float:
    """(sum w)^2 / sum w^2, how many equally weighted episodes would say as much (Kish, 1965)."""
    largest = log_weights.max()
    if not np.isfinite(largest):
        return 0.0
    weights = np.exp(log_weights - largest)
    return float(weights.sum() ** 2 / np.square(weights).sum())


def largest_share(log_weights: np.ndarray) -> float:
    """The share of the largest weight in all."""
    return float(normalised(log_weights[:, None], np.ones(len(log_weights))).max())


ESTIMATORS: dict[str, Estimator] = {
    "IS": importance,
    "weighted IS": weighted,
    "per-decision IS": per_decision,
    "weighted per-decision IS": weighted_per_decision,
    "direct method": direct,
    "doubly robust": doubly_robust,
    "weighted doubly robust": weighted_doubly_robust,
    "MAGIC": magic,
}
BANDIT = {  # their names where each episode is one step; the others are the same as one of these
    "IPS": "IS",
    "SNIPS": "weighted IS",
    "direct method": "direct method",
    "doubly robust": "doubly robust",
    "weighted doubly robust": "weighted doubly robust",
}


def bootstrap(
    estimator: Estimator,
    episodes: Episodes,
    resamples: int = 500,
    level: float = 0.9,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile interval of an estimate over resampled episodes (Efron, 1979), widened as for
    a sample of the effective size (Hesterberg, 2015): a few large weights make a small sample.

    MAGIC keeps the shares of the whole sample, and its interval holds that of the weighted doubly
    robust estimate: a resample does not tell the bias of its model.
    """
    if estimator is magic:
        shares = magic_shares(episodes, episodes.once(), seed)
        mixed = lambda e, c: float(shares @ partial_estimates(e, c).sum(0))  # noqa: E731
        whole = bootstrap(weighted_doubly_robust, episodes, resamples, level, seed)
        low, high = bootstrap(mixed, episodes, resamples, level, seed)
        return min(low, whole[0]), max(high, whole[1])
    random, n = np.random.default_rng(seed), len(episodes.reward)
    plain = estimator in (direct, average_return)
    size = n if plain else effective_size(episodes.log_weights[:, -1])
    draws = (random.multinomial(n, np.full(n, 1.0 / n)).astype(float) for _ in range(resamples))
    estimates = [estimator(episodes, draw) for draw in draws]
    level = widened(max(2, round(size)), level)
    low, high = np.quantile(estimates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
