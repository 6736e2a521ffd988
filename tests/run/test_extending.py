"""A run that is made longer: the same bits as one of that length, and open whatever happens."""

import pytest
from twin import tiny

import spinward as sw
from spinward.cli.main import main
from spinward.errors import SettingsError
from spinward.run import extending
from spinward.run.experiment import Experiment
from spinward.run.folders import folders
from spinward.run.run import create
from spinward.store import checkpoint, files

HALF, WHOLE = 160, 320  # 10 and 20 iterations


def begin(out, steps, name, **more):
    more = {"algorithm": tiny(sw.PPO), "logs": steps // 32, "seeds": 2} | more
    return sw.train(env="CartPole-v1", steps=steps, out=out, name=name, **more)


def contents(run):
    found = []
    for shard in folders(run.path):
        path, damaged = checkpoint.latest(shard / "checkpoints")
        assert not damaged
        found += [(shard / "metrics.jsonl").read_bytes(), (path / checkpoint.STATE).read_bytes()]
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return begin(tmp_path_factory.mktemp("whole"), WHOLE, "whole", shards=1)


@pytest.fixture
def half(tmp_path):
    return begin(tmp_path, HALF, "half", shards=1)


def test_a_longer_run_has_the_bits_of_one_that_had_that_length_at_once(whole, half):
    run = sw.load(half.path)
    run.extend(WHOLE)
    assert run.experiment.to_json() == whole.experiment.to_json()
    assert len(run.points) == 5  # open before it is trained
    run.train()
    assert contents(run) == contents(whole)
    assert run.evaluate(2).returns.tolist() == whole.evaluate(2).returns.tolist()


@pytest.mark.parametrize("at", range(4))
def test_a_run_opens_wherever_making_it_longer_was_cut_off(at, whole, half, monkeypatch):
    """The two checkpoints, and then the settings, are written; each write may be the last."""
    kept = checkpoint.checkpoints(half.path / "shards/0/checkpoints")
    assert len(kept) >= 1
    writes, write = [], files.write_atomically

    def cut(path, content):
        if len(writes) == at:
            raise KeyboardInterrupt
        writes.append(path)
        write(path, content)

    monkeypatch.setattr(files, "write_atomically", cut)
    finished = at > len(kept)
    if finished:
        sw.load(half.path).extend(WHOLE)
    else:
        with pytest.raises(KeyboardInterrupt):
            sw.load(half.path).extend(WHOLE)
    monkeypatch.undo()
    run = sw.load(half.path)
    assert len(run.points) == 5 and run.evaluate(1).returns.shape == (2, 1)
    assert run.experiment.steps == (WHOLE if finished else HALF)
    if not finished:
        run.train()  # at its end
        run.extend(WHOLE)
    run.train()
    assert contents(run) == contents(whole)


@pytest.mark.slow
def test_runs_of_processes_are_made_longer_by_the_command(tmp_path, capsys):
    run = begin(tmp_path, HALF, "two", shards=2)
    assert main(["resume", str(run.path), "--steps", str(WHOLE)]) == 0
    assert sw.load(run.path).points[-1]["env_steps"] == WHOLE
    assert contents(run) == contents(begin(tmp_path, WHOLE, "at-once", shards=2))
    capsys.readouterr()
    assert main(["resume", str(run.path), "--steps", "100"]) == 2
    assert "has 320 steps; to make it longer, give more" in capsys.readouterr().err


def test_a_step_size_that_falls_over_the_run_falls_over_the_longer_run(tmp_path, capsys):
    run = begin(tmp_path, HALF, "falls", algorithm=tiny(sw.PPO, anneal_steps=HALF), seeds=1)
    run.extend(WHOLE)
    assert "anneal_steps is 320 in place of 160, so that it ends with" in capsys.readouterr().err
    assert run.experiment.algorithm.anneal_steps == WHOLE
    run.train()
    assert run.points[-1]["lr"][0] > 0
    kept = create(Experiment(tiny(sw.PPO, anneal_steps=10), "CartPole-v1", HALF), tmp_path)
    assert kept.extend(WHOLE).experiment.algorithm.anneal_steps == 10
    assert capsys.readouterr().err == ""


def test_settings_that_were_changed_are_not_vouched_for_by_making_a_run_longer(half):
    config = half.path / "config.json"
    config.write_text(config.read_text().replace('"gamma": 0.99', '"gamma": 0.98'))
    with pytest.raises(OSError, match="undo the change"):
        sw.load(half.path).extend(WHOLE)
    with pytest.raises(OSError, match="undo the change"):
        extending.replace_config(half.path, {"seed": 0, "seeds": 2})


def test_a_run_is_not_made_longer_by_less_than_a_log_interval(half):
    with pytest.raises(SettingsError, match="has 160 steps"):
        half.extend(HALF)
    half.extend(HALF + 1)
    assert half.experiment.steps == HALF + 32
