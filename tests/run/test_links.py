"""Nothing in a run's folder is opened through a link: what lies outside stays as it is."""

import os
import shutil

import pytest
from twin import ALGORITHMS, tiny

from spinward.cli import main
from spinward.data import chunks
from spinward.errors import DamagedFileError
from spinward.run import shards
from spinward.run.experiment import Experiment
from spinward.run.run import create, load
from spinward.store import files

ENV = "CartPole-v1"
SHARD = "shards/0"
CHECKPOINT = f"{SHARD}/checkpoints/0000000040"
LINKS = {  # what is a link, and the commands that would open it
    "config.json": ("resume", "report", "plot", "evaluate", "watch", "data"),
    "shards": ("resume", "report", "plot", "evaluate", "watch", "data"),
    SHARD: ("resume", "report", "plot", "evaluate", "watch", "data"),
    f"{SHARD}/lock": ("resume",),
    f"{SHARD}/stderr": ("resume",),
    f"{SHARD}/metrics.jsonl": ("resume", "report", "plot"),
    f"{SHARD}/times.jsonl": ("resume",),
    f"{SHARD}/checkpoints": ("resume", "evaluate", "data"),
    CHECKPOINT: ("resume", "evaluate", "data"),
    f"{CHECKPOINT}/manifest.json": ("resume", "evaluate"),
    f"{CHECKPOINT}/state.safetensors": ("resume", "evaluate"),
    f"{SHARD}/data": ("resume", "learn"),
    f"{SHARD}/data/seed-0": ("resume", "learn"),
    f"{SHARD}/data/seed-0/obs.bin": ("resume", "learn"),
    f"{SHARD}/data/seed-0/store.jsonl": ("resume", "learn"),
    f"{SHARD}/data/seed-0/card.json": ("learn",),
    "videos": ("report", "watch"),
    "videos/old.gif": ("report",),
}
CASES = [(name, command) for name, commands in LINKS.items() for command in commands]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with one of everything."""
    algorithm = tiny(ALGORITHMS["ppo"])
    steps = 40 * algorithm.envs * algorithm.rollout
    experiment = Experiment(algorithm, ENV, steps, log_data=True, shards=1)
    run = create(experiment, tmp_path_factory.mktemp("runs"), "run").train(trust=True)
    folder = run.path / SHARD
    (folder / "stderr").write_text("said")
    (run.path / "videos").mkdir()
    (run.path / "videos/old.gif").write_bytes(b"GIF89a")
    return run.path


def tree(folder):
    found = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def words(command, run, tmp_path):
    if command == "learn":
        out = ["--steps", "10", "--out", str(tmp_path / "runs")]
        return ["train", "bc", ENV, "--data", str(run), *out]
    more = {"data": ["--out", str(tmp_path / "x.npz")], "evaluate": ["--episodes", "1"]}
    return [command, *(["record"] if command == "data" else []), str(run), *more.get(command, [])]


@pytest.mark.parametrize(("name", "command"), CASES)
def test_a_link_is_refused_by_name_and_what_it_points_at_stays(
    name, command, run, tmp_path, capsys
):
    copy, outside = tmp_path / "copy", tmp_path / "outside"
    shutil.copytree(run, copy)
    outside.mkdir()
    link = copy / name
    shutil.move(link, outside / link.name)
    link.symlink_to(outside / link.name)
    before = tree(outside)
    code = main.main(words(command, copy, tmp_path))
    said = capsys.readouterr().err
    assert code == 4 and str(link) in said and "link" in said, said
    assert "unexpected" not in said and tree(outside) == before


def test_a_run_may_itself_be_reached_by_a_link(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "copy")
    (tmp_path / "link").symlink_to(tmp_path / "copy")
    assert main.main(["plot", str(tmp_path / "link"), "--table"]) == 0


def test_what_is_written_takes_the_place_of_a_link(run, tmp_path):
    copy, secret = tmp_path / "copy", tmp_path / "secret"
    shutil.copytree(run, copy)
    secret.write_text("mine")
    for name in ("report.html", "curve.png"):
        (copy / name).symlink_to(secret)
    assert main.main(["report", str(copy)]) == 0 and main.main(["plot", str(copy)]) == 0
    assert secret.read_text() == "mine"
    assert not (copy / "report.html").is_symlink() and not (copy / "curve.png").is_symlink()


def test_a_pipe_is_refused_and_not_waited_for(run, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    for name, command in {"shards/0/metrics.jsonl": "plot", "videos/old.gif": "report"}.items():
        (copy / name).unlink()
        os.mkfifo(copy / name)
        assert main.main([command, str(copy)]) == 4
        assert name in capsys.readouterr().err
        (copy / name).unlink()
        shutil.copy(run / name, copy / name)


def test_a_file_with_another_name_outside_keeps_what_it_has(run, tmp_path):
    copy, outside = tmp_path / "copy", tmp_path / "outside"
    shutil.copytree(run, copy)
    outside.mkdir()
    for name in ("lock", "stderr"):
        os.link(copy / SHARD / name, outside / name)
    before = tree(outside)
    path = copy / SHARD
    with shards.alone(path), shards.child(["true"], copy, 0) as process:
        process.wait()
    assert tree(outside) == before


def test_shards_are_in_the_order_of_their_numbers(tmp_path):
    for name in ("10", "9", "0", "x", "1.tmp", "٣"):
        (tmp_path / "shards" / name).mkdir(parents=True)
    assert [p.name for p in shards.folders(tmp_path)] == ["0", "9", "10"]


def test_a_missing_shard_is_told(run, tmp_path):
    shutil.copytree(run, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy/shards/0")
    with pytest.raises(DamagedFileError, match="expected a checkpoint of each shard, found 0"):
        load(tmp_path / "copy").agents()


def test_links_are_found_only_within_a_run(tmp_path):
    (tmp_path / "real/run/a").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    path = tmp_path / "link/run/a/b"
    assert files.inside(tmp_path / "link/run", path) == path
    with pytest.raises(DamagedFileError, match="link: expected an ordinary file"):
        files.inside(tmp_path, path)
    with pytest.raises(ValueError, match="is not in"):
        files.inside(tmp_path / "elsewhere", tmp_path / "real/run")
    (tmp_path / "real/run/a/x.npz").symlink_to(tmp_path / "absent")
    with pytest.raises(DamagedFileError, match=r"x\.npz"):
        chunks.read(tmp_path / "link/run")
