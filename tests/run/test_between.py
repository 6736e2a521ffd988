"""What comes from outside between chunks: recorded, replayed, and the same after a kill."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import jax
import numpy as np
import pytest
from twin import ALGORITHMS, assert_same, copied, tiny

from spinward.core import replace
from spinward.errors import SettingsError
from spinward.run.assemble import assemble
from spinward.run.between import changes
from spinward.run.experiment import Experiment
from spinward.run.run import load, train
from spinward.store import checkpoint

STEPS = 320  # 20 iterations, a log point for each


class Curriculum:
    """Doubles all parameters of the policy at two iterations, and counts its calls."""

    def __init__(self, at=(6, 13)):
        self.at_, self.calls = at, []

    def __call__(self, state, at):
        self.calls.append(at)
        if at not in self.at_:
            return state
        learner = state.agent.learner
        model = jax.tree.map(lambda x: 2.0 * x, learner.model)
        return replace(state, agent=replace(state.agent, learner=replace(learner, model=model)))


def final(run):
    path, _ = checkpoint.latest(run.path / "shards/0/checkpoints")
    made = run.made
    like = {"agent": jax.eval_shape(jax.vmap(lambda k: made.algorithm.init(k, made.agent_spec)),
                                    made.experiment.keys())}  # fmt: skip
    return copied(checkpoint.load(path, like, whole=False)[0]["agent"])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    hook = Curriculum()
    out = tmp_path_factory.mktemp("whole")
    run = train(tiny(ALGORITHMS["ppo"]), "CartPole-v1", STEPS, 2, out=out, between=hook)
    return run, hook


def test_a_hook_is_called_at_every_log_point_and_changes_what_is_learned(undisturbed, tmp_path):
    run, hook = undisturbed
    assert hook.calls == list(range(20))
    plain = train(tiny(ALGORITHMS["ppo"]), "CartPole-v1", STEPS, 2, out=tmp_path, shards=1)
    assert plain.points[:6] == run.points[:6] and plain.points[6] != run.points[6]


def test_a_run_that_is_stopped_between_its_changes_resumes_to_the_same_bits(undisturbed, tmp_path):
    run, _ = undisturbed

    def stop(point):
        return "stop" if point.iteration == 9 else None

    with pytest.raises(Exception, match="stopped at"):
        train(tiny(ALGORITHMS["ppo"]), "CartPole-v1", STEPS, 2, out=tmp_path, name="run",
              between=Curriculum(), watch=stop)  # fmt: skip
    stopped = load(tmp_path / "run")
    with pytest.raises(SettingsError, match="give that hook again"):
        stopped.train()
    hook = Curriculum()
    stopped.train(between=hook)
    assert hook.calls[0] == 9 and stopped.points == run.points
    assert_same(final(stopped), final(run))


def test_what_is_on_record_is_replayed_and_not_asked_again(undisturbed, tmp_path):
    """A run that lost its checkpoints after a change, as after a kill, has the change still."""
    run, _ = undisturbed

    def stop(point):
        return "stop" if point.iteration == 9 else None

    with pytest.raises(Exception, match="stopped at"):
        train(tiny(ALGORITHMS["ppo"]), "CartPole-v1", STEPS, 2, out=tmp_path, name="run",
              between=Curriculum(), watch=stop)  # fmt: skip
    again = load(tmp_path / "run")
    for path in checkpoint.checkpoints(again.path / "shards/0/checkpoints"):
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    (again.path / "shards/0/saved").unlink()  # as if none had been saved before the kill
    hook = Curriculum(at=(13,))  # which would not make the first change by itself
    again.train(between=hook)
    assert 6 not in hook.calls and again.points == run.points
    assert_same(final(again), final(run))


def test_a_state_of_another_shape_is_refused():
    made = assemble(Experiment(tiny(ALGORITHMS["ppo"]), "CartPole-v1", 10))
    state = made.parts.source.init(jax.random.key(0), ())
    wrong = replace(state, obs=np.zeros((3, 4), np.float32))
    with pytest.raises(SettingsError, match=r"gave obs the shape \(3, 4\); expected \(4, 4\)"):
        changes(state, wrong)
    with pytest.raises(SettingsError, match="no state of the same structure"):
        changes(state, {"obs": state.obs})
    assert changes(state, state) == {}


def test_a_stop_is_answered_within_seconds_whatever_the_log_interval_is(tmp_path):
    code = textwrap.dedent(f"""
        from spinward.algorithms.ppo import PPO
        from spinward.run.run import train
        train(PPO(envs=4, rollout=16), "CartPole-v1", 2_000_000_000, out={str(tmp_path)!r},
              name="long", checkpoint_s=0.5)
    """)
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    saved = tmp_path / "long/shards/0/checkpoints"
    try:
        until = time.monotonic() + 120
        while not checkpoint.checkpoints(saved) and time.monotonic() < until:
            time.sleep(0.1)
        assert checkpoint.checkpoints(saved), "no checkpoint inside the first log interval"
        assert not load(tmp_path / "long").points
        os.kill(process.pid, signal.SIGTERM)
        began = time.monotonic()
        _, said = process.communicate(timeout=60)
        assert "stopped at" in said and time.monotonic() - began < 10  # busy machines included
    finally:
        process.kill()
    run = load(tmp_path / "long")
    path, _ = checkpoint.latest(saved)
    info = checkpoint.verify(path).info
    assert info["interval"]["count"] == checkpoint.number(path) > 0  # what the log has not yet
    assert not run.points
