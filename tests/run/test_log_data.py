"""What a run collects, kept on the way: every step once, whatever happened to the run."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from film import STACK, Film
from twin import ALGORITHMS, copied, keys, tiny

from spinward.data import store
from spinward.data.steps import read_data
from spinward.envs import ids
from spinward.errors import DamagedFileError, SettingsError, Stopped
from spinward.programs.choose import program
from spinward.run.assemble import assemble
from spinward.run.experiment import Experiment
from spinward.run.run import create, load, train

ENV = "CartPole-v1"


def begin(name, out, folder="run", iterations=200, env=ENV, settings=(), **more):
    algorithm = tiny(ALGORITHMS[name], **dict(settings))
    stride = algorithm.envs * algorithm.rollout
    steps = iterations * stride
    return train(algorithm, env, steps, out=out, name=folder, log_data=True, shards=1, **more)


def read(path):
    """All steps of a data set, the recording of one environment after another."""
    found = store.opened(path)
    return found.at(np.arange(found.rows))


def by_env(path):
    """The steps of each environment in the order of time, of one seed's data set."""
    found = store.opened(path)
    (part,), (order,) = found.parts, found.orders
    origin = part.columns["origin"][order.number]
    env = origin[np.searchsorted(order.first, np.arange(found.rows), "right") - 1]
    return [found.at(np.flatnonzero(env == one)) for one in np.unique(env)]


def done(rows):
    """Whether an episode ended with each step, in the environment itself."""
    return rows["terminated"] | (rows["truncated"] & ~rows["cut"])


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Runs that nothing happened to."""
    return {n: begin(n, tmp_path_factory.mktemp("whole"), seeds=2) for n in ("dqn", "ppo")}


def test_a_data_set_of_a_replay_is_all_that_was_ever_put_into_it(whole):
    run = whole["dqn"]
    experiment = run.experiment
    algorithm = experiment.algorithm
    plain = assemble(Experiment(algorithm, ENV, experiment.steps, 2)).parts
    closed = program(plain)
    state = closed.start(keys(2))
    newest = [copied(state.source.data.obs[:, : algorithm.warmup // algorithm.envs])]
    for _ in range(200):
        row = int(state.source.rows[0])
        state, _ = closed.advance(state, 1)
        slots = (row + np.arange(algorithm.rollout)) % state.source.data.reward.shape[1]
        newest.append(np.asarray(state.source.data.obs)[:, slots])
    expected = np.concatenate(newest, 1)  # [seed, row, env, 4]
    for seed in range(2):
        envs = by_env(run.path / f"shards/0/data/seed-{seed}")
        found = np.stack([env["obs"] for env in envs], 1)
        np.testing.assert_array_equal(found, expected[seed])


@pytest.mark.parametrize("name", ["dqn", "ppo"])
def test_steps_follow_each_other_and_none_is_missing(name, whole):
    algorithm = whole[name].experiment.algorithm
    path = whole[name].path / "shards/0/data/seed-1"
    warm = algorithm.warmup if name == "dqn" else 0
    assert store.opened(path).rows == 200 * algorithm.envs * algorithm.rollout + warm
    for env in by_env(path):
        over = done(env)
        assert over.any() and not env["cut"][:-1].any()
        np.testing.assert_array_equal(env["cut"][-1], not over[-1])
        same = (env["next_obs"][:-1] == env["obs"][1:]).all(1)
        np.testing.assert_array_equal(same | over[:-1], True)
        assert not same[over[:-1]].any()


def test_a_run_learns_the_same_whether_its_steps_are_kept_or_not(whole, tmp_path):
    run = whole["ppo"]
    plain = train(run.experiment.algorithm, ENV, run.experiment.steps, 2, out=tmp_path, shards=1)
    logs = [r.path / "shards/0/metrics.jsonl" for r in (run, plain)]
    assert logs[0].read_bytes() == logs[1].read_bytes()


def stopping(point):
    """Asks the run to stop, as Ctrl-C would, after each quarter of it."""
    if point.iteration % (point.iterations // 4) == 0 and point.iteration < point.iterations:
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Runs that were stopped three times, and wrote steps that no checkpoint knew of."""
    runs = {}
    for name in ("dqn", "ppo"):
        out = tmp_path_factory.mktemp("stopped")
        with pytest.raises(Stopped):
            begin(name, out, seeds=2, watch=stopping)
        runs[name] = load(out / "run")
        folder = runs[name].path / "shards/0/data/seed-0"
        for _ in range(2):
            with open(folder / "reward.bin", "ab") as file:
                file.write(b"collected after the last checkpoint")
            with pytest.raises(Stopped):
                runs[name].train(stopping, trust=True)
            assert (folder / "reward.bin").stat().st_size == 4 * store.opened(folder).rows
        runs[name].train(trust=True)
    return runs


@pytest.mark.parametrize("name", ["dqn", "ppo"])
def test_a_stopped_run_goes_on_with_its_data(name, whole, stopped):
    assert len(store.opened(stopped[name].path).parts[0].chunks) >= 4
    assert_equal(read(stopped[name].path), read(whole[name].path))


def test_a_killed_run_has_every_step_once(whole, tmp_path):
    folder = create(whole["dqn"].experiment, tmp_path, "victim").path
    code = f"from spinward.run.run import load; load({str(folder)!r}).train(checkpoint_s=0.0)"
    for part in range(2):
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
        goal = points(folder) + 20
        while part < 1 and points(folder) < goal and process.poll() is None:
            time.sleep(0.003)
        if part < 1:
            assert process.poll() is None
            process.send_signal(signal.SIGKILL)
        _, said = process.communicate(timeout=120)
        assert part < 1 or process.returncode == 0, said.decode()
    store.opened(folder).check()
    assert_equal(read(folder), read(whole["dqn"].path))
    assert not [p for p in folder.rglob("*.tmp")]


def points(folder):
    log = folder / "shards/0/metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.is_file() else 0


def test_a_ring_shorter_than_a_log_interval_loses_no_step(tmp_path):
    sizes = {"capacity": 48, "warmup": 16}  # 12 rows of 4; an interval has 12 iterations of 4 rows
    algorithm = tiny(ALGORITHMS["dqn"], **sizes)
    experiment = Experiment(algorithm, ENV, 24 * 16, logs=2, log_data=True, shards=1)
    run = create(experiment, tmp_path, "short").train(trust=True)
    assert store.opened(run.path).rows == 16 + 24 * 16
    for env in by_env(run.path):
        assert ((env["next_obs"][:-1] == env["obs"][1:]).all(1) | done(env)[:-1]).all()


@pytest.mark.parametrize("name", ["dqn", "ppo"])
def test_a_run_on_a_host_keeps_its_steps_and_goes_on_after_a_stop(name, tmp_path):
    env = "gymnasium:CartPole-v1"
    with pytest.raises(Stopped):
        begin(name, tmp_path, iterations=40, env=env, watch=stopping)
    run = load(tmp_path / "run").train(trust=True)
    algorithm = run.experiment.algorithm
    warm = algorithm.warmup if name == "dqn" else 0
    assert store.opened(run.path).rows == 40 * algorithm.envs * algorithm.rollout + warm
    cut = 0  # the environments of a resumed run start anew
    for env in by_env(run.path):
        broken = ~(env["next_obs"][:-1] == env["obs"][1:]).all(1) & ~done(env)[:-1]
        np.testing.assert_array_equal(env["cut"][:-1], broken)
        assert env["truncated"][:-1][broken].all()
        cut += broken.sum()
    assert 0 < cut <= 3 * algorithm.envs


def test_a_run_learns_from_the_folder_of_another(whole, tmp_path):
    algorithm = tiny(ALGORITHMS["bc"])
    run = train(algorithm, ENV, 20, data=whole["ppo"].path, out=tmp_path)
    assert np.isfinite(run.curves("loss")[1]).all()
    found = read_data(whole["ppo"].path, ids.make(ENV).spec)
    one = store.opened(whole["ppo"].path / "shards/0/data/seed-0")
    assert found.reward.shape == (2 * one.rows,)
    assert one.card.env == ENV and one.card.statistics["rows"] == one.rows
    assert run.made.logged.note.startswith(f"{2 * one.rows:,} logged steps")


def test_a_file_that_changed_or_is_missing_is_told(stopped, tmp_path):
    shutil.copytree(stopped["ppo"].path / "shards/0/data/seed-0", tmp_path / "copy")
    path = tmp_path / "copy/action.bin"
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"action\.bin: the bytes of chunk"):
        read_data(tmp_path / "copy", ids.make(ENV).spec)
    path.write_bytes(content[:-1])
    with pytest.raises(DamagedFileError, match="it was cut"):
        store.opened(tmp_path / "copy")
    path.unlink()
    with pytest.raises(DamagedFileError, match=r"action\.bin is missing"):
        store.opened(tmp_path / "copy")
    with pytest.raises(SettingsError, match="no data file"):
        read_data(tmp_path / "nothing", ids.make(ENV).spec)


def test_what_cannot_be_kept_is_refused(tmp_path):
    algorithm = tiny(ALGORITHMS["bc"])
    with pytest.raises(SettingsError, match="collects nothing"):
        train(algorithm, ENV, 20, data="x.npz", out=tmp_path, log_data=True)


@pytest.mark.slow
def test_images_of_a_replay_that_stores_each_once_are_kept_once(tmp_path):
    runs = [
        begin("dqn", tmp_path, f"{stack}", 30, env=Film(), settings={"stack": stack}.items())
        for stack in (1, STACK)
    ]
    found = [read(run.path) for run in runs]
    assert_equal(found[1], found[0])
    sizes = [(run.path / "shards/0/data/seed-0/obs.bin").stat().st_size for run in runs]
    assert sizes[1] < sizes[0] and store.opened(runs[1].path).layout.stack == STACK
    algorithm = tiny(ALGORITHMS["dqn"], stack=STACK)
    learned = [train(algorithm, Film(), 20, data=run.path, out=tmp_path) for run in runs]
    curves = [run.curves("loss")[1] for run in learned]
    np.testing.assert_array_equal(*curves)
