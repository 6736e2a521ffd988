"""The campaigns that keep results: they go on where they stopped, and say where a row is from."""

import json

import pytest

from campaigns import mujoco
from spinward.run import provenance


def test_a_mujoco_row_says_where_it_is_from_and_is_written_once(tmp_path, monkeypatch):
    pytest.importorskip("envpool")
    monkeypatch.setattr(mujoco, "STEPS", 5000)  # five rollouts of a run of few episodes
    monkeypatch.setattr(mujoco, "EPISODES", 2)
    monkeypatch.setattr(provenance, "commit", lambda: "one")
    job = mujoco.Job("ppo", "Swimmer-v4", 1000)
    assert mujoco.run_all([job], tmp_path / "runs", tmp_path) == 0
    row = json.loads((tmp_path / "ppo-Swimmer-v4-1000.json").read_text())
    assert row["commit"] == "one" and row["seed"] == 1000 == row["config"]["seed"]
    assert row["cpu_s"] > 0 and len(row["evaluation"]["returns"]) == 2
    assert row["evaluation"]["mode"] == "greedy" and row["steps"][-1] == 5000

    monkeypatch.setattr(provenance, "commit", lambda: "two")
    assert mujoco.run_all([job], tmp_path / "runs", tmp_path) == 0  # it is there
    (tmp_path / "ppo-Swimmer-v4-1000.json").unlink()
    with pytest.raises(SystemExit, match="begun by commit one"):
        mujoco.run_all([job], tmp_path / "runs", tmp_path)


def test_the_order_begins_with_what_is_wanted_first_and_names_no_run_twice():
    names = [job.name for job in mujoco.jobs()]
    assert names[:2] == ["sac-HalfCheetah-v4-1000", "td3-HalfCheetah-v4-1000"]
    assert len(set(names)) == len(names)
    assert all(job.seed >= 1000 for job in mujoco.jobs())  # settings were chosen below


def test_the_cpu_seconds_of_earlier_sessions_count(tmp_path):
    path = tmp_path / "cpu.json"
    path.write_text('{"commit": "one", "cpu_s": 50.0}')
    meter = mujoco.Meter(path, "one")
    meter.write()
    assert 50.0 <= json.loads(path.read_text())["cpu_s"] < 60.0
