"""The best of n against numbers that are known, and against choosing."""

import itertools

import numpy as np
import pytest

from spinward.errors import SettingsError
from spinward.evaluation.best_of_n import best_of_n, chances, curve, decline, divergence


def test_the_estimate_is_the_mean_over_all_ways_to_choose():
    random = np.random.default_rng(0)
    judged, worth = random.normal(size=(2, 7))
    for n in (1, 3, 7):
        chosen = [max(c, key=lambda i: judged[i]) for c in itertools.combinations(range(7), n)]
        assert best_of_n(judged, worth, n) == pytest.approx(worth[chosen].mean(), abs=1e-12)


def test_the_best_of_n_uniform_numbers_has_the_mean_n_of_n_plus_1():
    scores = np.random.default_rng(1).random((400, 64))
    for n in (1, 4, 16, 64):
        each = np.array([best_of_n(row, row, n) for row in scores])
        assert abs(each.mean() - n / (n + 1)) < 3 * each.std() / 20
        assert best_of_n(scores, scores, n) == pytest.approx(each.mean())


def test_the_distance_of_the_best_of_n():
    np.testing.assert_allclose(
        [divergence(n) for n in (1, 4, 16, 64)], [0.0, 0.636, 1.835, 3.175], atol=5e-4
    )
    odds = np.diff(
        (np.arange(1001) / 1000) ** 4
    )  # of each of 1,000 equal parts to be the best of 4
    assert (odds * np.log(odds * 1000)).sum() == pytest.approx(divergence(4), abs=1e-3)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_the_curve_of_a_decline_is_found(logarithmic):
    kl = np.linspace(0.2, 40.0, 20)
    d = np.sqrt(kl)
    gain = d * (1.3 - 0.2 * (np.log(d) if logarithmic else d))
    np.testing.assert_allclose(decline(kl, gain, logarithmic), (1.3, 0.2), atol=1e-9)


def test_a_curve_is_a_point_for_each_n_and_more_than_there_are_is_refused():
    judged, worth = np.random.default_rng(0).normal(size=(2, 3, 8))
    first, second = curve(judged, worth, (1, 8))
    assert first == (1, 0.0, pytest.approx(judged.mean()), pytest.approx(worth.mean()))
    best = np.take_along_axis(worth, judged.argmax(-1)[:, None], -1).mean()
    assert second == (8, divergence(8), pytest.approx(judged.max(-1).mean()), pytest.approx(best))
    assert chances(8, 3).sum() == pytest.approx(1.0)
    with pytest.raises(SettingsError, match="n=9 needs as many completions; there are 8"):
        best_of_n(judged, worth, 9)
