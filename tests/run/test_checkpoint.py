import errno
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
import time
import tracemalloc
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from spinward.core import TrainState
from spinward.errors import DamagedFileError
from spinward.store import arrays, checkpoint, files

LIKE = {"w": jax.ShapeDtypeStruct((3, 5), np.float32), "n": jax.ShapeDtypeStruct((), np.int32)}


class Tower(NamedTuple):
    layers: list
    scale: np.ndarray


def small(iteration: int) -> dict:
    w = np.random.default_rng(iteration).normal(size=(3, 5)).astype(np.float32)
    return {"w": w, "n": np.int32(iteration)}


def varied() -> TrainState:
    """A state with a leaf of every type, odd shapes, and NaNs with a payload."""
    rng = np.random.default_rng(0)
    leaves = {
        dtype.name: rng.integers(0, 2 if dtype.name == "bool" else 256, (5, dtype.itemsize))
        .astype(np.uint8)
        .view(dtype)
        for dtype in arrays.CODES
    }
    nans = np.array([0x7FC00001, 0xFF800123, 0x7F800000, 0x80000000], np.uint32).view(np.float32)
    agent = Tower([leaves, np.zeros((0, 4), np.float32)], nans)
    source = {"transposed": np.arange(6, dtype=np.int32).reshape(2, 3).T, "scalar": np.float32(2)}
    return TrainState(agent, source, (), np.array([1, 2**32 - 1], np.uint32))


def bits(tree) -> list:
    return [
        (np.asarray(x).dtype, np.shape(x), np.asarray(x).tobytes()) for x in jax.tree.leaves(tree)
    ]


def contents(folder: Path) -> dict[str, bytes]:
    found = folder.rglob("*")
    return {str(p.relative_to(folder)): p.read_bytes() for p in found if p.is_file()}


def signed(content: dict) -> bytes:
    """A manifest with a valid checksum, whatever it says."""
    text = json.dumps({"checksum": "", **content}, indent=1).encode() + b"\n"
    return signed_text(text)


def signed_text(text: bytes) -> bytes:
    opening = checkpoint.OPENING
    return opening + hashlib.sha256(text).hexdigest().encode() + text[len(opening) :]


def test_every_leaf_comes_back_to_the_last_bit(tmp_path):
    state, info = (
        varied(),
        {"steps": 3, "name": "é\u2028", "scores": [1.5, float("inf")], "x": None},
    )
    path = checkpoint.save(tmp_path, 7, state, info)
    assert path == tmp_path / "0000000007"
    loaded, told = checkpoint.load(path, state)
    assert jax.tree.structure(loaded) == jax.tree.structure(state)
    assert bits(loaded) == bits(state)
    assert told == info
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(loaded))


def test_state_of_jax_arrays_loads_by_shapes_alone(tmp_path):
    state = {"key": jax.random.key(3), "w": jnp.ones((2, 3), jnp.bfloat16)}
    path = checkpoint.save(tmp_path, 1, state, {})
    loaded, _ = checkpoint.load(path, jax.eval_shape(lambda: state))
    assert loaded["w"].dtype == jnp.bfloat16
    assert float(jax.random.uniform(loaded["key"])) == float(jax.random.uniform(state["key"]))


def test_file_is_an_ordinary_safetensors_file_with_readable_names(tmp_path):
    state = {"agent": Tower([small(1), small(2)], np.zeros(2, np.uint8))}
    path = checkpoint.save(tmp_path, 1, state, {})
    found = load_file(path / "state.safetensors")
    assert set(found) == {
        "agent.layers.0.w", "agent.layers.0.n", "agent.layers.1.w", "agent.layers.1.n",
        "agent.scale",
    }  # fmt: skip
    np.testing.assert_array_equal(found["agent.layers.1.w"], small(2)["w"])
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["leaves"]["agent.layers.1.w"] == "float32[3,5]"
    entry = manifest["files"]["state.safetensors"]
    assert entry["sha256"] == files.sha256(path / "state.safetensors")
    assert entry["bytes"] == (path / "state.safetensors").stat().st_size


def test_saving_holds_no_second_copy_of_the_state(tmp_path):
    state = {str(n): np.zeros(2**20, np.float32) for n in range(8)}
    tracemalloc.start()
    path = checkpoint.save(tmp_path, 1, state, {})
    saving = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    checkpoint.verify(path)
    verifying = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert saving < 5e6  # of 33.5e6 bytes
    assert verifying < 10e6


def test_leaves_that_cannot_be_saved_are_refused_before_anything_is_written(tmp_path):
    for state in ({"a": np.array(["x"])}, {"a": np.zeros(2, complex)}, {"a": object()}):
        with pytest.raises(TypeError, match="cannot save"):
            checkpoint.save(tmp_path, 1, state, {})
    with pytest.raises(TypeError, match="names of their own"):
        checkpoint.save(tmp_path, 1, {"a.b": np.zeros(1), "a": {"b": np.zeros(1)}}, {})
    assert not list(tmp_path.iterdir())
    with pytest.raises(TypeError):
        checkpoint.save(tmp_path, 1, small(1), {"x": object()})
    with pytest.raises(ValueError, match="shorten info"):
        checkpoint.save(tmp_path, 1, small(1), {"x": "x" * checkpoint.MANIFEST_LIMIT})
    assert not list(tmp_path.iterdir())


def test_old_checkpoints_go_and_the_last_ones_stay(tmp_path):
    for iteration in (5, 10, 15, 20):
        checkpoint.save(tmp_path, iteration, small(iteration), {}, keep=2)
    assert sorted(os.listdir(tmp_path)) == ["0000000015", "0000000020"]
    checkpoint.save(tmp_path, 12, small(12), {}, keep=1)  # a run that went back leaves newer ones
    assert sorted(os.listdir(tmp_path)) == ["0000000012", "0000000015", "0000000020"]


def test_saving_an_iteration_twice_keeps_the_second(tmp_path):
    checkpoint.save(tmp_path, 5, small(1), {"try": 1})
    path = checkpoint.save(tmp_path, 5, small(2), {"try": 2})
    assert os.listdir(tmp_path) == ["0000000005"]
    loaded, info = checkpoint.load(path, LIKE)
    assert info == {"try": 2} and bits(loaded) == bits(small(2))


def test_a_checkpoint_left_aside_by_a_kill_is_still_found(tmp_path):
    path = checkpoint.save(tmp_path, 5, small(5), {})
    path.rename(tmp_path / "0000000005.replaced")
    found, damaged = checkpoint.latest(tmp_path)
    assert found.name == "0000000005.replaced" and damaged == []
    assert bits(checkpoint.load(found, LIKE)[0]) == bits(small(5))
    checkpoint.save(tmp_path, 5, small(5), {})
    assert os.listdir(tmp_path) == ["0000000005"]


def test_every_flipped_bit_is_detected(tmp_path):
    path = checkpoint.save(tmp_path, 3, varied(), {"steps": 3})
    rng = random.Random(0)
    where = {name: data for name, data in contents(path).items()}
    for _ in range(500):
        name = rng.choice(sorted(where))
        data = bytearray(where[name])
        place = rng.randrange(len(data) * 8)
        data[place // 8] ^= 1 << place % 8
        (path / name).write_bytes(data)
        with pytest.raises(DamagedFileError, match=name.replace(".", r"\.")):
            checkpoint.verify(path)
        (path / name).write_bytes(where[name])
    checkpoint.verify(path)


def damage(rng: random.Random, path: Path, other: Path) -> str:
    """Damages one file of a checkpoint and returns its name."""
    name = rng.choice(["state.safetensors", "manifest.json"])
    file = path / name
    data = file.read_bytes()
    cut = rng.randrange(len(data))
    match rng.randrange(6):
        case 0:
            file.write_bytes(data[:cut])
        case 1:
            file.write_bytes(data[:cut] + bytes(len(data) - cut - 1) + b"\1")
        case 2:
            file.write_bytes(rng.randbytes(len(data)))
        case 3:
            file.unlink()
        case 4:
            file.write_bytes(data + b"\n")
        case 5:  # a file of another checkpoint with leaves of the same shapes
            file.write_bytes((other / name).read_bytes())
    return name


def test_truncated_garbled_missing_and_swapped_files_are_refused_by_name(tmp_path):
    good = checkpoint.save(tmp_path, 3, small(3), {})
    other = checkpoint.save(tmp_path, 4, small(4), {})
    rng, saved = random.Random(1), contents(good)
    for _ in range(200):
        name = damage(rng, good, other)
        with pytest.raises(DamagedFileError) as caught:
            checkpoint.load(good, LIKE)
        message = str(caught.value)
        assert str(good / name) in message or str(good / "state.safetensors") in message
        assert f"{other} is whole" in message and "\n" not in message
        for file, data in saved.items():
            (good / file).write_bytes(data)
    assert bits(checkpoint.load(good, LIKE)[0]) == bits(small(3))


def test_a_checkpoint_under_another_ones_name_is_refused(tmp_path):
    path = checkpoint.save(tmp_path, 3, small(3), {})
    path.rename(tmp_path / "0000000009")
    with pytest.raises(DamagedFileError, match="iteration 3, not that of its folder"):
        checkpoint.verify(tmp_path / "0000000009")
    shutil.copytree(tmp_path / "0000000009", tmp_path / "best")  # any other name is the user's
    assert checkpoint.load(tmp_path / "best", LIKE)[0]["n"] == 3


def test_latest_passes_over_damaged_ones_and_tells_of_them(tmp_path):
    for iteration in (1, 2, 3):
        checkpoint.save(tmp_path, iteration, small(iteration), {})
    (tmp_path / "0000000003" / "manifest.json").unlink()
    (tmp_path / "0000000002" / "state.safetensors").write_bytes(b"")
    path, damaged = checkpoint.latest(tmp_path)
    assert path.name == "0000000001"
    assert ["0000000003" in damaged[0], "0000000002" in damaged[1], len(damaged)] == [True, True, 2]
    shutil.rmtree(path)
    with pytest.raises(DamagedFileError, match=r"0000000003.*0000000002"):
        checkpoint.latest(tmp_path)
    with pytest.raises(DamagedFileError, match="there is none"):
        checkpoint.latest(tmp_path / "absent")


def test_leaves_that_differ_are_listed(tmp_path):
    path = checkpoint.save(tmp_path, 1, {f"a{n}": np.zeros(n) for n in range(8)}, {})
    like = {"a0": np.zeros(0), "a1": np.zeros(1, np.float32), "b": np.zeros(2)}
    with pytest.raises(DamagedFileError) as caught:
        checkpoint.load(path, like)
    message = str(caught.value)
    assert "a1 (expected float32[1], found float64[1])" in message
    assert "a2 (expected none, found float64[2])" in message
    assert "and 3 more" in message and "a6" not in message and "a0" not in message


def test_a_newer_format_asks_for_an_upgrade(tmp_path):
    path = checkpoint.save(tmp_path, 1, small(1), {})
    (path / "manifest.json").write_bytes(signed({"format": 2, "arrays": []}))
    with pytest.raises(DamagedFileError, match="upgrade with `git pull`"):
        checkpoint.load(path, LIKE)


def valid() -> dict:
    entry = {"bytes": 8 + 8 + 0, "sha256": "0" * 64}
    return {
        "format": 1,
        "iteration": 1,
        "info": {},
        "files": {checkpoint.STATE: entry},
        "leaves": {},
    }


HOSTILE = {
    "no object": signed_text(b'{\n "checksum": ""[]'),
    "nesting": signed_text(
        b'{\n "checksum": "", "format": ' + b"[" * 10**5 + b"]" * 10**5 + b"}\n"
    ),
    "nested info": signed_text(b'{\n "checksum": "", "info": ' + b'{"a":' * 10**5 + b"\n"),
    "huge number": signed_text(b'{\n "checksum": "", "format": ' + b"9" * 10**6 + b"}\n"),
    "other file": signed(valid() | {"files": {"../../state": {"bytes": 1, "sha256": ""}}}),
    "leaves as a list": signed(valid() | {"leaves": ["w"]}),
    "leaf of numbers": signed(valid() | {"leaves": {"w": 3}}),
    "huge leaf": signed(valid() | {"leaves": {"w": f"float32[{10**17}]"}}),
    "huge rank": signed(valid() | {"leaves": {"w": f"float32[{','.join(['9'] * 10**5)}]"}}),
    "negative leaf": signed(valid() | {"leaves": {"w": "float32[-1]"}}),
    "object leaf": signed(valid() | {"leaves": {"w": "object[1]"}}),
    "iteration of text": signed(valid() | {"iteration": "1"}),
    "digest of numbers": signed(valid() | {"files": {checkpoint.STATE: {"bytes": 1, "sha256": 1}}}),
    "lists": signed_text(b'{\n "checksum": "", "format": [' + b"[]," * 300_000 + b"0]}\n"),
    "pickle": b"\x80\x04\x95cos\nsystem\n",
    "zip": b"PK\x03\x04" + bytes(1000),
    "empty": b"",
    "too large": b" " * (2**24 + 1),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_manifest_is_refused_fast_and_in_little_memory(tmp_path, name):
    path = checkpoint.save(tmp_path, 1, small(1), {})
    (path / "manifest.json").write_bytes(HOSTILE[name])
    begun = time.process_time()
    tracemalloc.start()
    with pytest.raises(DamagedFileError, match=r"manifest\.json"):
        checkpoint.verify(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - begun < 20  # a machine may be busy; a quadratic parser takes hours
    assert peak < 1e8


def test_a_header_of_2_to_the_40_bytes_is_refused(tmp_path):
    path = checkpoint.save(tmp_path, 1, small(1), {})
    file = path / "state.safetensors"
    file.write_bytes((2**40).to_bytes(8, "little") + file.read_bytes()[8:])
    with pytest.raises(DamagedFileError, match="expected the head"):
        checkpoint.load(path, LIKE)
    with open(file, "r+b") as writer:
        writer.truncate(2**40)  # sparse
    with pytest.raises(DamagedFileError, match=f"found {2**40}"):
        checkpoint.load(path, LIKE)


def test_links_and_pipes_are_refused(tmp_path):
    path = checkpoint.save(tmp_path / "a", 1, small(1), {})
    away = tmp_path / "away"
    shutil.copytree(path, away)
    for name in ("manifest.json", "state.safetensors"):
        (path / name).unlink()
        (path / name).symlink_to(away / name)
        with pytest.raises(DamagedFileError, match="link or a device"):
            checkpoint.verify(path)
        (path / name).unlink()
        os.mkfifo(path / name)
        with pytest.raises(DamagedFileError, match="link or a device"):
            checkpoint.verify(path)
        (path / name).unlink()
        shutil.copy(away / name, path / name)
    checkpoint.verify(path)
    shutil.rmtree(path)
    path.symlink_to(away)
    with pytest.raises(DamagedFileError, match="link or a device"):
        checkpoint.verify(path)
    checkpoint.save(tmp_path / "a", 1, small(2), {})  # replaces the link, not what it points at
    assert bits(checkpoint.load(away, LIKE)[0]) == bits(small(1))


class Faults:
    """Counts the calls that touch the disk, and lets one of them fail."""

    def __init__(self, monkeypatch):
        self.calls, self.failing = 0, -1
        for place, name in [
            (os, "fsync"), (os, "rename"), (os, "replace"), (os, "mkdir"), (os, "open"),
            (shutil, "rmtree"),
        ]:  # fmt: skip
            monkeypatch.setattr(place, name, self.guarded(getattr(place, name)))
        for module in (arrays, files):
            monkeypatch.setattr(module, "open", self.opened, raising=False)

    def count(self):
        self.calls += 1
        if self.calls - 1 == self.failing:
            raise OSError(errno.ENOSPC, "No space left on device")

    def guarded(self, call):
        def wrapped(*args, **kwargs):
            self.count()
            return call(*args, **kwargs)

        return wrapped

    def opened(self, *args):
        self.count()
        file = open(*args, buffering=0)  # noqa: SIM115
        faults = self

        class Full:
            def __enter__(self):
                return self

            def __exit__(self, *error):
                file.close()

            def write(self, data):
                file.write(bytes(data)[: len(data) // 2])
                faults.count()
                file.write(bytes(data)[len(data) // 2 :])

            flush, fileno = file.flush, file.fileno

        return Full()


@pytest.mark.parametrize("again", [False, True])
def test_each_call_that_fails_once_leaves_the_last_good_one_and_no_litter(
    tmp_path, monkeypatch, again
):
    faults = Faults(monkeypatch)
    saved = 0
    for failing in range(100):
        folder = tmp_path / str(failing)
        checkpoint.save(folder, 1, small(1), {}, keep=1)
        faults.calls, faults.failing = 0, failing
        iteration = 1 if again else 2
        try:
            checkpoint.save(folder, iteration, small(2), {}, keep=1)
            saved += 1
        except OSError as error:
            assert error.errno == errno.ENOSPC and str(folder) in str(error.filename)
        calls, faults.failing = faults.calls, -1
        path, damaged = checkpoint.latest(folder)
        assert damaged == []
        last = bits(checkpoint.load(path, LIKE)[0])
        assert last in (bits(small(1)), bits(small(2)))
        checkpoint.save(folder, 3, small(3), {}, keep=1)
        assert os.listdir(folder) == ["0000000003"]
        if calls <= failing:  # nothing failed: every call had its turn
            break
    assert failing > 10 and saved >= 1


KILLER = """
    import json, os, random, signal, sys, time
    import numpy as np
    from pathlib import Path
    from spinward.store import checkpoint

    def state(iteration):
        w = np.random.default_rng(iteration).normal(size=40_000)
        return {"n": np.int64(iteration), "w": w}

    folder, rng, found = Path(sys.argv[1]), random.Random(0), []
    checkpoint.save(folder, 0, state(0), {}, keep=2)
    for _ in range(10):
        done = checkpoint.number(checkpoint.latest(folder)[0])
        child = os.fork()
        if child == 0:
            while True:
                done += 1
                checkpoint.save(folder, done, state(done), {"done": done}, keep=2)
        time.sleep(rng.uniform(0.02, 0.25))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        litter = [name for name in os.listdir(folder) if name.endswith(".tmp")]
        path, damaged = checkpoint.latest(folder)
        n = checkpoint.number(path)
        loaded, info = checkpoint.load(path, state(0))
        equal = all(np.array_equal(loaded[k], state(n)[k]) for k in loaded)
        found.append([n, equal and info.get("done", 0) == n, damaged, len(litter)])
    checkpoint.save(folder, n + 1, state(n + 1), {}, keep=2)
    print(json.dumps([found, os.listdir(folder)]))
"""


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    script = textwrap.dedent(KILLER)
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    found, left = json.loads(ran.stdout)
    assert len(found) == 10
    assert all(equal and damaged == [] for _, equal, damaged, _ in found)
    numbers = [n for n, *_ in found]
    assert numbers == sorted(numbers) and numbers[-1] > 0
    assert len(left) == 2 and not any(name.endswith(".tmp") for name in left)


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "config.json"
    files.write_atomically(file, b"one")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match=r"config\.json") as caught:
        files.write_atomically(file, b"two")
    assert caught.value.errno == 28
    monkeypatch.undo()
    assert file.read_bytes() == b"one" and os.listdir(tmp_path) == ["config.json"]
    assert files.sha256(file) == hashlib.sha256(b"one").hexdigest()
    with pytest.raises(FileNotFoundError, match="absent"):
        files.write_atomically(tmp_path / "absent" / "x", b"")


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, living = f".a.{ended.pid}.0.tmp", f".b.{os.getppid()}.0.tmp"
    (tmp_path / dead).mkdir()
    (tmp_path / dead / "state").write_bytes(b"x")
    for name in (living, ".mine.tmp", "notes.tmp", f".c.{os.getpid()}.99999.tmp"):
        (tmp_path / name).write_bytes(b"x")
    with files.temporary(tmp_path / "d") as name:
        name.write_bytes(b"x")
        files.remove_leftovers(tmp_path)
        assert sorted(os.listdir(tmp_path)) == sorted([living, ".mine.tmp", "notes.tmp", name.name])
    assert sorted(os.listdir(tmp_path)) == sorted([living, ".mine.tmp", "notes.tmp"])
