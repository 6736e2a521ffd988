"""Runs that ask: clips, schedules, programs that answer, people, stops and exact resume."""

import itertools
import signal
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from twin import ALGORITHMS, assert_same, copied, tiny

import spinward as sw
from spinward.core import replace
from spinward.envs.cartpole_endless import EndlessCartPole
from spinward.errors import SettingsError, Stopped
from spinward.people import cycle, filming, pictures, teachers
from spinward.people import database as databases
from spinward.people.accounts import Accounts
from spinward.people.cycle import Cycle
from spinward.people.filming import Clip, Scene
from spinward.people.labels import Labels
from spinward.people.schedule import AskingPlan
from spinward.rewards.preferences import Preferences
from spinward.run.assemble import assemble
from spinward.run.experiment import Experiment
from spinward.run.run import load, train
from spinward.store import checkpoint

ASK = Preferences(teacher="oracle", labels=32, segment=5, rounds=3, hidden=(8,), members=2,
                  batch=8, updates=4, first_updates=8, candidates=3)  # fmt: skip
STEPS = 320
ENV = "CartPole-Endless"
DRAWN = str(Path(__file__).parent / "drawn.py")


def scene(env=ENV, kind="ppo"):
    made = assemble(Experiment(tiny(ALGORITHMS[kind]), env, 10))
    agent = made.algorithm.init(jax.random.key(1), made.agent_spec)
    return Scene(made.algorithm, made.env, agent, env)


# Clips


@pytest.mark.parametrize("env", ["CartPole-v1", ENV, "gymnasium:CartPole-v1"])
def test_a_clip_is_consecutive_steps_of_one_episode(env):
    clips = filming.film(scene(env), jax.random.PRNGKey(0), 12, 5, False)
    assert len(clips) == 12
    for clip in clips:
        x, v = clip.obs[:, 0], clip.obs[:, 1]
        if env != ENV:  # the position moves by the velocity; after a reset it would jump
            np.testing.assert_allclose(x[1:], x[:-1] + 0.02 * v[:-1], atol=1e-5)
            assert (clip.reward == 1.0).all()
        assert clip.action.shape == (5,) and set(clip.action.tolist()) <= {0, 1}
    again = filming.film(scene(env), jax.random.PRNGKey(0), 12, 5, False)
    assert_same(jax.tree.leaves([c[:3] for c in clips]), jax.tree.leaves([c[:3] for c in again]))


def test_episodes_that_are_shorter_than_a_clip_are_told():
    with pytest.raises(SettingsError, match=r"set a shorter --reward\.segment"):
        filming.film(scene("CartPole-v1"), jax.random.PRNGKey(0), 2, 200, False)


def test_frames_of_gymnasium_are_of_the_steps_that_they_are_shown_with():
    assembled = assemble(Experiment(tiny(ALGORITHMS["ppo"]), f"{DRAWN}:Walk", 10))
    agent = assembled.algorithm.init(jax.random.key(1), assembled.agent_spec)
    walk = Scene(assembled.algorithm, assembled.env, agent, "Walk")
    clips = filming.film(walk, jax.random.PRNGKey(0), 6, 4, True)
    assert len(clips) == 6
    for clip in clips:
        frames = pictures.frames(assembled.env, clip, "pictures")
        places = [int(frame[0, :, 0].argmax()) - 20 for frame in frames]
        assert places == clip.obs[:, 0].astype(int).tolist()
        moves = 2 * clip.action[:-1] - 1
        assert np.diff(places).tolist() == moves.tolist() and len(frames) == 4


def test_clips_are_cut_where_episodes_end():
    done = np.zeros((9, 2), bool)
    done[2, 0] = done[3, 1] = True
    steps = np.arange(9)[:, None] + np.array([[0, 100]])
    found = filming.cut(Clip(steps, steps, steps), done, 3)
    assert [c.obs.tolist() for c in found] == [
        [0, 1, 2], [3, 4, 5], [6, 7, 8], [100, 101, 102], [104, 105, 106],
    ]  # fmt: skip


def test_a_clip_is_kept_as_bytes_and_as_a_picture():
    (clip,) = filming.film(scene(), jax.random.PRNGKey(0), 1, 7, True)
    again = pictures.unpack(pictures.pack(clip))
    assert_same(jax.tree.leaves(again), jax.tree.leaves(clip._replace(seen=None)))
    for show in ("pictures", "numbers"):
        frames = pictures.frames(EndlessCartPole(), clip, show)
        data, shape = pictures.sheet(frames, 20)
        assert len(frames) == shape["frames"] == 7 and data[:4] == b"RIFF"
        assert any((a != b).any() for a, b in itertools.pairwise(frames))
    for damaged in (b"", b"[]\n", b'{"obs.": ["O", [1]]}\nxxxxxxxx', b'{"obs.": ["f4", [-1]]}\n',
                    b'{"obs.": ["f4", [9]]}\nx', pictures.pack(clip)[:80]):  # fmt: skip
        with pytest.raises(Exception, match="a clip is damaged"):
            pictures.unpack(damaged)


def test_the_endless_cartpole_ends_only_at_its_limit_and_says_nothing_of_a_fall():
    env = EndlessCartPole(limit=60)
    step, (state, _) = jax.jit(env.step), env.reset(jax.random.key(0))
    rewards, ends = [], []
    for t in range(60):
        state, obs, reward, terminated, truncated = step(state, 1, jax.random.key(t))
        rewards.append(float(reward))
        ends.append((bool(terminated), bool(truncated)))
    assert ends == [(False, False)] * 59 + [(False, True)]
    down = rewards.index(0.0)
    assert rewards[down : down + 12] == [0.0] * 11 + [1.0] and abs(float(obs[2])) < 1.0


# Teachers


def test_programs_err_as_often_as_they_should():
    chance = np.random.default_rng(0)
    good, bad = np.full(5, 1.0), np.full(5, 0.9)

    def share(teacher, first, second, answer="first", usual=10.0):
        answers = [teachers.answer(teacher, first, second, usual, chance) for _ in range(10_000)]
        return answers.count(answer) / len(answers)

    assert share("oracle", good, bad) == 1.0 and share("oracle", good, good, "equal") == 1.0
    assert share("mistake", good, bad) == pytest.approx(0.9, abs=0.01)
    assert share("noisy", good, bad) == pytest.approx(1 / (1 + np.exp(-0.5)), abs=0.015)
    assert share("random", good, bad) == pytest.approx(0.5, abs=0.015)
    assert share("equal", good, bad, "equal") == 1.0 and share("equal", good, 0 * bad) == 1.0
    assert share("skip", 0.1 * good, 0.1 * bad, "cannot_tell") == 1.0 and share("skip", good, bad)
    early, late = np.array([3.0, 0, 0, 0, 0]), np.array([0, 0, 0, 0, 2.5])
    assert share("oracle", early, late) == 1.0 and share("myopic", early, late, "second") == 1.0


# Schedules


def asker(tmp_path, points=100, **settings):
    plan = AskingPlan(100, points, 16, 0, 1)
    made = scene()
    return Cycle(replace(ASK, **settings), made.algorithm, made.env, ENV, plan, tmp_path)


def test_labels_are_asked_for_early_and_all_of_them_in_time(tmp_path):
    whole = asker(tmp_path, labels=700, initial_share=0.25, rounds=10, halving_share=0.5)
    wanted = [whole.wanted(i) for i in range(0, 100, 10)]
    steps = np.diff(wanted)
    assert wanted[0] == 175 and wanted[-1] == 700 == whole.wanted(99)
    assert (steps > 0).all() and steps[0] > 1.8 * steps[-1]
    ratio = np.log1p(0.1 / 0.5) / np.log1p(0.9 / 0.5)  # of n(T), at the first of nine rounds
    assert wanted[1] == 175 + round(525 * ratio)
    assert whole.wanted(9) == 175 and whole.wanted(10) == wanted[1]
    whole.plan = whole.plan._replace(points=4)  # fewer log points than rounds
    assert [whole.wanted(i) for i in (0, 24, 75, 99)] == [175, 175, 700, 700]
    whole.reward = replace(whole.reward, halving_share=0.0)
    assert whole.wanted(0) == 700
    whole.close(True)


# Whole runs


def final(run):
    path, _ = checkpoint.latest(run.path / "shards/0/checkpoints")
    made = run.made
    like = {"agent": jax.eval_shape(jax.vmap(lambda k: made.algorithm.init(k, made.agent_spec)),
                                    made.experiment.keys()),
            "reward": jax.eval_shape(jax.vmap(lambda k: made.parts.reward.init(k, made.spec)),
                                     made.experiment.keys())}  # fmt: skip
    return copied(checkpoint.load(path, like, whole=False)[0])


@pytest.fixture(
    scope="module", params=["ppo", pytest.param("sac_discrete", marks=pytest.mark.slow)]
)
def undisturbed(request, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param)
    run = train(tiny(ALGORITHMS[request.param]), ENV, STEPS, 2, reward=ASK, out=out, shards=1,
                logs=20)  # fmt: skip
    return request.param, run


def test_a_run_asks_all_its_questions_and_learns_from_all_answers(undisturbed):
    _, run = undisturbed
    state = final(run)["reward"]
    assert state.labels.tolist() == [32, 32] and (state.fits >= 3).all()
    assert run.points[0]["labels"] == [8.0, 8.0] and run.points[-1]["labels"] == [32.0, 32.0]
    database = databases.of_run(run.path)
    rows = database.rows(
        "SELECT seed, count(*), count(DISTINCT iteration) FROM question GROUP BY 1"
    )
    assert [tuple(r) for r in rows] == [(0, 32, 3), (1, 32, 3)]
    assert database.facts()["state"] == "finished"
    names = database.rows("SELECT DISTINCT name FROM valid JOIN labeller p ON p.id = labeller")
    assert [r[0] for r in names] == ["program:oracle"]
    database.close()


def test_a_stopped_run_resumes_to_the_same_bits(undisturbed, tmp_path):
    name, run = undisturbed

    def stop(point):
        return "stop" if point.iteration == run.points[8]["iteration"] else None

    with pytest.raises(Stopped):
        train(tiny(ALGORITHMS[name]), ENV, STEPS, 2, reward=ASK, out=tmp_path, name="run",
              watch=stop, shards=1, logs=20)  # fmt: skip
    again = load(tmp_path / "run")
    again.train()
    assert again.points == run.points
    assert_same(final(again), final(run))


def test_an_iteration_that_is_repeated_knows_no_answer_that_came_later(tmp_path):
    whole = asker(tmp_path)
    labels, who = whole.labels, Accounts(whole.database).named("Ann").id
    items = [labels.add_item("text", str(i), b"") for i in range(4)]
    for i in range(2):
        labels.ask(str(i), (items[2 * i], items[2 * i + 1]), place=(0, 0))
    assert whole.upto(0, 0) == 0
    labels.answer(who, labels.next(who).id, "first", "a")
    assert (whole.upto(0, 0), whole.upto(1, 0)) == (0, 1)
    labels.undo(who, "undo")
    labels.answer(who, labels.next(who).id, "second", "b")
    assert [x.share for x in labels.labels(seed=0, upto=1)] == [1.0]
    assert [x.share for x in labels.labels(seed=0, upto=2)] == []
    assert [x.share for x in labels.labels(seed=0)] == [0.0] and not labels.labels(seed=1)
    assert (whole.upto(0, 0), whole.upto(1, 0), whole.upto(2, 0)) == (0, 1, 3)
    whole.close(True)


def test_earlier_questions_are_asked_again_and_not_waited_for(tmp_path):
    whole = asker(tmp_path)
    labels, who = whole.labels, Accounts(whole.database).named("Ann").id
    items = [labels.add_item("text", str(i), b"") for i in range(8)]
    for i in range(4):
        labels.ask(str(i), (items[2 * i], items[2 * i + 1]), place=(0, 0))
        labels.answer(who, labels.next(who).id, "first", f"{i}")
    for _ in range(2):  # asking twice is asking once
        whole.repeat(0, 10, 2, np.random.default_rng(0))
    rows = whole.database.rows("SELECT * FROM question WHERE repeats NOT NULL")
    assert len(rows) == 2 and all(r["iteration"] is None for r in rows)
    assert not whole.waits_for(10) and labels.next(who).id in {r["id"] for r in rows}
    whole.close(True)


def test_a_run_that_lost_its_checkpoints_replays_what_it_learned_from_people(undisturbed, tmp_path):
    """After a kill the answers are there already, more than the run knew at that iteration."""
    name, run = undisturbed

    def stop(point):
        return "stop" if point.iteration == run.points[8]["iteration"] else None

    with pytest.raises(Stopped):
        train(tiny(ALGORITHMS[name]), ENV, STEPS, 2, reward=ASK, out=tmp_path, name="run",
              watch=stop, shards=1, logs=20)  # fmt: skip
    again = load(tmp_path / "run")
    for path in checkpoint.checkpoints(again.path / "shards/0/checkpoints"):
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    (again.path / "shards/0/saved").unlink()  # as if none had been saved before the kill
    again.train()
    assert again.points == run.points
    assert_same(final(again), final(run))


def test_environments_on_a_host_are_asked_about_too(tmp_path):
    run = train(tiny(ALGORITHMS["ppo"]), "gymnasium:Pendulum-v1", STEPS, reward=ASK, out=tmp_path)
    assert final(run)["reward"].labels.tolist() == [32]


def test_training_waits_for_people_and_goes_on_with_their_answers(tmp_path):
    reward = replace(ASK, teacher="people", labels=12, initial_share=0.5, rounds=2)
    answered = []

    def answer():
        until = time.monotonic() + 60
        while not (tmp_path / "run" / databases.NAME).exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        time.sleep(0.2)
        database = databases.of_run(tmp_path / "run")
        labels, who = Labels(database), Accounts(database).named("Ann").id
        while len(answered) < 12 and time.monotonic() < until:
            question = labels.next(who)
            if question:
                item = labels.item(question.items[0])
                assert item.picture[:4] == b"RIFF" and item.shape["frames"] == 5
                labels.answer(who, question.id, "first", f"act {len(answered)}")
                answered.append(question.id)
            else:
                time.sleep(0.05)
        database.close()

    person = threading.Thread(target=answer)
    person.start()
    run = train(tiny(ALGORITHMS["ppo"]), ENV, STEPS, reward=reward, out=tmp_path, name="run")
    person.join()
    assert len(answered) == 12 and final(run)["reward"].labels.tolist() == [12]


def test_a_run_that_waits_for_people_can_be_stopped_and_resumed(tmp_path, monkeypatch):
    """Nobody answers; a stop request is seen all the same, and nothing is asked twice."""
    reward = replace(ASK, teacher="people", labels=12, initial_share=0.5, rounds=2)
    naps = []

    def nap(self, state, iteration):
        lacking = waits(self, state, iteration)
        naps.append(lacking)
        if len(naps) == 3:
            signal.raise_signal(signal.SIGINT)
        return lacking

    waits = Cycle.waits
    monkeypatch.setattr(Cycle, "waits", nap)
    with pytest.raises(Stopped, match="stopped at 0 of"):
        train(tiny(ALGORITHMS["ppo"]), ENV, STEPS, reward=reward, out=tmp_path, name="run")
    monkeypatch.undo()
    database = databases.of_run(tmp_path / "run")
    assert database.number("SELECT count(*) FROM question") == 6 and naps[:3] == [True] * 3
    labels, who = Labels(database), Accounts(database).named("Ann").id
    while question := labels.next(who):
        labels.answer(who, question.id, "equal", f"act {question.id}")
    run = load(tmp_path / "run")

    def stop(point):
        return "stop"

    with pytest.raises(Stopped):
        run.train(watch=stop)
    assert database.number("SELECT count(*) FROM question") >= 6
    database.close()


def test_without_waiting_training_goes_on_with_the_answers_that_there_are(tmp_path, capfd):
    reward = replace(ASK, teacher="people", wait=False, labels=12, initial_share=0.5, rounds=2)
    run = train(tiny(ALGORITHMS["ppo"]), ENV, STEPS, reward=reward, out=tmp_path, shards=1)
    assert final(run)["reward"].labels.tolist() == [0]
    assert run.points[-1]["predicted_reward"] == [0.0]
    assert "seed 0 had no reward: 0 labels" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("algorithm", "env", "more", "message"),
    [
        ("ppo", ENV, {"seeds": 2}, "people teach one agent"),
        ("ppo", "Probe-Value", {}, "cannot be drawn, so people would see nothing.*numbers"),
        ("ppo", "given", {"reward": replace(ASK, teacher="nobody")}, "must be one of people"),
        ("r2d2", ENV, {}, "reads the environment's reward of the last step"),
        ("lpg_meta", "Grid-Small", {}, "loop of its own"),
        ("ppo", "given", {"reward": replace(ASK, initial_share=0.0)}, "initial-share 0.0312 asks"),
        ("ppo", "given", {"reward": replace(ASK, initial_share=0.015)}, "is no question before"),
        ("ppo", "given", {"reward": replace(ASK, keep_out=1)}, "keeps every answer out"),
        ("ppo", "given", {"reward": replace(ASK, keep_out=5)}, "takes reward.labels=40"),
    ],
)
def test_what_cannot_be_taught_is_said_before_anything_is_written(
    tmp_path, algorithm, env, more, message
):
    env = ENV if env == "given" else env
    reward = more.pop("reward", replace(ASK, teacher="people"))
    with pytest.raises(SettingsError, match=message):
        train(tiny(ALGORITHMS[algorithm]), env, STEPS, reward=reward, out=tmp_path, **more)
    assert not list(tmp_path.iterdir())


def test_numbers_can_be_shown_in_place_of_pictures(tmp_path):
    reward = replace(ASK, teacher="people", show="numbers", wait=False, labels=8, segment=1)
    run = train(tiny(ALGORITHMS["ppo"]), "Probe-Value", STEPS, reward=reward, out=tmp_path)
    database = databases.of_run(run.path)
    assert Labels(database).item(1).picture[:4] == b"RIFF"
    database.close()


def test_the_class_is_at_hand():
    assert sw.Preferences is Preferences and cycle.hook(sw.Count(), *[None] * 5) is None
