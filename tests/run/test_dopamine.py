"""Dopamine's replay files are read as steps; files are written here by a ring of its own."""

import gzip
import io
import re

import numpy as np
import pytest

from spinward.cli import main
from spinward.core import Box, Discrete
from spinward.data import dopamine, store
from spinward.data.formats import converted, opened_any
from spinward.data.plan import ImportOptions
from spinward.data.steps import open_data
from spinward.errors import DamagedFileError, SettingsError

SIDE = (5, 4)


class Ring:
    """Dopamine's circular buffer: three rows of zeros, and then the steps of an episode."""

    def __init__(self, capacity):
        self.capacity, self.count = capacity, 0
        self.columns = {
            "observation": np.full((capacity, *SIDE), 7, np.uint8),  # never written: garbage
            "action": np.full(capacity, 99, np.int32), "reward": np.full(capacity, 9, np.float32),
            "terminal": np.ones(capacity, np.uint8),
        }  # fmt: skip
        self.rows = []  # everything that was ever added

    def add(self, observation, action, reward, terminal):
        row = {"observation": observation, "action": action, "reward": reward, "terminal": terminal}
        for name, value in row.items():
            self.columns[name][self.count % self.capacity] = value
        self.rows.append(row)
        self.count += 1

    def episode(self, length, rng, ends=True):
        for _ in range(3):
            self.add(np.zeros(SIDE, np.uint8), 0, 0.0, 0)
        for t in range(length):
            frame = rng.integers(1, 256, SIDE)
            self.add(frame, rng.integers(4), rng.normal(), int(ends and t == length - 1))

    def save(self, folder, number):
        folder.mkdir(exist_ok=True)
        arrays = {f"$store$_{name}": x for name, x in self.columns.items()}
        arrays |= {"add_count": np.array(self.count), "invalid_range": np.zeros(5, int)}
        for name, x in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, x)
            path = folder / f"{name}_ckpt.{number}.gz"
            path.write_bytes(gzip.compress(buffer.getvalue(), 1))


def steps_of(rows, first=0):
    """The steps that rows hold, the slow way: each with its frames and the next ones. Rows before
    `first` are not there."""
    found = []
    for i in range(first + 3, len(rows) - 1):
        if any(rows[j]["terminal"] for j in range(i - 3, i)):
            continue
        row = rows[i]
        frames = [np.stack([rows[j]["observation"] for j in range(i + k - 3, i + k + 1)], -1)
                  for k in (0, 1)]  # fmt: skip
        found.append((i, *frames, row["action"], row["reward"], row["terminal"]))
    return found


def assert_same(found, steps):
    fields = found.at(np.arange(found.rows))
    assert found.rows == len(steps)
    for key, column in (("obs", 1), ("next_obs", 2), ("action", 3), ("reward", 4),
                        ("terminated", 5)):  # fmt: skip
        wanted = np.array([s[column] for s in steps])
        given = fields[key]
        if key == "next_obs":  # what follows an end does not matter
            over = fields["terminated"]
            wanted, given = wanted[~over], given[~over]
        np.testing.assert_array_equal(given, wanted.astype(given.dtype), err_msg=key)
    time = np.array([s[0] for s in steps])
    gap = np.append(np.diff(time) != 1, True)
    np.testing.assert_array_equal(fields["cut"], gap & ~fields["terminated"])
    np.testing.assert_array_equal(fields["truncated"], fields["cut"])


@pytest.mark.parametrize("block", [5, 64, 2048])
def test_frames_are_stacked_within_episodes_alone(block, tmp_path, monkeypatch):
    monkeypatch.setattr(dopamine, "ROWS", block)
    rng, ring = np.random.default_rng(0), Ring(200)
    for length in (7, 1, 20, 3, 11):
        ring.episode(length, rng)
    ring.episode(6, rng, ends=False)
    ring.save(tmp_path / "replay_logs", 0)
    notes = converted(tmp_path, tmp_path / "d", ImportOptions(env="atari"))
    found = store.opened(tmp_path / "d")
    assert found.card.obs == Box((*SIDE, 4), 0.0, 255.0, "uint8") and found.layout.stack == 4
    assert found.card.action == Discrete(4)
    steps = steps_of(ring.rows)
    assert len(steps) == 7 + 1 + 20 + 3 + 11 + 5  # the last row has no successor
    assert notes[0].startswith(f"{ring.count - len(steps)} of {ring.count} rows are padding")
    assert_same(found, steps)
    before = [np.array_equal(s[1][..., :3], np.zeros((*SIDE, 3))) for s in steps]
    assert sum(before) == 6  # an episode begins with three frames of zeros
    data = open_data(tmp_path / "d", found.card.spec)
    assert data.stack == 4


@pytest.mark.parametrize("count", [41, 90, 131, 200])
def test_a_ring_is_read_from_its_oldest_row_on(count, tmp_path):
    rng, ring = np.random.default_rng(count), Ring(40)
    while ring.count < count:
        ring.episode(int(rng.integers(2, 12)), rng)
    ring.save(tmp_path / "r", 0)
    converted(tmp_path / "r", tmp_path / "d", ImportOptions())
    oldest, border = ring.count - 40, ring.count - ring.count % 40
    # What was added before the seam and after it are two recordings.
    before = steps_of(ring.rows[:border], oldest) if oldest < border else []
    assert_same(store.opened(tmp_path / "d"), before + steps_of(ring.rows, border))


def test_checkpoints_are_one_recording_and_no_row_comes_twice(tmp_path):
    """The last checkpoint has few new rows; the rest are those of the one before."""
    rng, ring = np.random.default_rng(3), Ring(60)
    borders = []
    for number, upto in enumerate((60, 120, 141)):
        while ring.count < upto:
            ring.add(rng.integers(1, 256, SIDE), rng.integers(4), 1.0, 0)
        ring.save(tmp_path / "r", number)
        borders.append(ring.count)
    converted(tmp_path / "r", tmp_path / "d", ImportOptions(actions=6))
    found = store.opened(tmp_path / "d")
    assert found.card.action == Discrete(6)
    # Of 141 rows, the three first of each ring have no stack, and the last of each no successor;
    # the last row of the second is a step in the third, which has it and what follows.
    times = [i for i in range(141) if i % 60 > 2 and i not in (59, 140)]
    times = sorted(times)
    rows = {s[0]: s for s in steps_of(ring.rows)}
    assert_same(found, [rows[i] for i in times if i != 119])


def saved(tmp_path):
    rng, ring = np.random.default_rng(0), Ring(50)
    for length in (7, 9, 12):
        ring.episode(length, rng)
    ring.save(tmp_path / "r", 0)
    return ring


def change(path, function):
    array = np.load(io.BytesIO(gzip.decompress(path.read_bytes())), allow_pickle=False)
    buffer = io.BytesIO()
    np.save(buffer, function(array.copy()))
    path.write_bytes(gzip.compress(buffer.getvalue(), 1))


def put(row, value):
    def function(array):
        array[row] = value
        return array

    return function


WRONG = {
    "a frame in the padding": ("$store$_observation", put(11, 5), "rows of zeros before row 13"),
    "frames of another type": ("$store$_observation", lambda x: x.astype(np.float32), "of float32"),
    "too few frames": ("$store$_observation", lambda x: x[:-1], r"50 frames.*\(49, 5, 4\)"),
    "stacked frames": ("$store$_observation", lambda x: x[..., None], "expected 50 frames"),
    "a reward that is not finite": ("$store$_reward", put(5, np.nan), "row 5 is nan"),
    "no flag": ("$store$_terminal", put(5, 2), "row 5 is 2"),
    "another length": ("$store$_action", lambda x: x[:-1], "columns of checkpoint 0 differ"),
    "an action below 0": ("$store$_action", put(5, -1), "row 5 is -1, which is no choice"),
    "actions in part": ("$store$_action", lambda x: x + 0.5, "expected whole numbers"),
    "no count": ("add_count", lambda x: np.array([1, 2]), "expected how many rows"),
    "a count below 0": ("add_count", lambda x: np.array(-3), "expected how many rows"),
    "a pickle": ("$store$_reward", lambda x: np.array([{"a": 1}], object), "no zipped array"),
    "texts": ("$store$_reward", lambda x: np.array(["a"] * 50), "expected numbers"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_no_replay_holds_is_told_by_file_and_row(kind, tmp_path, capsys):
    name, function, message = WRONG[kind]
    saved(tmp_path)
    path = tmp_path / f"r/{name}_ckpt.0.gz"
    if kind == "a pickle":
        buffer = io.BytesIO()
        np.save(buffer, function(0), allow_pickle=True)
        path.write_bytes(gzip.compress(buffer.getvalue()))
    else:
        change(path, function)
    words = ["data", "convert", str(tmp_path / "r"), "--out", str(tmp_path / "d")]
    assert main.main(words) == 4
    said = capsys.readouterr().err
    assert re.search(message, said) and (path.name in said or "differ" in said)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("name", [*(f"$store$_{f}" for f in dopamine.FIELDS), "add_count"])
def test_files_that_are_missing_cut_or_changed_are_told_by_name(name, tmp_path):
    saved(tmp_path)
    path = tmp_path / f"r/{name}_ckpt.0.gz"
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    with opened_any(tmp_path / "r", ImportOptions()) as data:
        assert data.rows == 27
    broken = [whole[: int(n)] for n in rng.choice(len(whole), 8, replace=False)]
    broken += [whole + b"more", gzip.compress(gzip.decompress(whole) + b"1")]
    for place in rng.integers(12, len(whole), 12):  # the head of a zipped file has no checksum
        other = bytearray(whole)
        other[place] ^= 255
        broken.append(bytes(other))
    for data in broken:
        path.write_bytes(data)
        with pytest.raises(DamagedFileError, match=re.escape(path.name)):
            converted(tmp_path / "r", tmp_path / "d", ImportOptions())
    path.unlink()
    if name != "$store$_observation":
        with pytest.raises(DamagedFileError, match=re.escape(f"{path.name} is missing")):
            converted(tmp_path / "r", tmp_path / "d", ImportOptions())
    assert not (tmp_path / "d").exists()


def test_ends_that_only_a_pickle_has_are_asked_for(tmp_path):
    ring = Ring(60)
    ring.episode(8, np.random.default_rng(0))
    ring.save(tmp_path / "r", 0)
    (tmp_path / "r/episode_end_indices_ckpt.0.gz").write_bytes(b"a pickle, which is not opened")
    with pytest.raises(SettingsError, match="has the ends by a time limit as a pickle"):
        converted(tmp_path / "r", tmp_path / "d", ImportOptions())
    assert not (tmp_path / "d").exists()
    converted(tmp_path / "r", tmp_path / "d", ImportOptions(ends="terminated"))
    assert store.opened(tmp_path / "d").rows == 7  # the last in time has no successor
