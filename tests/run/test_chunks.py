"""Data sets of the first format open as they did, and a lost or changed file of one is told."""

import hashlib
import io
import random
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from twin import ALGORITHMS, logged, tiny

from spinward.core import Box, Spec
from spinward.data import chunks, index
from spinward.data.card import Card
from spinward.data.checks import check_values
from spinward.data.steps import read_data
from spinward.envs.cartpole import CartPole
from spinward.errors import DamagedFileError, SettingsError
from spinward.run.run import train

SPEC = CartPole().spec


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def npz(rows):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **rows)
    return buffer.getvalue()


def sealed(data):
    """An npz file with the SHA-256 of its other bytes at its end, as a comment of the archive."""
    buffer = io.BytesIO(data)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = chunks.SEAL + b"0" * 64
    text = buffer.getvalue()[:-64]
    return text + hashlib.sha256(text).hexdigest().encode()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run whose two seeds logged three chunks of two environments each."""
    folder = tmp_path_factory.mktemp("run")
    rows = logged(300) | {"env": np.repeat(np.arange(2, dtype=np.uint8), 150)}
    (folder / "config.json").touch()
    for seed in range(2):
        part = folder / f"shards/0/data/seed-{seed}"
        part.mkdir(parents=True)
        lines = [{"seeds": [0, 2]}]
        for i in range(3):
            kept = [slice(50 * i, 50 * i + 50), slice(150 + 50 * i, 200 + 50 * i)]
            data = npz({k: np.concatenate([v[one] for one in kept]) for k, v in rows.items()})
            digest = hashlib.sha256(data).hexdigest()
            name = f"{50 * i:010d}-{50 * i + 50:010d}-{digest[:16]}.npz"
            (part / name).write_bytes(data)
            lines.append({"name": name, "sha256": digest})
        index.write(part, chunks.FILE, lines)
    return folder


def test_a_run_of_the_first_format_is_read_recording_by_recording(run, tmp_path):
    steps, rows = read_data(run, SPEC), logged(300)
    for name in ("obs", "action", "reward", "next_obs"):
        found = np.asarray(getattr(steps, name))
        np.testing.assert_array_equal(found, np.concatenate([rows[name]] * 2), err_msg=name)
    assert steps.truncated[[149, 299]].all() or steps.terminated[[149, 299]].any()
    algorithm = tiny(ALGORITHMS["bc"])
    assert train(algorithm, "CartPole-v1", 20, data=run, out=tmp_path).points


@pytest.mark.parametrize("which", [0, 1, -1])
def test_a_lost_chunk_is_told_whether_it_was_the_first_or_the_last(which, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    folder = tmp_path / "run/shards/0/data/seed-1"
    lost = sorted(folder.glob("*.npz"))[which]
    lost.unlink()
    for path in (folder, folder.parent, tmp_path / "run"):
        with pytest.raises(DamagedFileError, match=rf"{lost.name} is missing"):
            chunks.read(path)
    shutil.rmtree(folder)
    with pytest.raises(DamagedFileError, match="seed-1 is missing"):
        chunks.read(tmp_path / "run")
    chunks.read(folder.with_name("seed-0"))  # by itself it is whole


def test_chunks_without_an_index_open(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    folder = tmp_path / "run/shards/0/data/seed-0"
    (folder / chunks.FILE).unlink()
    assert_equal(chunks.read(tmp_path / "run"), chunks.read(run))
    sorted(folder.glob("*.npz"))[0].unlink()
    with pytest.raises(DamagedFileError, match="chunk of the first rows"):
        chunks.read(folder)


def test_an_index_that_changed_is_told(run, tmp_path):
    shutil.copytree(run / "shards/0/data/seed-0", tmp_path / "copy")
    path, rng = tmp_path / "copy" / chunks.FILE, random.Random(0)
    whole = path.read_bytes()
    assert whole.count(b"\n") == 1 + len(list(path.parent.glob("*.npz")))
    for _ in range(200):
        content = bytearray(whole)
        place = rng.randrange(8 * (len(content) - 1))  # the last byte ends the last line
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        with pytest.raises(DamagedFileError, match=chunks.FILE):
            chunks.read(path.parent)
    lines = whole.splitlines(keepends=True)
    for text in (b"", b"".join(lines[:-2]), lines[0] + b"".join(lines[2:]), b"".join(lines[::-1])):
        path.write_bytes(text)
        with pytest.raises(DamagedFileError, match=chunks.FILE):
            chunks.read(path.parent)
    path.write_bytes(whole[:-9])  # as a killed process leaves it
    assert len(chunks.read(path.parent)["reward"])


def test_a_chunk_that_changed_is_told(run, tmp_path):
    shutil.copytree(run / "shards/0/data/seed-0", tmp_path / "copy")
    second = sorted((tmp_path / "copy").glob("*.npz"))[1]
    content = bytearray(second.read_bytes())
    content[200] ^= 1
    second.write_bytes(content)
    with pytest.raises(DamagedFileError, match="not those its name was made from"):
        chunks.read(tmp_path / "copy")


def test_a_recorded_file_that_changed_is_told(tmp_path):
    rows = {"obs": np.arange(80, dtype=np.float32).reshape(20, 4), "reward": np.ones(20)}
    path, rng = tmp_path / "x.npz", random.Random(0)
    path.write_bytes(sealed(npz(rows)))
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
    path.write_bytes(npz(rows))  # of somebody else, with no digest
    assert_equal(chunks.read(path), rows)


def test_pickles_and_archives_that_unpack_to_too_much_are_not_opened(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    np.savez(path, obs=np.array([print], object))
    with pytest.raises(DamagedFileError, match="no npz file of plain arrays"):
        chunks.read(path)
    monkeypatch.setattr(chunks, "LARGEST", 2**20)
    path.write_bytes(npz({"obs": np.zeros(2**20, np.float32)}))
    assert path.stat().st_size < 10_000
    with pytest.raises(DamagedFileError, match="would unpack to 4,194"):
        chunks.read(path)


def test_both_ends_at_once_are_told(tmp_path):
    rows = logged(50)
    rows["truncated"] = rows["truncated"] | (np.arange(50) == 7)
    rows["terminated"] = rows["terminated"] | (np.arange(50) == 7)
    (tmp_path / "x.npz").write_bytes(npz(rows))
    with pytest.raises(DamagedFileError, match=r"row 7 .*both true"):
        read_data(tmp_path / "x.npz", SPEC)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": np.array(["high"] * 50)}, "reward has values of <U4; expected numbers"),
        ({"action": np.linspace(0, 1, 50)}, "action has values of float64; expected whole numbers"),
        ({"action": np.full(50, 2)}, r"row 0 \(50 rows like it\): the action is outside 0 to 1"),
        ({"obs": np.full((50, 4), np.nan)}, r"obs\[0\] of row 0 is nan, not finite"),
        ({"obs": np.zeros((50, 5))}, r"obs has shape \(50, 5\); expected \(50, 4\)"),
        ({"action_prob": np.linspace(0, 1, 50)}, r"row 0 .*outside \(0, 1\]"),
        ({"terminated": np.full(50, 0.5)}, "terminated has the value 0.5; expected true or false"),
        ({"truncated": np.full(50, 2)}, "truncated has the value 2; expected true or false"),
    ],
)
def test_arrays_of_another_kind_are_told(change, message, tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(npz(logged(50) | change))
    with pytest.raises((DamagedFileError, SettingsError), match=message):
        read_data(path, SPEC)


def test_actions_in_another_unit_than_the_bounds_are_told(tmp_path):
    spec, path = Spec(SPEC.obs, Box((1,), -2.0, 2.0)), tmp_path / "x.npz"
    rows = logged(50) | {"action": np.random.default_rng(0).normal(0, 1.5, (50, 1))}
    path.write_bytes(npz(rows))
    assert len(read_data(path, spec).reward) == 50  # a policy with noise, clipped when it acts
    rows["action"][7] = 255.0
    path.write_bytes(npz(rows))
    with pytest.raises(DamagedFileError, match=r"row 7 .*far outside -1 to 1.* within -2 to 2"):
        read_data(path, spec)


def test_a_flag_that_is_neither_true_nor_false_is_told():
    fields = {n: np.asarray(x) for n, x in logged(9).items()}
    odd = np.zeros(9, np.uint8)
    odd[3] = 2
    fields["truncated"] = odd.view(bool)
    with pytest.raises(DamagedFileError, match=r"row 3 .*truncated is neither true nor false"):
        check_values(Path("x"), Card(SPEC.obs, SPEC.action), 0, fields)


def test_a_file_as_large_as_a_disk_is_not_read(tmp_path):
    path = tmp_path / "x.npz"
    with open(path, "wb") as file:
        file.truncate(2**40)  # a hole, which takes no room
    with pytest.raises(DamagedFileError, match="not read"):
        chunks.read(path)


def test_images_as_floats_are_told(tmp_path):
    rows = logged(50) | {n: np.zeros((50, 8, 8, 1)) for n in ("obs", "next_obs")}
    path = tmp_path / "x.npz"
    path.write_bytes(npz(rows))
    with pytest.raises(DamagedFileError, match="obs has values of float64; expected uint8 images"):
        read_data(path, Spec(Box((8, 8, 1), 0, 255, "uint8"), SPEC.action))
