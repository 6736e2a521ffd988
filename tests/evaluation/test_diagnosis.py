"""Verdicts on curves whose cause is known, and the probes against values computed by hand."""

import json

import numpy as np
import pytest

from spinward.algorithms.bc import BC
from spinward.algorithms.cql_discrete import CQLDiscrete
from spinward.cli import main as command
from spinward.core import Transition
from spinward.evaluation import diagnosis
from spinward.evaluation.diagnosis import Curves, diagnose, settling_time
from spinward.experience.episodes import FEWEST, divided, episodes
from spinward.run.run import load, train

POINTS, SETTLING, GAMMA = 100, 500.0, 0.9
UPDATES = np.arange(1, POINTS + 1) * 100
SHARE = np.linspace(0.0, 1.0, POINTS)
SETTLED = 1.0 - np.exp(-UPDATES / SETTLING)


def curves(q_data, q_policy=None, reward=(0.0, 1.0), returns=(5.0, 1.0, 8.0), **more):
    """Probes of a run whose other numbers are those of a good one; `returns` are mean, standard
    deviation and largest."""
    q_data = np.asarray(q_data, float)
    constant = np.ones(POINTS)
    values = {
        "q_data": q_data,
        "q_policy": q_data + 0.1 if q_policy is None else np.asarray(q_policy, float),
        "q_start": q_data,
        "q_max": q_data + 1.0,
        "q_min": q_data - 1.0,
        "td_error": 0.05 * constant,
        "held_td_error": 0.06 * constant,
        "target_variance": constant,
        "gap": 1.0 - SETTLED,
        "reward_min": reward[0] * constant,
        "reward_max": reward[1] * constant,
        "return_mean": returns[0] * constant,
        "return_std": returns[1] * constant,
        "return_max": returns[2] * constant,
    }
    return Curves(UPDATES, values | more)


def verdict(found, **more):
    options = {"settling": SETTLING, "gamma": GAMMA, "conservative": True} | more
    return diagnose(found, **options)


def test_values_that_rise_and_stay_are_well_fitted():
    found = verdict(curves(5.0 * SETTLED))
    assert (found.verdict, found.updates) == (diagnosis.WELL_FITTED, 10_000)


def test_values_that_only_fall_because_rewards_are_negative_are_well_fitted():
    negative = {"reward": (-16.0, 0.0), "returns": (-92.0, 20.0, -2.0)}
    assert verdict(curves(-92.0 * SETTLED, **negative)).verdict == diagnosis.WELL_FITTED


def test_values_that_rise_and_fall_are_over_fitted_and_the_peak_is_to_be_used():
    peak = np.where(UPDATES <= 3000, UPDATES / 3000, 1.0 - (UPDATES - 3000) / 8000)
    found = verdict(curves(6.0 * peak))
    assert found.verdict == diagnosis.OVER_FITTED
    assert found.updates == pytest.approx(3000, abs=200)
    sag = np.where(UPDATES <= 3000, UPDATES / 3000, 1.0 - 0.1 * (UPDATES - 3000) / 7000)
    assert verdict(curves(6.0 * sag)).verdict == diagnosis.WELL_FITTED  # a tenth is no fall


def test_a_fall_within_the_noise_is_none():
    noise = np.random.default_rng(0).normal(0.0, 3.0, POINTS)
    assert verdict(curves(5.0 * SETTLED + 0.1 * noise)).verdict == diagnosis.WELL_FITTED


def test_values_below_any_possible_return_are_over_fitted():
    found = verdict(curves(5.0 * SETTLED, q_start=np.where(UPDATES < 4000, 3.0, -40.0)))
    assert found.verdict == diagnosis.OVER_FITTED
    assert found.updates == pytest.approx(3900, abs=300)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_rewards_of_one_sign_in_episodes_that_end_are_no_fault(sign):
    """A reward of 1 or of -1 a step, as in CartPole and MountainCar: near an end little is left."""
    returns = (4.0, 2.0, 9.0) if sign > 0 else (-4.0, 2.0, -1.0)
    values = 3.0 * SETTLED if sign > 0 else -5.0 + 2.0 * SETTLED
    found = verdict(curves(values, reward=(sign, sign), returns=returns))
    assert found.verdict == diagnosis.WELL_FITTED


def test_values_above_the_largest_return_are_over_estimated_and_no_agent_is_to_be_used():
    found = verdict(curves(5.0 * SETTLED, q_policy=30.0 * SHARE))
    assert (found.verdict, found.updates) == (diagnosis.OVER_ESTIMATED, None)
    negative = {"reward": (-16.0, 0.0), "returns": (-92.0, 20.0, -2.0)}
    lead = verdict(curves(-92.0 * SETTLED, q_policy=-92.0 * SETTLED + 90.0 * SHARE, **negative))
    assert lead.verdict == diagnosis.OVER_ESTIMATED  # by its lead, though it is below all returns
    start = verdict(curves(-92.0 * SETTLED, q_policy=np.full(POINTS, 0.5), **negative))
    assert start.verdict != diagnosis.WELL_FITTED


def test_a_short_run_and_a_moving_one_are_not_settled():
    assert verdict(curves(5.0 * SETTLED), settling=6000.0).verdict == diagnosis.NOT_SETTLED
    assert verdict(curves(5.0 * SHARE**2)).verdict == diagnosis.NOT_SETTLED


def test_a_large_error_is_told_by_a_twin():
    poor = curves(5.0 * SETTLED, td_error=np.full(POINTS, 0.5))
    assert verdict(poor).verdict == diagnosis.SUSPECTED
    wide = curves(5.0 * SETTLED, td_error=np.full(POINTS, 0.1), gap=0.5 - SETTLED)
    assert verdict(poor, twin=wide).verdict == diagnosis.UNDER_FITTED
    assert verdict(poor, twin=poor).verdict == diagnosis.DATA_LIMITED
    rising = curves(5.0 * SETTLED, gap=SETTLED)
    assert verdict(rising).verdict == diagnosis.SUSPECTED
    assert verdict(rising, conservative=False).verdict == diagnosis.WELL_FITTED


def test_an_error_on_held_out_episodes_alone_is_over_fitting():
    found = verdict(curves(5.0 * SETTLED, held_td_error=0.05 + SHARE))
    assert found.verdict == diagnosis.OVER_FITTED
    assert found.updates == pytest.approx(2 * SETTLING, abs=300)
    larger = curves(5.0 * SETTLED, held_td_error=np.full(POINTS, 0.9))
    assert verdict(larger).verdict == diagnosis.WELL_FITTED  # larger all along


def test_settling_times():
    assert settling_time(0.99, 0.005) == pytest.approx(20_000)
    assert settling_time(0.9, 0.02) == pytest.approx(500)
    assert settling_time(0.99, 1.0, 250) == pytest.approx(25_000)


def steps_of(count, length=5):
    rows = count * length
    end = np.arange(rows) % length == length - 1
    number = np.arange(rows, dtype=np.float32)
    return Transition(
        number[:, None], np.zeros(rows, np.int32), number, end, np.zeros(rows, bool),
        number[:, None] + 1, np.ones(rows, np.float32), {},
    )  # fmt: skip


def test_whole_episodes_are_held_out_and_none_of_few():
    steps = steps_of(40)
    kept, held = divided(steps, 0.1)
    assert len(held.reward) == 4 * 5 and len(kept.reward) == 36 * 5
    assert not set(kept.reward.tolist()) & set(held.reward.tolist())
    assert (np.bincount(episodes(held)) == 5).all()
    again = divided(steps, 0.1)[1]
    np.testing.assert_array_equal(held.reward, again.reward)
    few = steps_of(FEWEST - 1)
    assert divided(few, 0.1) == (few, None)
    assert divided(steps, 0.0) == (steps, None)


def chain(path, episodes=40):
    """A data set in CartPole's spaces, of two states and two actions whose values are known: action
    1 in state 0 ends with reward 1; action 0 leads to state 1, where each action ends with its
    number as reward."""
    rng = np.random.default_rng(0)
    rows = {"obs": [], "action": [], "reward": [], "terminated": [], "next_obs": []}

    def add(state, action, reward, end, after):
        for name, value in zip(rows, ([state] * 4, action, reward, end, [after] * 4), strict=True):
            rows[name].append(value)

    for _ in range(episodes):
        first = int(rng.integers(2))
        add(0.0, first, float(first), bool(first), 1.0)
        if not first:
            second = int(rng.integers(2))
            add(1.0, second, float(second), True, 1.0)
    arrays = {name: np.asarray(x) for name, x in rows.items()}
    arrays["obs"], arrays["next_obs"] = (np.float32(arrays[k]) for k in ("obs", "next_obs"))
    np.savez(path, truncated=np.zeros(len(arrays["reward"]), bool), **arrays)
    return path


@pytest.mark.slow
def test_a_run_on_a_chain_is_probed_diagnosed_and_kept_at_points(tmp_path, capsys):
    data = chain(tmp_path / "chain.npz")
    algorithm = CQLDiscrete(
        updates=20, batch=32, gamma=0.9, tau=0.05, target_every=1, weight=0.0, lr=3e-3,
        hidden=(32,),
    )  # fmt: skip
    run = train(algorithm, "CartPole-v1", data=data, steps=2000, out=tmp_path, name="run")
    last = run.points[-1]
    saved = np.load(data)
    start = (saved["obs"][:, 0] == 0) & (saved["action"] == 0)
    values = np.where(start, 0.9, saved["reward"])  # of the best action after it
    assert last["probe_q_data"][0] == pytest.approx(values.mean(), abs=0.07)
    assert last["probe_q_policy"][0] == pytest.approx(0.95, abs=0.07)  # 0.9 or 1, and 1
    assert last["probe_q_start"][0] == pytest.approx(1.0, abs=0.07)
    assert last["probe_td_error"][0] < 0.01
    assert last["probe_reward_max"] == [1.0] and last["probe_return_max"] == [1.0]
    assert "probe_held_q_data" in last
    assert command.main(["diagnose", str(run.path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(diagnosis.WELL_FITTED)
    found = json.loads((run.path / "diagnosis.json").read_text())
    assert found["checkpoint_updates"] == 2000 and found["recommended_change"] is None
    assert (run.path / "diagnosis.png").read_bytes().startswith(b"\x89PNG")
    kept = sorted((run.path / "shards" / "0" / "candidates").iterdir())
    assert 10 <= len(kept) <= 21
    early = load(run.path).agents(int(kept[0].name))
    assert early.seeds == 1
    copied = train(BC(updates=20, batch=32), "CartPole-v1", data=data, steps=100, out=tmp_path)
    assert command.main(["diagnose", str(copied.path)]) == 2
    assert "BC learns no values of actions" in capsys.readouterr().err
