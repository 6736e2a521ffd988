"""A lost or changed file of a data set is told, whichever it is."""

import io
import random
import shutil

import numpy as np
import pytest
from twin import ALGORITHMS, tiny

from spinward.data import chunks, index
from spinward.errors import DamagedFileError, Stopped
from spinward.run.experiment import Experiment
from spinward.run.run import create, load
from spinward.run.watching import STOP


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that kept its steps and was stopped twice, so that it has three chunks of each seed."""
    algorithm = tiny(ALGORITHMS["ppo"])
    steps = 30 * algorithm.envs * algorithm.rollout
    experiment = Experiment(
        algorithm, "CartPole-v1", steps, seeds=2, logs=3, log_data=True, shards=1
    )
    run = create(experiment, tmp_path_factory.mktemp("stopped"), "run")
    for _ in range(2):
        with pytest.raises(Stopped):
            run.train(lambda point: STOP, trust=True)
    return run.train(trust=True).path


@pytest.mark.parametrize("which", [0, 1, -1])
def test_a_lost_chunk_is_told_whether_it_was_the_first_or_the_last(which, stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    folder = tmp_path / "run/shards/0/data/seed-1"
    lost = sorted(folder.glob("*.npz"))[which]
    lost.unlink()
    for path in (folder, folder.parent, tmp_path / "run"):
        with pytest.raises(DamagedFileError, match=rf"{lost.name} is missing"):
            chunks.read(path)
    with pytest.raises(DamagedFileError, match=lost.name):
        load(tmp_path / "run").train()
    shutil.rmtree(folder)
    with pytest.raises(DamagedFileError, match="seed-1 is missing"):
        chunks.read(tmp_path / "run")
    with pytest.raises(DamagedFileError, match="seed-1 is missing"):
        load(tmp_path / "run").train()
    chunks.read(folder.with_name("seed-0"))  # by itself it is whole


def test_a_data_set_without_an_index_opens_and_gets_one(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    folder = tmp_path / "run/shards/0/data/seed-0"
    before = index.read(folder)
    (folder / index.FILE).unlink()
    assert_equal(chunks.read(tmp_path / "run"), chunks.read(stopped))
    load(tmp_path / "run").train()
    assert index.read(folder) == before
    (folder / index.FILE).unlink()
    sorted(folder.glob("*.npz"))[0].unlink()
    with pytest.raises(DamagedFileError, match="chunk of the first rows"):
        chunks.read(folder)


def test_an_index_that_changed_is_told(stopped, tmp_path):
    shutil.copytree(stopped / "shards/0/data/seed-0", tmp_path / "copy")
    path, rng = tmp_path / "copy" / index.FILE, random.Random(0)
    whole = path.read_bytes()
    assert whole.count(b"\n") == 1 + len(list(path.parent.glob("*.npz")))
    for _ in range(200):
        content = bytearray(whole)
        place = rng.randrange(8 * (len(content) - 1))  # the last byte ends the last line
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        with pytest.raises(DamagedFileError, match=index.FILE):
            chunks.read(path.parent)
    lines = whole.splitlines(keepends=True)
    for text in (b"", b"".join(lines[:-2]), lines[0] + b"".join(lines[2:]), b"".join(lines[::-1])):
        path.write_bytes(text)
        with pytest.raises(DamagedFileError, match=index.FILE):
            chunks.read(path.parent)
    path.write_bytes(whole[:-9])  # as a killed process leaves it
    assert len(chunks.read(path.parent)["reward"])
    rows = index.end(sorted(path.parent.glob("*.npz"))[-2].name)
    index.cut(path.parent, rows, (0, 2))
    assert len(index.read(path.parent).chunks) == len(list(path.parent.glob("*.npz")))


def test_a_recorded_file_that_changed_is_told(tmp_path):
    rows = {"obs": np.arange(80, dtype=np.float32).reshape(20, 4), "reward": np.ones(20)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **rows)
    path, rng = tmp_path / "x.npz", random.Random(0)
    path.write_bytes(chunks.sealed(buffer.getvalue()))
    with np.load(path, allow_pickle=False) as found:
        assert_equal(dict(found), rows)
    assert_equal(chunks.read(path), rows)
    whole = path.read_bytes()
    for _ in range(500):
        content = bytearray(whole)
        place = rng.randrange(8 * len(content))
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        with pytest.raises(DamagedFileError, match=r"x\.npz"):
            chunks.read(path)
    for size in rng.sample(range(len(whole)), 100):
        path.write_bytes(whole[:size])
        with pytest.raises(DamagedFileError, match=r"x\.npz"):
            chunks.read(path)
    path.write_bytes(buffer.getvalue())  # of somebody else, with no digest
    assert_equal(chunks.read(path), rows)
