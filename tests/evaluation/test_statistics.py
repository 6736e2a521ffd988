import numpy as np
import pytest
from scipy import stats

from spinward.evaluation import statistics
from spinward.evaluation.statistics import (
    BOOTSTRAP,
    bootstrap_interval,
    described,
    estimate,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
    sentence,
    t_quantile,
    wilson,
    wilson_of_highest,
    wilson_of_lowest,
)


def test_interquartile_mean_of_numbers_worked_out_by_hand():
    assert interquartile_mean([1, 2, 3, 100]) == 2.5
    assert interquartile_mean([9, 1, 5]) == 5
    assert interquartile_mean([1, 2, 3, 4, 5, 6, 7, 1000]) == 4.5
    assert interquartile_mean([0, 1, 2, 3, 50]) == 2  # one is cut at each end
    assert interquartile_mean([7]) == 7


@pytest.mark.parametrize("seeds", [1, 2, 3, 4, 5, 7, 8, 10, 17])
def test_interquartile_mean_agrees_with_scipy(seeds):
    x = np.random.default_rng(seeds).normal(size=(seeds, 3, 6))
    for axis in (0, 1, 2, -1, None):
        expected = stats.trim_mean(x, 0.25, axis=axis)
        np.testing.assert_allclose(interquartile_mean(x, axis), expected, rtol=1e-12)
    expected = stats.trim_mean(x.reshape(-1, 6), 0.25, axis=0)
    np.testing.assert_allclose(interquartile_mean(x, (0, 1)), expected, rtol=1e-12)


def test_a_missing_score_is_not_trimmed_away():
    x = np.array([[1.0, 1], [2, np.nan], [3, 3], [4, 4]])
    np.testing.assert_array_equal(interquartile_mean(x), [2.5, np.nan])
    low, high = bootstrap_interval(x)
    assert np.isfinite([low[0], high[0]]).all() and np.isnan([low[1], high[1]]).all()
    assert np.isnan(probability_of_improvement([1, np.nan], [0]))
    with pytest.raises(ValueError, match="no scores"):
        interquartile_mean([])


def slow_interval(scores: np.ndarray, drawn: np.ndarray) -> list[float]:
    """The interval of scores [seed, task] from drawn seeds, one resample at a time."""
    means = []
    for one in drawn:
        sample = [scores[one[i, j], j] for i in range(one.shape[0]) for j in range(one.shape[1])]
        means.append(stats.trim_mean(sample, 0.25))
    return [np.percentile(means, 5), np.percentile(means, 95)]


@pytest.mark.parametrize("elements", [2**22, 5000])
def test_interval_agrees_with_a_slow_twin(monkeypatch, elements):
    monkeypatch.setattr(statistics, "ELEMENTS", elements)
    scores = np.random.default_rng(0).normal(size=(5, 3, 4))
    options = {"level": 0.9, "resamples": 200, "seed": 3}
    for tasks in (1, 3):
        drawn = np.random.default_rng(3).integers(5, size=(200, 5, tasks))
        given = scores if tasks == 3 else scores[:, 0]
        low, high = bootstrap_interval(given, tasks=tasks == 3, **options)
        assert low.shape == high.shape == (4,)
        for point in range(4):
            twin = slow_interval(scores[:, :tasks, point], drawn)
            np.testing.assert_allclose([low[point], high[point]], twin, rtol=1e-12)


def test_interval_of_two_seeds_spans_both():
    # Resamples are (a, a), (a, b), (b, a), (b, b): a quarter of them at each end.
    assert bootstrap_interval([1.0, 5.0]) == (1.0, 5.0)
    low, high = bootstrap_interval([1.0, 5.0], level=0.4)
    assert (low, high) == (3.0, 3.0)


def test_interval_of_one_seed_is_unknown():
    assert np.isnan(bootstrap_interval([3.0])).all()
    low, high = bootstrap_interval(np.ones((1, 4)))
    assert low.shape == high.shape == (4,) and np.isnan([low, high]).all()


def test_same_seed_gives_the_same_interval_and_more_seeds_a_narrower_one():
    scores = np.random.default_rng(0).normal(size=64)
    assert bootstrap_interval(scores) == bootstrap_interval(scores)
    assert bootstrap_interval(scores) != bootstrap_interval(scores, seed=1)
    few = np.subtract(*bootstrap_interval(scores[:8])[::-1])
    many = np.subtract(*bootstrap_interval(scores)[::-1])
    assert many < few / 1.5


def covered(draw, truth: float, seeds: int, experiments: int) -> float:
    """The share of experiments whose interval holds the truth."""
    told = estimate(draw(size=(seeds, experiments)))
    return float(np.mean((told.low <= truth) & (truth <= told.high)))


@pytest.mark.parametrize("seeds", range(3, BOOTSTRAP))
def test_the_interval_of_few_seeds_covers_the_truth_as_often_as_it_says(seeds):
    rng = np.random.default_rng(seeds)
    assert 0.92 < covered(rng.normal, 0.0, seeds, 20_000) < 0.98
    assert 0.92 < covered(rng.uniform, 0.5, seeds, 20_000) < 0.98
    assert 0.87 < covered(rng.exponential, 1.0, seeds, 20_000) < 0.92  # as the guide says


@pytest.mark.parametrize("seeds", [10, 12, 20])
def test_the_interval_of_many_seeds_covers_the_truth_as_often_as_it_says(seeds):
    rng = np.random.default_rng(seeds)
    assert 0.92 < covered(rng.normal, 0.0, seeds, 1000) < 0.98


def test_a_percentile_bootstrap_of_few_seeds_would_not():
    low, high = bootstrap_interval(np.random.default_rng(0).normal(size=(3, 1000)), resamples=500)
    assert np.mean((low <= 0) & (high >= 0)) < 0.8


def test_what_is_told_of_so_many_seeds():
    one, two = estimate([3.0]), estimate([1.0, 5.0])
    assert one.value == 3 and np.isnan([one.low, one.high]).all() and "one seed" in one.interval
    assert two[:3] == (3, 1, 5) and two.interval == "range of 2 seeds"
    scores = [1.0, 2.0, 6.0, 7.0]
    four = estimate(scores)
    expected = stats.t.interval(0.95, 3, np.mean(scores), stats.sem(scores))
    np.testing.assert_allclose(four[:3], [4.0, *expected])
    assert four.statistic == "mean" and four.interval == "95 % t interval of 4 seeds"
    many = estimate(np.arange(10.0) ** 2)
    assert many.value == interquartile_mean(np.arange(10.0) ** 2)
    assert many.statistic == "interquartile mean"
    assert many.interval == "95 % bootstrap interval of 10 seeds"
    narrow = np.subtract(*bootstrap_interval(np.arange(10.0) ** 2)[::-1])
    assert many.high - many.low > narrow
    curve = estimate(np.ones((3, 5)))
    assert curve.value.shape == curve.low.shape == curve.high.shape == (5,)
    with pytest.raises(ValueError, match="no scores"):
        estimate([])


def test_a_seed_without_a_number_is_not_dropped():
    told = described([1.0, np.nan, 3.0])
    assert told["seeds"] == 3 and told["value"] is told["mean"] is told["iqm"] is None
    assert told["low"] is told["high"] is None and "no mean" in sentence(told)
    told = described([1.0, 2.0, 3.0])
    assert sentence(told) == "mean 2.0 (95 % t interval of 3 seeds: -0.5 to 4.5)"
    assert sentence(described([1.0])) == "mean 1.0 (one seed: no interval can be told)"


def test_a_profile_is_the_share_of_runs_that_reach_a_score():
    share = performance_profile([1.0, 2.0, np.nan, 4.0], [0, 1, 1.5, 4, 5])
    np.testing.assert_array_equal(share, [0.75, 0.75, 0.5, 0.25, 0])
    by_task = performance_profile(np.array([[1.0, 10], [2, 20]]), [1.5, 15])
    np.testing.assert_array_equal(by_task, [0.75, 0.25])


def test_probability_of_improvement_counts_pairs():
    assert probability_of_improvement([3, 4], [1, 2]) == 1
    assert probability_of_improvement([1, 2], [3, 4]) == 0
    assert probability_of_improvement([1, 3], [1, 2, 2]) == pytest.approx((0.5 + 3) / 6)
    a = np.array([[3, 0], [4, 0]])
    assert probability_of_improvement(a, np.array([[1, 1], [2, 1]])) == 0.5
    x, y = np.random.default_rng(0).normal(size=(2, 9))
    mann_whitney = stats.mannwhitneyu(x, y + 0.3).statistic / 81
    assert probability_of_improvement(x, y + 0.3) == pytest.approx(mann_whitney)
    with pytest.raises(ValueError, match="tasks differ"):
        probability_of_improvement(np.ones((3, 2)), np.ones((3, 4)))


def coverage_of_share(p: float, n: int) -> float:
    """How often Wilson's interval of a share of `n` holds the truth, summed exactly."""
    counts = np.arange(n + 1)
    holds = [low <= p <= high for low, high in (wilson(k / n, n) for k in counts)]
    return float(stats.binom.pmf(counts, n, p)[holds].sum())


@pytest.mark.parametrize("n", [10, 70, 100, 400, 1000])
def test_the_interval_of_a_share_covers_the_truth_as_often_as_it_says(n):
    """In the mean over shares: for a few shares it is off, as every interval of counts is."""
    shares = np.linspace(0.05, 0.95, 91)
    assert 0.92 < np.mean([coverage_of_share(p, n) for p in shares]) < 0.98


def test_a_share_of_none_or_all_has_bounds_within_0_and_1():
    assert wilson(0.0, 1000)[0] == 0.0 and 0.003 < wilson(0.0, 1000)[1] < 0.005
    assert wilson(1.0, 1000)[1] == 1.0
    expected = stats.binomtest(30, 100).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson(0.3, 100), expected, atol=1e-4)


@pytest.mark.parametrize("shares", [(0.03,) * 5, (0.0, 0.01, 0.01, 0.02, 0.06), (0.4,) * 3])
def test_the_interval_of_the_highest_share_allows_for_the_choice_of_it(shares):
    n, rng = 1000, np.random.default_rng(0)
    found = rng.binomial(n, shares, size=(4000, len(shares)))
    truth = np.array(shares)[found.argmax(1)]
    bounds = np.array([wilson_of_highest(k / n, n, len(shares)) for k in found.max(1)])
    plain = np.array([wilson(k / n, n) for k in found.max(1)])
    assert 0.92 < np.mean((bounds[:, 0] <= truth) & (truth <= bounds[:, 1])) < 0.985
    if len(set(shares)) == 1:
        assert np.mean((plain[:, 0] <= truth) & (truth <= plain[:, 1])) < 0.94
    mirrored = wilson_of_lowest(1.0 - 0.03, n, 5)
    np.testing.assert_allclose(mirrored[::-1], 1.0 - np.array(wilson_of_highest(0.03, n, 5)))


def test_the_interval_over_many_grids_covers_the_truth_where_few_of_them_differ():
    """128 differences, of which most are small and some large, as those of learned rules."""
    rng = np.random.default_rng(0)
    large = rng.random((20_000, 128)) < 0.2
    drawn = np.where(large, rng.exponential(0.05, large.shape), rng.normal(0, 0.002, large.shape))
    mean, spread = drawn.mean(1), drawn.std(1, ddof=1) / np.sqrt(128)
    reach = t_quantile(128) * spread
    assert 0.92 < np.mean(np.abs(mean - 0.2 * 0.05) <= reach) < 0.98
