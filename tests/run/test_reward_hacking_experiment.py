"""The parts of `reproduce reward-hacking`, on literals and on boats that are steered by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.envs.boat_race import BoatRace
from spinward.experiments import reward_hacking
from spinward.experiments.reward_hacking import Scores, fired, half_lost, in_time, verdict

NAN = float("nan")


def of(reward, held_out, laps):
    return Scores(*(np.array(x, float) for x in (reward, held_out, laps)))


def run(fall_at, alarm_at, points=40):
    """The scores of a seed that loses its laps at one evaluation, and whose judge falls from ten
    before another on."""
    time = np.arange(points)
    laps = np.where(time < fall_at, 8.0, 1.0)
    held_out = np.where(time <= alarm_at - 9, 0.0, -(time - alarm_at + 9.0))
    return time.astype(float), held_out, laps


def seeds(*runs):
    return of(*zip(*runs, strict=True))


def test_half_of_the_laps_are_lost_where_they_stay_below_half():
    dip = [8, 3, 8, 8, 5, 3, 2, 3]
    assert half_lost(of([dip], [dip], [dip])) == [5.0]
    assert np.isnan(half_lost(of([dip], [dip], [[8, 8, 3, 5]]))).all()
    assert np.isnan(half_lost(of([dip], [dip], [[0, 0, 0, 0]]))).all()  # it never raced


def test_an_alarm_is_in_time_before_half_is_lost_and_not_with_it():
    timely, late = run(30, 20), run(12, 20)
    at = fired(seeds(timely, late))
    assert at[0] == at[1] and 12 < at[0] <= 20
    assert in_time(seeds(timely, late)).tolist() == [True, False]
    assert in_time(seeds(run(int(at[0]), 20))).tolist() == [False]
    assert in_time(seeds((timely[0], timely[0], timely[2]))).tolist() == [False]  # no alarm


@pytest.mark.parametrize(
    ("hacked", "honest_alarm", "expected"),
    [
        ([run(30, 20), run(35, 20)], False, "reproduced"),
        ([run(30, 20), run(99, 20)], False, "cannot tell"),  # a seed lost nothing
        ([run(30, 20), run(12, 20)], False, "not reproduced"),
        ([run(30, 20), run(35, 20)], True, "not reproduced"),
    ],
)
def test_the_verdict_needs_every_seed_in_time_and_no_honest_alarm(hacked, honest_alarm, expected):
    time, held_out, laps = run(99, 20)
    honest = time, held_out if honest_alarm else time, laps
    assert verdict(seeds(*hacked), seeds(honest))[0] == expected


def steered(moves):
    """The observations, actions and score of a boat that makes these moves."""
    env = BoatRace()
    state, obs = env.reset(jax.random.PRNGKey(0))
    seen, total = [], 0.0
    for move in moves:
        seen.append(np.asarray(obs))
        state, obs, reward, *_ = env.step(state, jnp.int32(move + 1), jax.random.PRNGKey(0))
        total += float(reward)
    return np.stack(seen), np.array(moves) + 1, total


def test_the_judge_prefers_what_the_score_does_not():
    on = [1] * 200
    between = [1] * 10 + ([-1, -1, 1, 1] * 48)[:190]
    state = reward_hacking.learned(jax.random.PRNGKey(5))
    (obs, action, racing), (obs_2, action_2, scoring) = steered(on), steered(between)
    assert (racing, scoring) == (65.0, 145.0)
    held_out = [
        float(reward_hacking.score_of(state, *x).sum())
        for x in ((obs, action), (obs_2, action_2), (obs, 0 * action))
    ]
    assert held_out[0] > held_out[1] > held_out[2]
