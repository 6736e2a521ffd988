"""Ctrl-C and SIGTERM at any time: exit code 130, one true sentence, and nothing half written."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from twin import ALGORITHMS, tiny

from spinward import interrupts
from spinward.errors import DiskError, Stopped
from spinward.run import shards
from spinward.run.experiment import Experiment
from spinward.run.new_folder import new_folder
from spinward.run.run import create
from spinward.run.shards import supervise
from spinward.run.stopping import stopping
from spinward.run.watching import Options
from spinward.store import checkpoint, files

HANDLED = "import os, signal; from spinward import interrupts; interrupts.install()"
SIGNALS = ("SIGINT", "SIGTERM")


def python(code, *words):
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    return done.returncode, done.stderr


def experiment(**more):
    algorithm = tiny(ALGORITHMS["ppo"])
    steps = 20 * algorithm.envs * algorithm.rollout
    return Experiment(algorithm, "CartPole-v1", steps, **{"shards": 1, "logs": 10, **more})


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_outside_of_training_ends_the_process_with_a_sentence(name):
    send = f"os.kill(os.getpid(), signal.{name})"
    in_finaliser = f"class A:\n def __del__(self): {send}\nA()"  # where an exception would be lost
    for code in (send, in_finaliser):
        told = python(f"{HANDLED}\n{code}")
        assert told == (130, "spinward: stopped at once; no file is left in part\n")


# What holds the main thread as a compilation does: C code of many seconds, without Python's lock.
HELD = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'x', b'y', {}); print('went on', flush=True)"


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("saved", [None, True, False], ids=["outside", "saved", "unsaved"])
def test_a_signal_is_answered_while_c_code_holds_the_process(name, saved):
    """It is not where a run has steps to save."""
    ends = saved is not False
    begun = f"import threading, time; {HANDLED}"
    if saved is not None:
        begun += "; from spinward.run.stopping import stopping; holder = stopping()"
        begun += f"; asked = holder.__enter__(); interrupts.all_saved({saved})"
    send = f"lambda: os.kill(os.getpid(), signal.{name})"
    held = HELD.format(10**9 if ends else 3 * 10**6)
    code = f"{begun}; threading.Timer(0.1, {send}).start(); {held}"
    code += "" if ends else "; print(asked, flush=True)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    if ends:
        assert (done.returncode, done.stdout) == (130, "")
        assert done.stderr == "spinward: stopped at once; no file is left in part\n"
    else:
        number = int(getattr(signal, name))
        assert (done.returncode, done.stdout) == (0, f"went on\n[{number}]\n")


def test_a_signal_that_others_handle_ends_nothing():
    """As for a server, or where a library put its handler in the place of ours."""
    send = "threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()"
    other = "signal.signal(signal.SIGTERM, lambda *_: None)"
    told = python(f"import threading; {HANDLED}\n{other}\n{send}\n{HELD.format(3 * 10**6)}")
    assert told == (0, "")


def test_a_signal_while_a_module_is_half_imported_is_told_too(tmp_path):
    (tmp_path / "config.json").touch()
    (tmp_path / "shards" / "0" / "checkpoints" / "0000000001").mkdir(parents=True)
    (tmp_path / "shards" / "0" / "checkpoints" / "0000000001" / "manifest.json").touch()
    half = "import sys, types; sys.modules |= {n: types.ModuleType(n) for n in ('shutil', 'json')}"
    send = "os.kill(os.getpid(), signal.SIGINT)"
    begun = "interrupts.unfinished.add('x'); interrupts.set_run(sys.argv[1])"
    told = python(f"{HANDLED}\n{half}\n{begun}\n{send}", str(tmp_path))
    resume = f"spinward resume {tmp_path}"
    sentence = f"stopped at once; go on from what is saved with: {resume}"
    assert told == (130, f"spinward: {sentence}\n")


def test_what_was_being_written_is_removed_and_a_second_signal_changes_nothing(tmp_path):
    code = f"""{HANDLED}
from pathlib import Path
from spinward.store import files
with files.temporary(Path({str(tmp_path / "x")!r})) as name:
    name.mkdir()
    (name / "part").write_text("half")
    signal.pthread_sigmask(signal.SIG_BLOCK, interrupts.SIGNALS)
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, interrupts.SIGNALS)
"""
    assert python(code)[0] == 130
    assert list(tmp_path.iterdir()) == []


def handles(process, number):
    """Whether a process has taken a signal over."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) >> (number - 1) & 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs the files of Linux")
@pytest.mark.parametrize("delay_s", [0.0, 0.5])
def test_a_command_that_is_stopped_while_it_starts_leaves_nothing(delay_s, tmp_path):
    words = ["train", "ppo", "CartPole-v1", "--out", "runs", "--name", "x"]
    process = subprocess.Popen(
        [sys.executable, "-m", "spinward", *words], stderr=subprocess.PIPE, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    while not handles(process, signal.SIGTERM):  # before this, it is Python's own start
        time.sleep(0.001)
    time.sleep(delay_s)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.decode() == "spinward: stopped at once; no file is left in part\n"
    assert list(tmp_path.iterdir()) == []


def test_a_shard_that_is_stopped_while_it_starts_tells_its_parent(tmp_path, monkeypatch):
    run = create(experiment(seeds=2, shards=2), tmp_path, "run")

    @shards.contextlib.contextmanager
    def asked():
        yield [signal.SIGTERM]  # before any process has begun

    monkeypatch.setattr(shards, "stopping", asked)
    for i in range(2):
        (run.path / "shards" / str(i)).mkdir(parents=True)
    with pytest.raises(Stopped, match=r"stopped; no step is saved yet; begin anew with: spinward"):
        supervise(run.made, run.path, Options(), True)
    for i in range(2):
        failure = json.loads((run.path / f"shards/{i}/stderr").read_text())
        assert failure["kind"] == "Stopped" and "no step is saved yet" in failure["message"]


def test_what_is_saved_is_read_from_the_disk(tmp_path):
    assert interrupts.saved(tmp_path / "none") == "the run was not begun, and nothing is written"
    run = create(experiment(seeds=2), tmp_path, "run")
    shards = [run.path / "shards" / str(i) for i in range(2)]
    shards[0].mkdir(parents=True)
    assert interrupts.saved(run.path).startswith("no step is saved yet; begin anew")
    for iteration in (4, 10):
        info = {"env_steps": 100 * iteration}
        checkpoint.save(shards[0] / "checkpoints", iteration, {"x": np.zeros(3)}, info)
    expected = "1,000 steps of each seed are saved; continue with: spinward resume "
    assert interrupts.saved(run.path) == expected + str(run.path)
    shards[1].mkdir()  # which has saved nothing
    assert interrupts.saved(run.path).startswith("0 steps of each seed are saved")


def test_a_second_signal_does_what_the_process_did_before():
    got = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    try:
        with stopping() as asked:
            signal.raise_signal(signal.SIGTERM)
            assert asked == [signal.SIGTERM] and not got
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert got == [signal.SIGTERM]


def test_processes_that_are_started_get_no_signal_before_they_ask_for_it():
    code = "import os, time; print('up', flush=True); time.sleep(0.2); " + HANDLED
    with interrupts.held_back():
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    process.stdout.read(2)
    process.send_signal(signal.SIGTERM)
    assert b"stopped at once" in process.communicate(timeout=60)[1]
    assert process.returncode == 130


def test_a_new_folder_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    out = tmp_path / "a/b"
    replaced = files.os.replace

    def full(*paths):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/a'"):
        new_folder(experiment(), out, "run", False)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(files.os, "replace", replaced)
    folder = new_folder(experiment(), out, "", False)
    other = new_folder(experiment(), out, "", False)
    assert folder == out / "ppo-CartPole-v1-1" and other.name.endswith("-2")
    assert [p.name for p in folder.iterdir()] == ["config.json"]
    assert sorted(p.name for p in out.iterdir()) == [folder.name, other.name]


def test_a_folder_that_another_process_makes_meanwhile_is_kept(tmp_path, monkeypatch):
    renamed, made = os.rename, []

    def rename(before, after):
        if not made:
            made.append(after)
            (tmp_path / "a/other").mkdir(parents=True)
        renamed(before, after)

    monkeypatch.setattr(files.os, "rename", rename)
    files.new_folder(tmp_path / "a/run", {"config.json": b"{}"})
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["other", "run"]
    with pytest.raises(FileExistsError):
        files.new_folder(tmp_path / "a/run", {"config.json": b"{}"})


@pytest.fixture
def small_files():
    """Files of at most so many bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_without_room_is_told_with_what_is_saved(tmp_path, small_files):
    run = create(experiment(), tmp_path, "run")
    small_files(200)  # less than a checkpoint
    with pytest.raises(DiskError, match=r"cannot write .*: File too large; no step is saved yet"):
        run.train(trust=True)
    assert not [*run.path.rglob("*.tmp"), *run.path.rglob("saved")]


@pytest.mark.slow
def test_a_run_without_room_goes_on_to_the_same_bytes_when_there_is_some(tmp_path, small_files):
    whole = create(experiment(), tmp_path, "whole").train(trust=True)
    run = create(experiment(), tmp_path, "run")

    def fill(point):
        if point.iteration == 10:
            small_files(200)

    with pytest.raises(DiskError, match=r"File too large; \d+ steps of each seed are saved"):
        run.train(fill, checkpoint_s=0.0, trust=True)
    small_files(resource.RLIM_INFINITY)
    run.train(trust=True)
    name = "shards/0/metrics.jsonl"
    assert (run.path / name).read_bytes() == (whole.path / name).read_bytes()
    newest = [checkpoint.checkpoints(r.path / "shards/0/checkpoints")[0] for r in (run, whole)]
    assert len({(p / checkpoint.STATE).read_bytes() for p in newest}) == 1
    assert not [*run.path.rglob("*.tmp")]
