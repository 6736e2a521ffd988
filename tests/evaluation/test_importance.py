"""Off-policy estimators against exact values of a small decision process, and their identities."""

import numpy as np
import pytest

from spinward.evaluation import importance as ope
from spinward.evaluation.importance import ESTIMATORS, Episodes
from spinward.experiments import ope_coverage
from spinward.experiments.ope_coverage import GAMMA, LOGGED, START, WANTED, sample, values

TRUTH = float(START @ values(WANTED)[1][0])


def estimate(name, episodes):
    return ESTIMATORS[name](episodes, episodes.once())


def test_the_exact_values_are_those_of_the_sheet():
    assert pytest.approx(1.641843, abs=1e-6) == TRUTH
    assert START @ values(LOGGED)[1][0] == pytest.approx(0.835447, abs=1e-6)


SPREADS = {"IS": 0.354, "weighted IS": 0.106, "per-decision IS": 0.184,
           "weighted per-decision IS": 0.068, "direct method": 0.015, "doubly robust": 0.046,
           "weighted doubly robust": 0.046}  # fmt: skip


def test_errors_are_as_large_as_they_were_measured_elsewhere():
    repeats = 600
    found = {name: [] for name in SPREADS}
    for seed in range(repeats):
        episodes = sample(200, seed)
        for name, numbers in found.items():
            numbers.append(estimate(name, episodes))
    for name, spread in SPREADS.items():
        error = np.mean(found[name]) - TRUTH
        bias = 0.011 if "weighted" in name else 0.0  # of a finite sample
        assert abs(error) < bias + 3 * spread / repeats**0.5, name
        assert np.std(found[name]) == pytest.approx(spread, rel=0.25), name


def test_a_wrong_model_biases_its_own_word_and_not_the_doubly_robust():
    found = {name: [] for name in ("direct method", "doubly robust", "weighted doubly robust",
                                   "MAGIC")}  # fmt: skip
    for seed in range(300):
        episodes = sample(200, seed, wrong=True)
        for name, numbers in found.items():
            numbers.append(estimate(name, episodes))
    assert np.mean(found["direct method"]) - TRUTH == pytest.approx(-0.521, abs=0.01)
    for name, spread in (("doubly robust", 0.073), ("weighted doubly robust", 0.053)):
        assert abs(np.mean(found[name]) - TRUTH) < 0.003 + 3 * spread / 300**0.5
        assert np.std(found[name]) == pytest.approx(spread, rel=0.25)
    error = np.sqrt(np.square(np.array(found["MAGIC"]) - TRUTH).mean())
    assert error < 0.15  # it leaves the wrong model nearly alone


def test_the_logged_policy_itself_is_worth_the_mean_of_its_returns():
    episodes = sample(50, 0, policy=LOGGED)
    for name in ("IS", "weighted IS", "per-decision IS", "weighted per-decision IS"):
        assert estimate(name, episodes) == pytest.approx(episodes.returns.mean(), abs=1e-12)
    assert ope.effective_size(episodes.log_weights[:, -1]) == pytest.approx(50)


def test_without_a_model_doubly_robust_estimates_are_per_decision():
    zero = np.zeros((50, 5))
    episodes = sample(50, 1)._replace(q=zero, v=zero)
    for robust, plain in (("doubly robust", "per-decision IS"),
                          ("weighted doubly robust", "weighted per-decision IS")):  # fmt: skip
        assert estimate(robust, episodes) == pytest.approx(estimate(plain, episodes), abs=1e-12)


def test_doubly_robust_is_per_decision_less_the_error_of_the_model():
    episodes = sample(50, 2)
    w = np.exp(episodes.log_weights)
    before = np.concatenate([np.ones((50, 1)), w[:, :-1]], 1)
    control = ((w * episodes.q - before * episodes.v) @ episodes.discounts).mean()
    expected = estimate("per-decision IS", episodes) - control
    assert estimate("doubly robust", episodes) == pytest.approx(expected, abs=1e-9)


def test_partial_estimates_go_from_the_models_word_to_the_whole():
    episodes = sample(50, 3)
    parts = ope.partial_estimates(episodes, episodes.once()).sum(0)
    assert len(parts) == 6
    assert parts[0] == pytest.approx(estimate("direct method", episodes), abs=1e-12)
    assert parts[-1] == pytest.approx(estimate("weighted doubly robust", episodes), abs=1e-12)


def test_the_least_error_has_the_shares_of_its_closed_form():
    np.testing.assert_allclose(ope.least_error(np.zeros((2, 2)), np.array([1.0, -1.0])), [0.5, 0.5],
                               atol=1e-4)  # fmt: skip
    alone = ope.least_error(np.diag([1.0, 3.0]), np.zeros(2))  # in inverse proportion
    np.testing.assert_allclose(alone, [0.75, 0.25], atol=1e-4)
    np.testing.assert_allclose(ope.least_error(np.eye(2), np.array([10.0, 0.0])), [0.0, 1.0],
                               atol=0.02)  # fmt: skip


def test_one_step_gives_the_estimators_of_a_bandit():
    ratio, reward = np.array([0.5, 2.0, 1.0]), np.array([1.0, 3.0, 0.0])
    q, v = np.array([0.5, 2.0, 1.0]), np.array([1.0, 1.5, 2.0])
    columns = [x[:, None] for x in (reward, np.log(ratio), q, v)]
    for gamma in (0.0, 0.9):
        episodes = Episodes(*columns, gamma)
        assert estimate("IS", episodes) == pytest.approx(6.5 / 3)
        assert estimate("weighted IS", episodes) == pytest.approx(6.5 / 3.5)
        robust = np.mean(v + ratio * (reward - q))
        assert estimate("doubly robust", episodes) == pytest.approx(robust)
        assert estimate("direct method", episodes) == pytest.approx(1.5)
    whole = sample(40, 4)
    first = Episodes(*(x[:, :1] for x in whole[:4]), 0.0)
    assert estimate("per-decision IS", whole._replace(gamma=0.0)) == pytest.approx(
        estimate("IS", first)
    )


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_order_of_episodes_is_nothing_and_counts_are_copies(name):
    episodes = sample(30, 5)
    order = np.random.default_rng(0).permutation(30)
    shuffled = Episodes(*(x[order] for x in episodes[:4]), GAMMA)
    if name != "MAGIC":  # whose bootstrap is drawn in an order
        assert estimate(name, shuffled) == pytest.approx(estimate(name, episodes), abs=1e-12)
    counts = np.arange(30.0) % 3
    copies = Episodes(*(np.repeat(x, counts.astype(int), 0) for x in episodes[:4]), GAMMA)
    found = ESTIMATORS[name](episodes, counts)
    atol = 0.05 if name == "MAGIC" else 1e-9
    assert found == pytest.approx(estimate(name, copies), abs=atol)


def test_weights_of_long_episodes_do_not_vanish_or_overflow():
    ratio = np.full((3, 2000), -1.0)
    ratio[1] = 1.0
    ratio[2, 5] = -np.inf  # an action that the policy never takes
    ones, zeros = np.ones_like(ratio), np.zeros_like(ratio)
    episodes = Episodes(ones, ratio, zeros, zeros, 0.99)
    for name in ("weighted IS", "weighted per-decision IS", "weighted doubly robust"):
        assert np.isfinite(estimate(name, episodes))
    assert ope.effective_size(episodes.log_weights[:, -1]) == pytest.approx(1.0)
    nobody = episodes._replace(log_ratio=np.full((3, 2000), -np.inf))
    assert ope.largest_share(episodes.log_weights[:, -1]) == pytest.approx(1.0)
    assert ope.effective_size(nobody.log_weights[:, -1]) == 0.0
    assert estimate("weighted IS", nobody) == 0.0


def test_an_episode_that_ended_keeps_its_weight():
    ratio = np.log(np.array([[2.0, 1.0], [1.0, 3.0]]))  # the first has one step
    reward, zero = np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros((2, 2))
    found = estimate("weighted per-decision IS", Episodes(reward, ratio, zero, zero, 1.0))
    assert found == pytest.approx(2 / 3 + 3 / 5)


def test_clipped_weights_are_limited_and_others_stay():
    ratio = np.log(np.array([[4.0, 0.5, 2.0], [0.5, 0.5, 1.0]]))
    zero = np.zeros((2, 3))
    found = ope.with_clipped_ratios(Episodes(zero, ratio, zero, zero, 1.0), 3.0)
    np.testing.assert_allclose(np.exp(found.log_weights), [[3.0, 2.0, 3.0], [0.5, 0.25, 0.25]])
    never = Episodes(zero, np.full((2, 3), -np.inf), zero, zero, 1.0)
    assert np.isneginf(ope.with_clipped_ratios(never, 3.0).log_weights).all()


@pytest.mark.slow
def test_intervals_of_90_per_cent_cover_the_truth_in_85_of_100(tmp_path):
    found = ope_coverage.run("laptop", 100, tmp_path)
    shares = {row.what: row.measured for row in found.rows}
    assert shares.pop("no exploration: called unreliable") == 1.0
    assert shares.pop("direct method, wrong model") < 0.5
    assert min(shares.values()) >= 0.85, shares


def test_a_coverage_is_judged_by_every_row(tmp_path, monkeypatch):
    monkeypatch.setattr(ope_coverage, "RESAMPLES", 20)
    monkeypatch.setattr(ope_coverage, "COVERING", ("doubly robust",))
    found = ope_coverage.run("laptop", 4, tmp_path)
    assert [row.what for row in found.rows] == [
        "doubly robust, exact model", "doubly robust, wrong model", "direct method, wrong model",
        "no exploration: called unreliable"]  # fmt: skip
    assert found.rows[2].measured == 0.0 and found.rows[3].measured == 1.0
    low = ope_coverage.row_of("x", np.array([True] * 9 + [False]))
    assert (low.measured, low.low, low.high) == pytest.approx((0.9, 0.5958, 0.9821), abs=1e-3)


def test_an_interval_is_as_wide_as_for_a_sample_of_the_effective_size():
    from spinward.evaluation.statistics import widened

    episodes = sample(60, 0)
    size = round(ope.effective_size(episodes.log_weights[:, -1]))
    low, high = ope.bootstrap(ope.weighted, episodes, 2000)
    random = np.random.default_rng(0)
    draws = [random.multinomial(60, np.full(60, 1 / 60)).astype(float) for _ in range(2000)]
    found = [ope.weighted(episodes, draw) for draw in draws]
    level = widened(size, 0.9)
    assert size < 30 and level > 0.91
    np.testing.assert_allclose([low, high], np.quantile(found, [(1 - level) / 2, (1 + level) / 2]))
    narrow = ope.bootstrap(ope.magic, episodes, 50)
    whole = ope.bootstrap(ope.weighted_doubly_robust, episodes, 50)
    assert narrow[0] <= whole[0] and narrow[1] >= whole[1]
