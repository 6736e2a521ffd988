"""A second predictor that learns from answers kept out, and the alarm by its scores."""

import json
import math

import jax
import numpy as np
import pytest
from twin import ALGORITHMS, copied, tiny

from spinward.board import health
from spinward.core import replace
from spinward.envs.cartpole import CartPole
from spinward.errors import Stopped
from spinward.evaluation.reward_hacking import RETURNS, SCORES, in_log, watched_names
from spinward.people import database as databases
from spinward.people import held_out
from spinward.people.filming import Clip
from spinward.people.labels import Label
from spinward.rewards.preferences import Preferences
from spinward.run.progress import Line
from spinward.run.run import load, train
from spinward.run.watching import Point
from spinward.store import checkpoint

ENV = "CartPole-Endless"
ASK = Preferences(teacher="oracle", labels=48, segment=5, rounds=3, hidden=(8,), members=2,
                  batch=8, updates=4, first_updates=8, candidates=3, initial_share=0.6,
                  keep_out=3, keep_out_clips=4)  # fmt: skip


def test_one_answer_in_so_many_is_kept_out_and_always_the_same():
    labels = [Label(i, i, i + 1, 1.0, 1) for i in range(3000)]
    kept, held = held_out.split(ASK, labels, 0)
    assert len(held) == pytest.approx(1000, abs=100) and not set(kept) & set(held)
    assert held_out.split(ASK, labels[:50], 0)[1] == [x for x in held if x.question < 50]
    assert held_out.split(replace(ASK, keep_out=0), labels, 0) == (labels, [])


@pytest.mark.parametrize("share", [1.0, 0.04])
def test_the_reward_learns_from_few_answers_although_some_are_kept_out(share, tmp_path):
    """It waits for no more answers than can come: of 16, one in two is kept out by chance."""
    ask = replace(ASK, labels=16, keep_out=2, initial_share=share)
    run = train(tiny(ALGORITHMS["ppo"]), ENV, 320, 4, reward=ask, out=tmp_path, shards=1, logs=10)
    state = final(run)
    kept, held = state.labels, state.held_out.predictor.labels
    assert kept.min() < 8 and (state.fits > 0).all(), kept
    assert (np.where(held > 0, held, 16 - kept) == 16 - kept).all()


def clip(value):
    return Clip(np.full((4, 4), value, np.float32), np.zeros(4, np.int32), np.zeros(4, np.float32))


def test_a_score_is_in_standard_deviations_of_the_first_clips():
    """Whatever scale and shift the predictors have."""
    spec = CartPole().spec
    reward = Preferences(members=2, hidden=(8,))
    state = reward.init(jax.random.key(0), spec)
    first, new = [clip(x) for x in (-1.0, -0.5, 0.5, 1.0)], [clip(x) for x in (2.0, 3.0)]
    each = [
        np.array([float(reward.each(state, c.obs, c.action).sum(-1)[m]) for c in first + new])
        for m in range(2)
    ]
    by_hand = [(v[4:].mean() - v[:4].mean()) / v[:4].std() for v in each]
    assert held_out.score(reward, state, new, first) == pytest.approx(np.mean(by_hand), rel=1e-4)
    last = state.members.model.layers.layers[-1]
    layers = (*state.members.model.layers.layers[:-1],
              replace(last, w=5.0 * last.w, b=5.0 * last.b + 3.0))  # fmt: skip
    model = replace(state.members.model, layers=replace(state.members.model.layers, layers=layers))
    scaled = replace(state, members=replace(state.members, model=model))
    assert held_out.score(reward, scaled, new, first) == pytest.approx(np.mean(by_hand), rel=1e-3)


def final(run):
    path, _ = checkpoint.latest(run.path / "shards/0/checkpoints")
    made = run.made
    like = {"reward": jax.eval_shape(jax.vmap(lambda k: made.parts.reward.init(k, made.spec)),
                                     made.experiment.keys())}  # fmt: skip
    return copied(checkpoint.load(path, like, whole=False)[0])["reward"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(tiny(ALGORITHMS["ppo"]), ENV, 320, 2, reward=ASK,
                 out=tmp_path_factory.mktemp("run"), name="whole", shards=1, logs=10)  # fmt: skip


def test_both_scores_are_logged_and_no_answer_is_in_both_sets(run):
    state = final(run)
    held, kept = state.held_out.predictor.labels, state.labels
    assert (held >= 8).all() and (held + kept == 48).all() and (held < kept).all()
    database = databases.of_run(run.path)
    for seed in (0, 1):
        rows = database.rows("SELECT id FROM question WHERE seed = ?", seed)
        out = [np.random.default_rng([seed, r["id"], 1]).integers(3) == 0 for r in rows]
        assert sum(out) == held[seed]
    database.close()
    last = run.points[-1]
    assert last["proxy_score"] == pytest.approx(state.held_out.proxy.tolist())
    assert last["held_out_score"] == pytest.approx(state.held_out.score.tolist())
    assert last["held_out_labels"] == held.tolist()
    series = np.array([p["held_out_score"] for p in run.points])
    assert len(np.unique(series, axis=0)) == len(run.points)  # of the policy of that time
    assert not np.allclose(state.held_out.proxy, state.held_out.score)


def test_scores_resume_exactly(run, tmp_path):
    def stop(point):
        if point.iteration >= 8:
            raise Stopped("here")

    options = {"reward": ASK, "out": tmp_path, "shards": 1, "logs": 10}
    with pytest.raises(Stopped):
        train(tiny(ALGORITHMS["ppo"]), ENV, 320, 2, name="half", watch=stop, **options)
    half = load(tmp_path / "half").train()
    for one, other in zip(jax.tree.leaves(final(run)), jax.tree.leaves(final(half)), strict=True):
        assert one.tobytes() == other.tobytes()
    names = ("proxy_score", "held_out_score")
    assert [[p[n] for n in names] for p in half.points] == [
        [p[n] for n in names] for p in run.points
    ]


def point(i, proxy, held, labels=9.0):
    return {"iteration": i, "env_steps": 16 * i, "proxy_score": [proxy], "held_out_score": [held],
            "held_out_labels": [labels], "episode_return": [1.0]}  # fmt: skip


def test_the_alarm_reads_the_two_scores_of_such_a_run(run):
    config = json.loads(run.made.experiment.to_json())
    assert watched_names(config) == SCORES
    assert watched_names(config | {"reward": {"fields": {"keep_out": 0}}}) is None
    assert watched_names(config | {"reward": "clipped"}) is None
    other = config | {"evaluate_every": 5, "evaluate_env": "CartPole-v1"}
    assert watched_names(other) == RETURNS
    part = [point(i, i + 0.1 * math.sin(i), -i + 0.1 * math.cos(i)) for i in range(12)]
    assert "reward hacking? at" in in_log(part, config)[0]
    together = [point(i, i + 0.1 * math.sin(i), i + 0.1 * math.cos(i)) for i in range(12)]
    assert in_log(together, config) == []
    ignorant = [point(i, i, -i, labels=0.0) for i in range(12)]
    assert in_log(ignorant, config) == []


def test_progress_and_board_warn_of_such_a_run(run):
    line = Line(run.made.experiment)
    for i in range(12):
        metrics = {**point(i, i + 0.1 * math.sin(i), -i + 0.1 * math.cos(i))}
        metrics = {k: v * 2 if isinstance(v, list) else v for k, v in metrics.items()}
        text = line.of(Point(i + 1, 20, 16 * i + 16, 320, metrics, 1.0, i + 1))
    assert "reward hacking in 2 of 2 seeds?" in text
    config = json.loads(run.made.experiment.to_json())
    shard = run.path / "shards" / "0"
    assert health.hacking(run.path, [shard], config) == in_log(run.points, config)
