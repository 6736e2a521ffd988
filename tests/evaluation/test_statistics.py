import numpy as np
import pytest
from scipy import stats

from spinward.evaluation import statistics
from spinward.evaluation.statistics import (
    bootstrap_interval,
    interquartile_mean,
    probability_of_improvement,
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


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(20, 400))  # 400 experiments with 20 seeds; the truth is 0
    low, high = bootstrap_interval(scores, resamples=500)
    covered = np.mean((low <= 0) & (high >= 0))
    assert 0.88 < covered < 0.98


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
