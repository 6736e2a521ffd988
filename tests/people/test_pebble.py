"""PEBBLE's start without labels, and the critics that begin anew with the learned reward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_cycle import ASK, ENV, final
from twin import ALGORITHMS, assert_same, copied, tiny

from spinward.core import Box, Context, Spec, Transition, replace
from spinward.envs.pendulum import Pendulum
from spinward.errors import SettingsError, Stopped
from spinward.networks.neighbours import neighbour_distance, spread_of_states
from spinward.people import critic_reset
from spinward.people import database as databases
from spinward.people.schedule import AskingPlan, wanted
from spinward.rewards.preferences import Preferences
from spinward.run.run import load, train

START = replace(ASK, unsupervised=1, neighbours=3, reset_critic=True)
KEY = jax.random.key(0)


def test_the_distance_is_to_the_nearest_other_row():
    rows = jnp.array([[0.0], [1.0], [3.0], [7.0]])
    assert neighbour_distance(rows, 1).tolist() == [1.0, 1.0, 2.0, 4.0]
    assert neighbour_distance(rows, 2).tolist() == [3.0, 2.0, 3.0, 6.0]
    assert neighbour_distance(rows, 9).tolist() == [7.0, 6.0, 4.0, 7.0]
    assert neighbour_distance(rows[:1], 5).tolist() == [0.0]
    many = np.random.default_rng(0).normal(size=(600, 3)).astype(np.float32)
    apart = np.sqrt(np.square(many[:, None] - many[None]).sum(-1))
    np.testing.assert_allclose(neighbour_distance(many, 5), np.sort(apart, 1)[:, 5], rtol=1e-3)


def test_no_dimension_counts_more_for_its_unit():
    rows = np.random.default_rng(0).normal(size=(2, 50, 3)).astype(np.float32)
    one = spread_of_states(rows, 3)
    np.testing.assert_allclose(one, spread_of_states(rows * [1.0, 1e3, 1e-2], 3), rtol=1e-3)
    assert float(one.std()) == pytest.approx(1.0, rel=1e-4)
    same = np.zeros((1, 8, 3), np.float32)
    assert np.isfinite(spread_of_states(same, 3)).all()


def batch(shape):
    spec = Spec(Box((2,)), Box((1,), -1.0, 1.0), 3)
    obs = np.random.default_rng(1).normal(size=(*shape, 2)).astype(np.float32)
    zeros, no = np.zeros(shape, np.float32), np.zeros(shape, bool)
    return spec, Transition(obs, zeros[..., None], zeros + 7.0, no, no, obs, zeros + 1.0, {})


@pytest.mark.parametrize("replayed", [False, True])
def test_new_states_are_the_reward_until_the_first_fit(replayed):
    """Of a replayed batch [update, step, batch] the states of each step by themselves."""
    spec, steps = batch((4, 2, 20))
    reward = Preferences(unsupervised=2, neighbours=3, hidden=(4,))
    state = reward.init(KEY, spec)
    label = reward.label(state, steps, KEY, Context(replayed))[1].reward
    groups = steps.obs.reshape(8, 20, 2) if replayed else steps.obs.reshape(1, 160, 2)
    np.testing.assert_allclose(
        label.reshape(-1), spread_of_states(groups, 3).reshape(-1), rtol=1e-5
    )
    plain = replace(reward, unsupervised=0)
    assert (plain.label(state, steps, KEY, Context(replayed))[1].reward == 0).all()
    fitted = replace(state, fits=jnp.int32(1))
    learned, known = (
        np.asarray(r.label(fitted, steps, KEY, Context(replayed))[1].reward)
        for r in (reward, plain)
    )
    np.testing.assert_array_equal(learned, known)


def test_questions_begin_after_the_unsupervised_rounds():
    plan = AskingPlan(100, 100, 16, 0, 1)
    reward = Preferences(labels=100, rounds=10, unsupervised=3, initial_share=0.25)
    counts = [wanted(reward, plan, i) for i in range(100)]
    assert set(counts[:30]) == {0} and counts[30] == 25 and counts[89] < counts[90] == 100
    assert wanted(replace(reward, halving_share=0.0), plan, 30) == 100
    assert wanted(replace(reward, unsupervised=9), plan, 90) == 100  # all at once


@pytest.mark.parametrize("kind", ["sac", "td3", "ddpg"])
def test_critics_begin_anew_and_nothing_else(kind):
    algorithm, spec = tiny(ALGORITHMS[kind]), Pendulum().spec
    agents = copied(jax.vmap(lambda k: algorithm.init(k, spec))(jax.random.split(KEY, 2)))
    agents = jax.tree.map(lambda x: x + np.ones_like(x), agents)
    new = critic_reset.reset(agents, algorithm, spec, 1, jax.random.key(5))
    fresh = algorithm.init(jax.random.key(5), spec)
    names, parts = critic_reset.names_of(agents), []
    leaves = [jax.tree.leaves(x) for x in (agents, new, fresh)]
    for name, old, now, begun_anew in zip(names, *leaves, strict=True):
        if now is old:
            continue
        parts.append(name)
        np.testing.assert_array_equal(now[0], old[0])
        np.testing.assert_array_equal(now[1], begun_anew)
    assert {n.partition(".")[0] for n in parts} == {"critic", "target"}
    assert any("opt_state" in n for n in parts) and not any("target.0" in n for n in parts)
    critics = [n for n in names if n.startswith("critic.model.")]
    assert sum(n.startswith("target") for n in parts) == len(critics)
    critic_reset.check(algorithm, spec)


def test_a_run_asks_after_its_start_resets_its_critics_once_and_resumes_exactly(
    tmp_path, monkeypatch
):
    resets, original = [], critic_reset.reset
    monkeypatch.setattr(critic_reset, "reset", lambda *a: resets.append(a[3]) or original(*a))
    options = {"reward": START, "out": tmp_path, "shards": 1, "logs": 20}
    kind = tiny(ALGORITHMS["sac"])
    run = train(kind, "Pendulum-v1", 160, 2, name="whole", **options)
    assert resets == [0, 1]
    database = databases.of_run(run.path)
    asked = database.rows("SELECT DISTINCT iteration FROM question WHERE seed = 0 ORDER BY 1")
    database.close()
    iterations = run.points[-1]["iteration"]
    assert len(asked) == 2 and asked[0][0] >= iterations / 3
    labels = [p["labels"][0] for p in run.points]
    first = next(i for i, n in enumerate(labels) if n)
    assert run.points[first - 1]["predicted_reward"][0] > 0.0 and labels[-1] == 32.0

    def stop(point):
        return "stop" if point.iteration == run.points[first - 2]["iteration"] else None

    with pytest.raises(Stopped):
        train(kind, "Pendulum-v1", 160, 2, name="half", watch=stop, **options)
    half = load(tmp_path / "half")
    half.train()
    assert half.points == run.points
    assert_same(final(half), final(run))


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [("ppo", {}, "no critics apart from its policy"), ("dqn", {}, "no critics apart"),
     ("sac", {"unsupervised": 3}, "must be 0 to 2"), ("sac", {"unsupervised": -1}, "at least 0")],
)  # fmt: skip
def test_a_start_that_cannot_be_is_refused(kind, change, said, tmp_path):
    env = "Pendulum-v1" if kind == "sac" else ENV
    reward = replace(START, **change)
    with pytest.raises(SettingsError, match=said):
        train(tiny(ALGORITHMS[kind]), env, 160, reward=reward, out=tmp_path)
    assert not list(tmp_path.iterdir())
