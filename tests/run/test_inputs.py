"""Models and data that a run depends on are recorded, and refused by name when changed."""

import json
import os
import shutil
import signal
import threading

import jax.numpy as jnp
import numpy as np
import pytest
from twin import ALGORITHMS, logged, tiny

import spinward as sw
from spinward.cli.main import main
from spinward.errors import DamagedFileError, SettingsError, Stopped
from spinward.learning import q_learning
from spinward.learning.steps import annealed
from spinward.run import inputs
from spinward.run.run import load
from spinward.store import checkpoint

PPO = tiny(ALGORITHMS["ppo"])


def half_way(point):
    return "stop" if point.iteration * 2 >= point.iterations else None


def stopped(*arguments, **more):
    """A run that was stopped half way."""
    with pytest.raises(Stopped):
        sw.train(*arguments, watch=half_way, name="run", **more)
    return load(more["out"] / "run")


def refused(run, path, capsys):
    """Whether `resume` refuses the run with exit code 4 and this path."""
    before = sorted(p.read_bytes() for p in run.path.rglob("*") if p.is_file())
    assert main(["resume", str(run.path)]) == 4
    said = capsys.readouterr().err
    assert str(path) in said and "was changed" in said and said.count("\n") <= 2
    return before == sorted(p.read_bytes() for p in run.path.rglob("*") if p.is_file())


def test_a_changed_file_of_data_is_refused(tmp_path, capsys):
    data = tmp_path / "logged.npz"
    np.savez(data, **logged())
    bc = tiny(ALGORITHMS["bc"])
    run = stopped(bc, "CartPole-v1", steps=200 * bc.updates, data=data, out=tmp_path)
    assert run.config["data"]["path"] == str(data)
    assert len(run.config["inputs"]["data"]) == 64
    whole = data.read_bytes()
    np.savez(data, **{**logged(), "reward": logged()["reward"] + 1})
    assert refused(run, data, capsys)
    data.write_bytes(whole)
    assert main(["resume", str(run.path)]) == 0
    data.unlink()
    assert main(["evaluate", str(run.path), "--episodes", "1"]) == 0  # which reads no data


@pytest.mark.slow
def test_a_changed_data_set_is_refused(tmp_path, capsys):
    explorer = sw.train(PPO, "CartPole-v1", 64, 2, out=tmp_path, log_data=True, shards=1)
    bc, data = tiny(ALGORITHMS["bc"]), explorer.path
    run = stopped(bc, "CartPole-v1", steps=200 * bc.updates, data=data, out=tmp_path)
    explorer.extend(128).train(trust=True)  # it goes on and logs more
    assert refused(run, data, capsys)


@pytest.mark.slow
def test_a_run_that_another_starts_from_is_recorded_and_not_needed_later(tmp_path):
    source = sw.train(PPO, "CartPole-v1", 64, 2, out=tmp_path, shards=1)
    run = stopped(PPO, "CartPole-v1", 160, 2, start_from=source, out=tmp_path, shards=1)
    assert inputs.digest(source.path, "start_from") == run.config["inputs"]["start_from"]
    shutil.rmtree(source.path)
    run.train(trust=True)


def test_a_damaged_checkpoint_to_start_from_is_refused_without_advice_on_a_flag_that_is_not_there(
    tmp_path, capsys
):
    source = sw.train(PPO, "CartPole-v1", 160, out=tmp_path, checkpoint_s=0.0, name="source")
    file = checkpoint.checkpoints(source.path / "shards/0/checkpoints")[0] / checkpoint.STATE
    file.write_bytes(file.read_bytes()[:-1])
    words = ["train", "ppo", "CartPole-v1", "--from", str(source.path), "--out", str(tmp_path)]
    assert main([*words, "--name", "x", "--steps", "1600"]) == 4
    said = capsys.readouterr().err
    assert str(file) in said and "to use it, remove what is damaged" in said
    assert not (tmp_path / "x").exists()


def test_the_same_name_with_other_data_is_refused(tmp_path):
    data = tmp_path / "logged.npz"
    np.savez(data, **logged())
    bc = tiny(ALGORITHMS["bc"])
    more = {"steps": 8, "data": data, "out": tmp_path, "name": "run", "exist_ok": True}
    sw.train(bc, "CartPole-v1", **more)
    sw.train(bc, "CartPole-v1", **more)
    np.savez(data, **{**logged(), "reward": logged()["reward"] + 1})
    with pytest.raises(SettingsError, match=r"exists with inputs\.data="):
        sw.train(bc, "CartPole-v1", **more)


@pytest.mark.parametrize("value", [{"data": "x"}, {"data": 3}, {"../x": "0" * 64}, {"class": "x"}])
def test_digests_that_are_none_are_a_damaged_config(value, tmp_path):
    run = sw.train(PPO, "CartPole-v1", 16, out=tmp_path)
    path = run.path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"inputs": value}))
    with pytest.raises(DamagedFileError, match=r"config\.json is damaged.*inputs="):
        load(run.path).config  # noqa: B018


def test_a_run_that_lost_all_its_checkpoints_says_so(tmp_path, capsys):
    run = stopped(PPO, "CartPole-v1", 160, 1, out=tmp_path)
    folder, log = run.path / "shards/0/checkpoints", run.path / "shards/0/metrics.jsonl"
    before = log.read_bytes()
    for how in ("emptied", "gone"):
        for path in [*folder.iterdir()] if how == "emptied" else [folder]:
            shutil.rmtree(path)
        for command in ("resume", "plot", "report", "evaluate"):
            assert main([command, str(run.path)]) == 4, command
            said = capsys.readouterr().err
            assert str(folder) in said and "says that one was saved" in said
    assert log.read_bytes() == before
    shutil.rmtree(run.path / "shards/0")
    assert main(["resume", str(run.path)]) == 0
    assert "no step is saved yet, so it begins anew" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["..", "../x", "a/b", "/tmp/x", ".x", "a\nb", "a\x1bb", "x" * 300, "a\ud800"]
)
def test_a_name_that_is_no_folder_of_the_runs_is_refused(name, tmp_path, capsys):
    words = ["train", "ppo", "CartPole-v1", "--out", str(tmp_path / "runs"), "--name", name]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "expected the name of one folder" in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("steps", [2**63, 10**30])
def test_numbers_that_no_config_holds_are_refused_before_anything_is_written(steps, tmp_path):
    with pytest.raises(SettingsError, match=r"config\.json cannot hold: expected .*2\*\*63"):
        sw.train(PPO, "CartPole-v1", steps, out=tmp_path / "runs")
    with pytest.raises(SettingsError, match=r"config\.json cannot hold"):
        sw.train(PPO, "CartPole-v1", 16, out=tmp_path / "runs", data="a\nb")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["ppo", "dqn"])
def test_schedules_of_more_steps_than_32_bits_count_are_right(name):
    """At 3/4 of 2**33 steps, a quarter of the step size is left, and of the way to epsilon."""
    whole = 2**33
    settings = {"anneal_steps": whole, "explore_steps": whole, "importance_steps": whole}
    algorithm = tiny(ALGORITHMS[name], **settings, epsilon=0.0, lr=1.0)
    per_update = algorithm.envs * algorithm.rollout / vars(algorithm).get("updates", 1)
    updates = jnp.int32(0.75 * whole / per_update)
    if name == "ppo":
        assert annealed(algorithm, 1.0, updates) == pytest.approx(0.25, rel=1e-5)
    else:
        assert q_learning.epsilon_at(algorithm, updates) == pytest.approx(0.25, rel=1e-5)
        assert q_learning.env_steps(algorithm, updates) == pytest.approx(0.75 * whole, rel=1e-5)


def test_more_updates_than_an_agent_counts_are_refused(tmp_path):
    stride = PPO.envs * PPO.rollout
    assert stride == 16
    with pytest.raises(SettingsError, match=r"are 2,168,958,436 iterations.* than 2\*\*31 updates"):
        sw.train(PPO, "CartPole-v1", stride * 2**31, out=tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_of_more_steps_than_32_bits_count_begins_and_can_be_resumed(tmp_path, capsys):
    steps = 3 * 2**31
    algorithm = tiny(ALGORITHMS["ppo"], anneal_steps=steps)
    threading.Timer(3.0, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(Stopped, match=r"stopped at [\d,]+ of 6,442,451,200 steps, all saved"):
        sw.train(algorithm, "CartPole-v1", steps, out=tmp_path, name="run")
    assert load(tmp_path / "run").config["steps"] == steps
    assert main(["evaluate", str(tmp_path / "run"), "--episodes", "1"]) == 0
