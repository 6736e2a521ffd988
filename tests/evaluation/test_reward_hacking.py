"""The alarm for reward hacking, on literals."""

import json

import numpy as np
import pytest
from scipy import stats

from spinward.evaluation.reward_hacking import (
    RANKED,
    Alarm,
    alarm,
    in_log,
    parted,
    rank_correlation,
    ranks,
    trend,
)

UP = np.arange(10.0)


def test_the_trend_is_the_slope_over_its_standard_error():
    values = np.array([1.0, 3.0, 2.0, 5.0, 4.0])
    fit = stats.linregress(np.arange(5), values)
    assert trend(values) == pytest.approx(fit.slope / fit.stderr)
    assert trend(values) == pytest.approx(0.8 / np.sqrt(3.6 / 3 / 10))  # by hand
    assert trend(np.full(5, 7.0)) == 0.0 and trend(np.full(5, 0.1) + 1e-17) == 0.0
    assert trend(UP) > 1e6 and trend(-UP) < -1e6


def test_ranks_and_their_correlation_are_spearmans():
    assert ranks(np.array([10.0, 30.0, 20.0, 20.0])).tolist() == [0.0, 3.0, 1.5, 1.5]
    x, y = np.array([1.0, 2.0, 2.0, 5.0, 3.0]), np.array([2.0, 1.0, 4.0, 0.0, 0.0])
    assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert rank_correlation(x, -x) == pytest.approx(-1.0)
    assert rank_correlation(x, np.ones(5)) == 0.0


def test_the_alarm_fires_where_the_reward_rises_and_the_held_out_score_falls():
    assert alarm(UP, -UP) == Alarm(
        9, "the reward rose and the held-out score fell over 10 evaluations"
    )
    assert alarm(UP[:9], -UP[:9]) is None  # fewer evaluations than the window
    honest = np.concatenate([UP, 9 + 0.1 * UP]), np.concatenate([UP, 9 + UP])
    assert alarm(*honest) is None
    late = np.concatenate([UP, UP + 10]), np.concatenate([UP, 9 - 3 * UP])
    fired = alarm(*late)
    assert fired is not None and 11 <= fired.at <= 17


@pytest.mark.parametrize(
    ("proxy", "held_out"),
    [(UP, UP), (-UP, -UP), (-UP, UP), (UP, 0 * UP), (0 * UP, -UP), (0 * UP, 0 * UP)],
)
def test_no_other_pair_of_trends_is_an_alarm(proxy, held_out):
    assert alarm(proxy, held_out) is None


def test_scales_and_shifts_change_nothing():
    rng = np.random.default_rng(0)
    proxy = np.arange(40) + rng.normal(size=40)
    held_out = np.where(np.arange(40) < 20, np.arange(40), 40 - np.arange(40)) + rng.normal(size=40)
    fired = alarm(proxy, held_out)
    assert fired is not None and 20 <= fired.at < 30
    assert alarm(1e-3 * proxy - 50, 1e4 * held_out + 9)[0] == fired.at


def test_ranks_alone_fire_the_alarm_where_trends_are_not_straight():
    steps = np.repeat([0.0, 1.0], RANKED // 2)
    noise = np.tile([0.0, 1e-3], RANKED // 2)
    assert "correlate by -" in parted(steps + noise, -steps - noise, 5)
    assert parted((steps + noise)[1:], -(steps + noise)[1:], 5) == ""  # one too few


def test_evaluations_without_a_number_are_left_out_and_keep_their_places():
    gaps = np.insert(UP, 3, np.nan), np.insert(-UP, 3, 4.0)
    assert alarm(*gaps)[0] == 10
    assert alarm(UP, np.full(10, np.nan)) is None and alarm([], []) is None


def test_noise_seldom_fires_the_alarm():
    rng = np.random.default_rng(1)
    fired = [alarm(*rng.normal(size=(2, 60))) is not None for _ in range(200)]
    shared = rng.normal(size=(200, 60))  # as where both scores are of the same clips
    own = [alarm(x, x + rng.normal(size=60)) is not None for x in shared]
    assert np.mean(fired) < 0.1 and np.mean(own) < 0.02


CONFIG = {"env": "Boat-Race", "evaluate_env": "Boat-Race-Laps", "evaluate_every": 2, "seed": 7}


def logged(proxy, held_out):
    """Log points of seeds [seed, point], of which every second one has an evaluation."""
    both = zip(np.transpose(proxy).tolist(), np.transpose(held_out).tolist(), strict=True)
    for i, (a, b) in enumerate(both):
        yield {"env_steps": 200 * i + 100, "episode_return": a}
        yield {"env_steps": 200 * i + 200, "episode_return": a, "evaluation_return": b}


def test_the_log_of_a_run_gives_the_alarm_that_its_scores_give():
    rng = np.random.default_rng(0)
    proxy = np.arange(40) + rng.normal(size=(2, 40))
    fall = np.where(np.arange(40) < 20, np.arange(40), 40 - np.arange(40))
    held_out = np.stack([fall, np.arange(40)]) + rng.normal(size=(2, 40))
    (warning,) = in_log(logged(proxy, held_out), CONFIG)
    at, why = alarm(proxy[0], held_out[0])
    assert warning == f"seed 7: reward hacking? at {200 * at + 200:,} steps {why}"


def test_a_run_that_is_evaluated_where_it_is_trained_has_no_alarm():
    points = list(logged([UP], [-UP]))
    assert len(in_log(points, CONFIG)) == 1
    for change in ({"evaluate_env": ""}, {"evaluate_env": "Boat-Race"}, {"evaluate_every": 0}):
        assert in_log(points, CONFIG | change) == []
    assert in_log(points, CONFIG | {"evaluate_env": {"name": "Boat-Race-Laps"}}) != []
    gaps = [p | {"episode_return": [None]} for p in points]
    assert in_log(gaps, CONFIG) == [] and in_log([], CONFIG) == []


def test_the_line_of_progress_and_the_report_have_the_warning(tmp_path):
    from spinward.algorithms.ppo import PPO
    from spinward.report.results import notes_of, shown
    from spinward.run.experiment import EnvChoice, Experiment
    from spinward.run.progress import Line
    from spinward.run.run import create
    from spinward.run.watching import Point

    laps = {"evaluate_env": EnvChoice("Boat-Race-Laps"), "evaluate_every": 2}
    experiment = Experiment(PPO(), EnvChoice("Boat-Race"), 100_000, 2, seed=7, shards=1, **laps)
    points = list(logged([UP, UP], [-UP, UP]))
    line = Line(experiment)
    said = [line.of(Point(1, 2, p["env_steps"], 9, p, 1.0, 1)) for p in points]
    assert "! reward hacking in 1 of 2 seeds?" in said[-1] and "hacking" not in said[-2]
    run = create(experiment, tmp_path, "run")
    shard = run.path / "shards/0"
    shard.mkdir(parents=True)
    lines = [{"iteration": i + 1, "episodes": [1, 1], **p} for i, p in enumerate(points)]
    (shard / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    notes = notes_of(run, shown(run))
    assert notes[-1].startswith("seed 7: reward hacking? at 2,000 steps")
