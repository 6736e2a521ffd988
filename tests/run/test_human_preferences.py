"""The experiment with 700 comparisons: its scale, its rule, and what reaches the page."""

import numpy as np
import pytest

from spinward.experiments import human_preferences as experiment
from spinward.experiments.reproduction import row_of


def test_random_actions_are_0_and_the_true_reward_is_1():
    returns = {"the true reward": np.array([-100.0, -300.0]), "other": np.array([-1200.0, -700.0])}
    shares = experiment.normalised(returns, -1200.0)
    assert shares["the true reward"].mean() == pytest.approx(1.0)
    np.testing.assert_allclose(shares["other"], [0.0, 0.5])


def test_random_actions_return_what_is_known_of_them():
    assert 18 < experiment.random_return("CartPole") < 27
    assert -1400 < experiment.random_return("Pendulum") < -1050


@pytest.mark.parametrize(
    ("learned", "coin", "half", "verdict"),
    [
        (1.0, 0.0, 1.0, "reproduced"),
        (0.8, 0.0, 1.0, "not reproduced"),
        (1.0, 0.9, 1.0, "not reproduced"),
        (1.0, 0.0, 0.5, "not reproduced"),
    ],
)
def test_the_verdict_needs_every_part_of_the_claim(
    learned, coin, half, verdict, tmp_path, monkeypatch
):
    values = dict(zip(experiment.ARMS, (1.0, learned, coin, half, 1.0), strict=True))
    spread = np.linspace(-0.01, 0.01, 5)
    monkeypatch.setattr(experiment, "taught", lambda name, task, *_: name)
    monkeypatch.setattr(experiment, "random_return", lambda task: 0.0)
    monkeypatch.setattr(experiment, "returns_of", lambda name, env: values[name] + spread)
    monkeypatch.setattr(experiment, "drawing", lambda runs: None)
    monkeypatch.setattr(experiment.plot, "save", lambda *_: None)
    result = experiment.run("laptop", None, tmp_path)
    assert result.verdict == verdict and len(result.rows) == 2 * 9
    assert sum(len(row.scores) == 5 for row in result.rows) == 16


def test_one_task_is_enough_for_active_queries():
    good, bad, wide = (row_of("x", x + np.linspace(-0.01, 0.01, 5) * s) for x, s in
                       ((0.0, 1), (-0.5, 1), (-0.1, 9)))  # fmt: skip
    verdicts = [experiment.above(row, -0.1) for row in (good, bad, wide)]
    assert verdicts == ["reproduced", "not reproduced", "cannot tell"]
    assert experiment.any_of(*verdicts) == "reproduced"
    assert experiment.any_of(*verdicts[1:]) == "cannot tell"
    assert experiment.any_of(verdicts[1]) == "not reproduced"
