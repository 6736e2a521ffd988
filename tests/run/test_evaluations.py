"""Evaluations during training, the best agents, and checkpoints by name."""

import json

import jax
import numpy as np
import pytest
from twin import Clock, assert_same, copied, tiny

import spinward as sw
from spinward.cli.main import main
from spinward.errors import SettingsError, Stopped
from spinward.run.experiment import Experiment
from spinward.store import checkpoint

STEPS = 320  # 20 iterations of 16 steps, a log point for each
ALGORITHM = tiny(sw.PPO, lr=0.05, max_grad_norm=100.0)  # whose choices change for better and worse


def by_hand(policy):
    """The return of an episode of `Clock`, whose every reset is the same, played step by step."""
    time, obs, total = 0, np.zeros(2, np.float32), 0.0
    while True:
        action = int(policy(obs))
        time += 1
        total += time + 0.5 * action
        obs = np.array([time, action], np.float32)
        if (time == 3 and action == 1) or time == 5:
            return total


class Watcher:
    """Plays the policies of two seeds at each log point."""

    def __init__(self, stop_at=-1):
        self.scores, self.stop_at = [], stop_at

    def __call__(self, point):
        self.scores.append([by_hand(point.policy(seed)) for seed in (0, 1)])
        assert point.evaluate(2).per_seed.tolist() == self.scores[-1]
        return sw.STOP if point.iteration == self.stop_at else None


def begin(out, name, watch=None, env=Clock, **more):
    more = {"evaluate_every": 40, "evaluate_episodes": 2, "keep_best": True, "shards": 1} | more
    return sw.train(ALGORITHM, env, STEPS, 2, 7, out=out, name=name, watch=watch, **more)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    watcher = Watcher()
    return begin(tmp_path_factory.mktemp("scored"), "whole", watcher), watcher.scores


def state(run):
    path, _ = checkpoint.latest(run.path / "shards/0/checkpoints")
    return (path / checkpoint.STATE).read_bytes()


def test_an_evaluation_has_the_returns_of_the_policies_at_that_point(scored):
    run, scores = scored
    steps, returns = run.curves("evaluation_return")
    assert steps.tolist() == [48, 96, 144, 192, 240, 288, 320]  # 40 is rounded up to 48
    expected = [scores[int(step) // 16 - 1] for step in steps]
    assert returns.T.tolist() == expected
    assert len({tuple(score) for score in expected}) > 1  # they change


def test_evaluations_change_nothing_that_is_learned(scored, tmp_path):
    run, _ = scored
    plain = sw.train(ALGORITHM, Clock, STEPS, 2, 7, out=tmp_path, shards=1)
    assert state(plain) == state(run)


def test_each_seed_keeps_the_agent_of_its_first_highest_evaluation(scored):
    run, _ = scored
    steps, returns = run.curves("evaluation_return")
    best = returns.max(1)
    assert run.evaluate(2, checkpoint="best").per_seed.tolist() == best.tolist()
    assert [by_hand(run.policy(i, "best")) for i in (0, 1)] == best.tolist()
    info = checkpoint.read_manifest(run.path / "shards/0/best/0000000020").info
    assert info["returns"] == best.tolist()
    assert info["iterations"] == [int(steps[i]) // 16 for i in returns.argmax(1)]
    assert len(set(info["iterations"])) == 2  # each seed has its own


def test_a_resumed_run_has_the_same_evaluations_and_best_agents(scored, tmp_path):
    whole, _ = scored
    with pytest.raises(Stopped):
        begin(tmp_path, "half", Watcher(stop_at=7))
    later = tmp_path / "half/shards/0/best"
    checkpoint.save(later, 9, {"agent": np.zeros(3)}, {})  # as of a process that was killed then
    run = sw.load(tmp_path / "half", trust=True).train()
    assert run.points == whole.points and state(run) == state(whole)
    best = "shards/0/best/0000000020"
    infos = [checkpoint.verify(r.path / best).info for r in (run, whole)]
    assert infos[0] == infos[1]
    assert_same(*(copied(r.agents("best").agent) for r in (run, whole)))


def test_a_run_ends_when_all_seeds_have_the_return_it_stops_at(scored, tmp_path):
    whole, _ = scored
    steps, returns = whole.curves("evaluation_return")
    goal = float(np.sort(returns.min(0))[-2])
    first = int(np.argmax((returns >= goal).all(0)))
    run = begin(tmp_path, "early", stop_at=goal)
    assert run.points == whole.points[: steps[first] // 16]
    run.train()
    assert len(run.points) == steps[first] // 16  # nothing is left to do
    assert run.evaluate(2).per_seed.tolist() == returns[:, first].tolist()


def test_without_evaluations_a_run_stops_at_a_return_of_training(tmp_path):
    whole = sw.train(ALGORITHM, "CartPole-v1", 6400, 2, out=tmp_path, shards=1)
    _, returns = whole.curves()
    goal = 25.0
    ended = np.flatnonzero((returns >= goal).all(0))
    run = sw.train(ALGORITHM, "CartPole-v1", 6400, 2, out=tmp_path, stop_at=goal)
    assert len(run.made.shards) == 1
    assert 0 < ended[0] < 99 and run.points == whole.points[: ended[0] + 1]


def test_a_run_is_evaluated_in_another_environment(tmp_path):
    run = sw.train(tiny(sw.PPO), "CartPole-v1", 64, out=tmp_path, logs=2, evaluate_every=1,
                   evaluate_env="gymnasium:CartPole-v1", evaluate_limit=5)  # fmt: skip
    assert run.curves("evaluation_return")[1].tolist() == [[5.0, 5.0]]
    with pytest.raises(SettingsError, match=r"Pendulum-v1 shows .*; this run was trained in"):
        sw.train(tiny(sw.PPO), "CartPole-v1", 64, out=tmp_path, name="x", evaluate_every=1,
                 evaluate_env="Pendulum-v1")  # fmt: skip
    assert not (tmp_path / "x").exists()


def test_checkpoints_have_names(scored, tmp_path):
    run, _ = scored
    run = begin(tmp_path, "kept", checkpoint_s=0.0)
    found = checkpoint.checkpoints(run.path / "shards/0/checkpoints")
    numbers = sorted(map(checkpoint.number, found))
    assert numbers[-1] == 20 and len(numbers) > 1
    assert_same(copied(run.agents(20).agent), copied(run.agents("last").agent))
    older, last = (jax.tree.leaves(run.agents(n).agent) for n in (numbers[0], 20))
    assert any((a != b).any() for a, b in zip(older, last, strict=True))
    names = ", ".join(map(str, ["best", "last", *numbers]))
    with pytest.raises(SettingsError, match=f"no checkpoint 7; expected one of {names}"):
        run.evaluate(1, checkpoint=7)
    plain = sw.train(ALGORITHM, "CartPole-v1", 16, out=tmp_path, logs=1)
    with pytest.raises(SettingsError, match="kept no best agents: train with --keep-best"):
        plain.policy(checkpoint="best")


def test_the_command_line_has_evaluations_and_named_checkpoints(tmp_path, capsys):
    words = ["train", "ppo", "CartPole-v1", "--steps", "320", "--envs", "4", "--rollout", "4"]
    words += ["--hidden", "8", "--out", str(tmp_path), "--name", "r", "--evaluate-every", "100"]
    words += ["--evaluate-episodes", "3", "--keep-best", "--json", "--logs", "10"]
    assert main([*words, "--evaluate-env.limit", "40"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)["evaluation"]
    run = sw.load(tmp_path / "r")
    assert run.experiment.evaluate_env.settings == {"limit": 40}
    assert found["per_seed"] == run.curves("evaluation_return")[1][:, -1].tolist()
    assert "last evaluation, without exploration: mean " in said.err
    assert main(["evaluate", str(run.path), "--checkpoint", "best", "--episodes", "2"]) == 0
    assert main(["watch", str(run.path), "--checkpoint", "best", "--frames", "3"]) == 0
    assert "videos/seed-0-best.gif" in capsys.readouterr().out
    assert main(["plot", str(run.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["evaluation"]["best"] == found["best"]
    assert main(["plot", str(run.path), "--table"]) == 0
    assert "r, evaluated" in capsys.readouterr().out
    page = (run.path / "report.html").read_text()
    assert "highest evaluation" in page and "Evaluations are 3 whole episodes" in page
    assert main(["evaluate", str(run.path), "--checkpoint", "newest"]) == 2
    assert "'newest' is not best, last or an iteration" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"keep_best": True}, "keep_best=True is of evaluations: say how often"),
        ({"evaluate_env": "CartPole-v1"}, "evaluate_env=CartPole-v1 is of evaluations"),
        ({"evaluate_every": -1}, "evaluate_every=-1 must be at least 0"),
        ({"evaluate_every": 1, "evaluate_episodes": 0}, "evaluate_episodes=0 must be at least 1"),
        ({"stop_at": float("nan")}, "stop_at=nan must be a finite number"),
        ({"stop_at": 1.0, "shards": 2}, "shards=2: a run with stop_at ends all seeds at once"),
    ],
)
def test_evaluations_that_cannot_be_are_refused(more, told):
    with pytest.raises(SettingsError, match=told.replace("(", r"\(")):
        Experiment(ALGORITHM, "CartPole-v1", 10, **more).check()


@pytest.mark.slow
def test_an_error_of_the_watcher_saves_first_whatever_process_trains(tmp_path):
    def fails(point):
        with pytest.raises(SettingsError, match="train with shards=1"):
            point.policy()
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        sw.train(ALGORITHM, "CartPole-v1", 10**8, 2, out=tmp_path, name="r", shards=2,
                 logs=10**5, watch=fails, evaluate_every=1, keep_best=True)  # fmt: skip
    for shard in (0, 1):
        path, damaged = checkpoint.latest(tmp_path / f"r/shards/{shard}/checkpoints")
        assert checkpoint.number(path) > 0 and not damaged
    run = sw.load(tmp_path / "r")
    assert run.points and len(run.agents("best").agent.updates) == 2


def test_an_episode_is_cut_where_evaluate_is_told_to(tmp_path, capsys):
    words = ["ppo", "CartPole-v1", "--steps", "1024", "--out", str(tmp_path), "--name", "x"]
    assert main(["train", *words, "--logs", "1"]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "x"), "--episodes", "4", "--limit", "3"]) == 0
    printed = capsys.readouterr()
    assert "4 of 4 episodes had not ended after 3 steps and were cut (--limit)" in printed.err
    assert "  seed 0: 3.0\n" in printed.out
    assert main(["evaluate", str(tmp_path / "x"), "--limit", "-1"]) == 2
    assert "--limit -1 must be at least 1, or 0" in capsys.readouterr().err
