"""A run that was stopped or killed and goes on ends in the same bytes as one left in peace."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import optax
import pytest
from twin import ALGORITHMS, home, logged, needs_data, tiny

from spinward.envs.cartpole import CartPole
from spinward.errors import DamagedFileError, Stopped
from spinward.programs.choose import program
from spinward.run.assemble import assemble
from spinward.run.folders import folders
from spinward.run.run import create, load, train
from spinward.store import checkpoint


def stopping(point):
    """Asks the run to stop, as Ctrl-C would, once it has come half way."""
    if point.iteration == point.iterations // 2:
        os.kill(os.getpid(), signal.SIGTERM)


def begin(algorithm_name, out, data, env="CartPole-v1", **more):
    """A tiny run of 100 log points, of two iterations each."""
    kind = ALGORITHMS[algorithm_name]
    algorithm = tiny(kind)
    if needs_data(kind):
        stride, more["data"] = algorithm.updates, data
    else:
        stride = algorithm.envs * algorithm.rollout
    env = env if isinstance(home(algorithm), CartPole) else "Pendulum-v1"
    return train(algorithm, env, steps=200 * stride, out=out, **more)


def contents(run):
    """All that a run has learned: the logs, and the arrays of the last checkpoints."""
    found = []
    for shard in folders(run.path):
        path, damaged = checkpoint.latest(shard / "checkpoints")
        assert not damaged
        found += [(shard / "metrics.jsonl").read_bytes(), (path / checkpoint.STATE).read_bytes()]
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "logged.npz"
    np.savez(path, **logged())
    return path


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """Runs that nothing happened to, by the name of their algorithm."""
    runs = {}

    def get(name):
        if name not in runs:
            runs[name] = begin(name, tmp_path_factory.mktemp("whole"), data, name=name)
        return runs[name]

    return get


@pytest.mark.parametrize("name", ["bc", "dqn", "ppo", "rem", "sac", "trpo"])  # one of each kind
def test_a_run_stopped_half_way_goes_on_to_the_same_bytes(name, whole, data, tmp_path):
    with pytest.raises(Stopped, match=r"stopped at [\d,]+ of [\d,]+ steps") as stopped:
        begin(name, tmp_path, data, name="half", watch=stopping)
    assert stopped.value.exit_code == 130
    run = load(tmp_path / "half")
    assert len(run.points) == len(whole(name).points) // 2 == 50
    run.train(trust=True)
    log, state = contents(run)
    assert log == contents(whole(name))[0]
    assert state == contents(whole(name))[1]
    before = run.path / "shards/0/checkpoints"
    names = [p.name for p in checkpoint.checkpoints(before)]
    run.train(trust=True)  # there is nothing left to do
    assert contents(run) == [log, state]
    assert [p.name for p in checkpoint.checkpoints(before)] == names


def test_a_damaged_last_checkpoint_costs_only_the_time_since_the_one_before(whole, data, tmp_path):
    run = begin("ppo", tmp_path, data, name="run", checkpoint_s=0.0)
    newest = checkpoint.checkpoints(run.path / "shards/0/checkpoints")[0] / checkpoint.STATE
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.raises(DamagedFileError, match="older"):
        run.train(trust=True)
    run = load(run.path, older=True)
    run.train(trust=True)
    assert contents(run) == contents(whole("ppo"))


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from spinward.run.run import load
load({folder!r}, trust=True).train(trust=True, checkpoint_s=0.0)
"""


def resumed(folder):
    """A process that goes on with a run."""
    script = SCRIPT.format(tests=os.path.dirname(__file__), folder=str(folder))
    return subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)


@pytest.mark.slow
def test_a_run_killed_at_random_moments_goes_on_to_the_same_bytes(whole, data, tmp_path):
    folder = create(whole("dqn").experiment, tmp_path, "victim").path
    moments, kills = random.Random(0), 0
    for part in range(5):
        process = resumed(folder)
        goal = lines(folder) + moments.randint(2, 18)
        while part < 4 and lines(folder) < goal and process.poll() is None:
            time.sleep(moments.random() / 200)
        if part < 4:
            kills += process.poll() is None
            process.send_signal(signal.SIGKILL)
        _, said = process.communicate(timeout=120)
        assert part < 4 or process.returncode == 0, said.decode()
    assert kills == 4
    assert contents(load(folder)) == contents(whole("dqn"))
    left = [p.name for p in folder.rglob("*") if p.name.endswith(".tmp")]
    assert not left


def test_a_run_of_two_processes_that_loses_one_goes_on_to_the_same_bytes(data, tmp_path):
    whole = begin("ppo", tmp_path, data, name="whole", seeds=2, shards=2)
    assert len(folders(whole.path)) == 2
    for attempt in range(5):  # on a busy machine a run may end before it is killed
        folder = create(whole.experiment, tmp_path, f"victim-{attempt}").path
        process = resumed(folder)
        while lines(folder) < 5 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)  # its shards notice, save and end
        process.communicate(timeout=60)
        run = load(folder)
        if len(run.points) < 100:
            break
    assert len(run.points) < 100
    run.train(trust=True)
    assert contents(run) == contents(whole)
    alone = begin("ppo", tmp_path, data, name="alone", seed=1)
    assert contents(alone) == contents(whole)[2:]  # a seed learns the same in any company


def lines(folder):
    log = folder / "shards/0/metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.is_file() else 0


@pytest.mark.parametrize("name", ["ppo", "dqn"])
def test_a_run_on_a_host_goes_on_with_its_agent_and_replay(name, data, tmp_path):
    with pytest.raises(Stopped):
        begin(name, tmp_path, data, env="gymnasium:CartPole-v1", name="run", watch=stopping)
    run = load(tmp_path / "run")
    assert checkpoint.number(checkpoint.latest(run.path / "shards/0/checkpoints")[0]) == 100
    before = (run.path / "shards/0/metrics.jsonl").read_bytes()
    run.train(trust=True)
    assert (run.path / "shards/0/metrics.jsonl").read_bytes().startswith(before)
    assert [p["iteration"] for p in run.points] == list(range(2, 201, 2))
    state = last_state(run)
    algorithm = tiny(ALGORITHMS[name])
    count = optax.tree_utils.tree_get(state.agent.learner.opt_state, "count")
    steps = algorithm.epochs * algorithm.minibatches if name == "ppo" else algorithm.updates
    assert count.tolist() == [200 * steps]  # of Adam, from the very first
    if name == "dqn":
        assert state.source.rows.tolist() == [algorithm.warmup // 4 + 200 * algorithm.rollout]
        assert np.ptp(state.source.data.reward) == 0  # nothing but CartPole's ones


def last_state(run):
    experiment = run.experiment
    made = program(assemble(experiment).parts)
    fresh = made.start(experiment.keys())
    made.close()
    return checkpoint.load(checkpoint.latest(run.path / "shards/0/checkpoints")[0], fresh)[0]
