"""Damage to a run is told: to its checkpoints, its settings and its log."""

import hashlib
import json
import random
import shutil

import pytest
from twin import ALGORITHMS, tiny

from spinward.cli import main
from spinward.errors import DamagedFileError
from spinward.run.experiment import Experiment
from spinward.run.run import create, load
from spinward.store import checkpoint, integrity

SHARD = "shards/0"
LOG, CONFIG = f"{SHARD}/metrics.jsonl", "config.json"
READERS = ("plot", "report", "evaluate", "data")  # of a run
LEARNERS = (*READERS, "resume")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run with three checkpoints."""
    algorithm = tiny(ALGORITHMS["ppo"])
    steps = 40 * algorithm.envs * algorithm.rollout
    experiment = Experiment(algorithm, "CartPole-v1", steps, seeds=2, logs=20, shards=1)
    run = create(experiment, tmp_path_factory.mktemp("runs"), "run")
    return run.train(checkpoint_s=0.0, trust=True).path


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def words(command, run, *more):
    out = str(run.parent / f"{command}.npz")
    first = ["data", "record", str(run), "--out", out, "--steps", "8"]
    few = ["evaluate", str(run), "--episodes", "1"]
    return [*{"data": first, "evaluate": few}.get(command, [command, str(run)]), *more]


def newest(run):
    return checkpoint.checkpoints(run / SHARD / "checkpoints")[0]


def flipped(content, place):
    content = bytearray(content)
    content[place // 8] ^= 1 << place % 8
    return bytes(content)


@pytest.mark.parametrize(
    ("command", "name"),
    [(c, checkpoint.MANIFEST) for c in LEARNERS]
    + [(c, checkpoint.STATE) for c in ("evaluate", "data", "resume")],  # which read it
)
def test_an_older_checkpoint_is_used_only_when_asked_and_loudly(command, name, run, capsys):
    file = newest(run) / name
    file.write_bytes(flipped(file.read_bytes(), 8000))
    assert main.main(words(command, run)) == 4
    said = capsys.readouterr().err
    assert str(file) in said and "--older" in said and "unexpected" not in said
    assert main.main(words(command, run, "--older")) == 0
    said = capsys.readouterr().err
    assert f"warning: {file}" in said and "older" in said
    if command == "resume":  # which has learned what was lost anew
        assert main.main(words("evaluate", run)) == 0


def test_a_run_resumed_from_an_older_checkpoint_ends_in_the_same_bytes(run, whole):
    file = newest(run) / checkpoint.STATE
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DamagedFileError, match="--older"):
        load(run).train()
    load(run, older=True).train()
    for name in (LOG, file.relative_to(run)):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    assert load(run).evaluate(1).to_json() == load(whole).evaluate(1).to_json()


@pytest.mark.slow
def test_runs_of_processes_pass_the_wish_on(tmp_path, capsys):
    algorithm = tiny(ALGORITHMS["ppo"])
    steps = 20 * algorithm.envs * algorithm.rollout
    experiment = Experiment(algorithm, "CartPole-v1", steps, seeds=2, shards=2)
    run = create(experiment, tmp_path, "run").train(checkpoint_s=0.0, trust=True).path
    file = checkpoint.checkpoints(run / "shards/1/checkpoints")[0] / checkpoint.STATE
    file.write_bytes(file.read_bytes()[:-1])
    assert main.main(["resume", str(run)]) == 4
    assert str(file) in capsys.readouterr().err
    assert main.main(["resume", str(run), "--older"]) == 0
    assert f"warning: {file}" in capsys.readouterr().err
    checkpoint.verify(file.parent)
    shutil.rmtree(run / "shards/1")
    for command in READERS:
        assert main.main(words(command, run)) == 4
        assert "unexpected" not in capsys.readouterr().err


@pytest.mark.parametrize("name", [LOG, CONFIG])
def test_every_flipped_bit_of_the_log_and_of_the_settings_is_told(name, run):
    rng, file = random.Random(0), run / name
    content = file.read_bytes()
    for _ in range(200):
        file.write_bytes(flipped(content, rng.randrange(8 * len(content))))
        with pytest.raises(DamagedFileError, match=file.name):
            load(run).points  # noqa: B018
    file.write_bytes(content)
    assert len(load(run).points) == 20


@pytest.mark.parametrize("how", ["cut", "changed", "gone", "emptied"])
@pytest.mark.parametrize("command", ["resume", "plot", "report"])
def test_a_log_that_was_cut_or_changed_is_told(command, how, run, capsys):
    file = run / LOG
    lines = file.read_bytes().splitlines(keepends=True)
    changed = lines[3].replace(b"1", b"2", 1)
    text = {"cut": lines[:-1], "changed": [*lines[:3], changed, *lines[4:]], "emptied": []}
    file.unlink()
    if how in text:
        file.write_bytes(b"".join(text[how]))
    before = file.read_bytes() if how in text else None
    assert main.main(words(command, run)) == 4
    assert str(file) in capsys.readouterr().err
    assert (file.read_bytes() if file.exists() else None) == before  # for whoever looks into it
    assert main.main(["runs", "--out", str(run.parent), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert str(file) in row["error"]


@pytest.mark.parametrize("place", ["algorithm", "reward", "env"])
def test_a_damaged_name_is_no_code_to_be_trusted(place, run, capsys):
    """One flipped bit of a name of ours makes a name of somebody else."""
    file = run / CONFIG
    before, after = {"env": (b'"CartPole-v1"', b'"CartPole:v1"')}.get(
        place, (b"spinward.%ss" % place.encode(), b"stinward.%ss" % place.encode())
    )
    assert before in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(before, after))
    for command in ("evaluate", "resume", "plot"):
        assert main.main(words(command, run)) == 4
        said = capsys.readouterr().err
        assert str(file) in said and "undo the change" in said


@pytest.mark.parametrize("command", LEARNERS)
def test_settings_that_were_changed_are_told(command, run, capsys):
    file = run / CONFIG
    content = json.loads(file.read_text())
    content["algorithm"]["fields"]["gamma"] = 0.5
    file.write_text(json.dumps(content, indent=1) + "\n")
    assert main.main(words(command, run)) == 4
    said = capsys.readouterr().err
    assert str(file) in said and "undo the change" in said


def test_what_follows_the_last_checkpoint_is_read_and_checked(run, capsys):
    file = run / LOG
    whole = file.read_bytes()
    last = json.loads(whole.splitlines()[-1])
    file.write_bytes(whole + json.dumps(last).encode()[:-30])  # what a killed process leaves
    assert len(load(run).points) == 20
    bad = (b"\xff\n", b"[1]\n", b"{}\n", b"\n", b'{"iteration": 1}\n', b"[" * 10**5 + b"\n")
    bad += tuple(
        json.dumps({**last, **more}).encode() + b"\n"
        for more in ({"env_steps": "1"}, {"iteration": True}, {"loss": ["x"]}, {"loss": {"a": 1}})
    )
    for text in bad:
        file.write_bytes(whole + text)
        with pytest.raises(DamagedFileError, match="line 21 is no log point"):
            load(run).points  # noqa: B018
    file.write_bytes(whole + json.dumps({**last, "loss": [1.0]}).encode() + b"\n")
    with pytest.raises(DamagedFileError, match="has not 2 seeds"):
        load(run).points  # noqa: B018
    assert main.main(words("resume", run)) == 0
    assert file.read_bytes() == whole


def rewritten(run, change):
    """Lets the newest checkpoint say something else of its run."""
    path = newest(run)
    manifest = checkpoint.read_manifest(path)
    text = checkpoint.manifest_text(manifest._replace(info=change(manifest.info)))
    (path / checkpoint.MANIFEST).write_bytes(text)


def test_a_run_without_digests_opens_and_gets_them(run):
    """As the first versions wrote it, with fewer settings than there are."""
    content = json.loads((run / CONFIG).read_text())
    for name in ("workers", "first_come", "model"):
        del content[name]
    del content["algorithm"]["fields"]["recompute"]
    (run / CONFIG).write_text(json.dumps(content, indent=1) + "\n")
    content.pop("versions", None)
    of_shard = json.dumps(content | {"seed": 0, "seeds": 2, "shards": 1}, indent=1) + "\n"
    digest = hashlib.sha256(of_shard.encode()).hexdigest()

    def change(info):
        names = ("env_steps", "log_bytes")
        return {name: info[name] for name in names} | {"config_sha256": digest}

    rewritten(run, change)
    assert len(load(run).points) == 20
    for command in LEARNERS:
        assert main.main(words(command, run)) == 0
    text = (run / CONFIG).read_text()
    (run / CONFIG).write_text(text.replace('"seed": 0', '"seed": 1'))
    assert main.main(words("resume", run)) == 4
    (run / CONFIG).write_text(text)
    (run / LOG).write_bytes((run / LOG).read_bytes()[:-1])
    assert main.main(words("plot", run)) == 4


@pytest.mark.parametrize(
    "info",
    [{}, {"log_bytes": -1}, {"log_bytes": "1"}, {"log_bytes": 1}, {"config_sha256": 3}],
)
def test_a_checkpoint_that_says_nothing_of_its_run_is_damaged(info, run, capsys):
    rewritten(run, lambda _: info)
    for command in LEARNERS:
        assert main.main(words(command, run)) == 4
        assert str(newest(run)) in capsys.readouterr().err


def test_a_log_with_another_name_outside_keeps_what_it_has(run, tmp_path):
    log, other = run / LOG, tmp_path / "other"
    text = log.read_bytes()
    log.write_bytes(text + b"more\n")
    other.hardlink_to(log)
    assert main.main(words("resume", run)) == 0
    assert other.read_bytes() == text + b"more\n" and log.read_bytes() == text


def test_the_digest_of_a_log_is_that_of_its_bytes(whole):
    info = checkpoint.read_manifest(newest(whole)).info
    told = integrity.vouched(newest(whole), info)
    text = (whole / LOG).read_bytes()
    assert told.size == len(text) and told.digest == hashlib.sha256(text).hexdigest()
    assert told.config == hashlib.sha256((whole / CONFIG).read_bytes()).hexdigest()
