"""A run's config.json may come from anybody: each value is checked, or the file is refused."""

import copy
import dataclasses
import json
import os
import time
import tracemalloc

import pytest
from twin import tiny

from spinward.algorithms.ppo import PPO
from spinward.cli import main
from spinward.errors import DamagedFileError, SettingsError
from spinward.networks.towers import Separate
from spinward.rewards.verifier import Verifier
from spinward.run import config
from spinward.run.experiment import DataChoice, Experiment

EXPERIMENT = Experiment(tiny(PPO, network=Separate.init), "CartPole-v1", 64, seeds=2)
TEXT = EXPERIMENT.to_json()
CONTENT = json.loads(TEXT)
WRONG = (None, True, -1, 2**63, 10**19, 1.5, "x", "", [], [1], {}, {"a": 1}, {"class": "x"})


def changed(*path, **fields):
    """The text of a config with some fields set at a place."""
    content = copy.deepcopy(CONTENT)
    place = content
    for name in path:
        place = place[name]
    place.update(fields)
    return json.dumps(content)


def deep(count, inner="0"):
    return '{"a":' * count + inner + "}" * count


MALFORMED = {
    "empty": "",
    "cut": TEXT[:-40],
    "half": TEXT[: len(TEXT) // 2],
    "not text": b"\xff\xfe\x00" * 40,
    "pickle": b"\x80\x04\x95cos\nsystem\n",
    "list": "[1]",
    "number": "3",
    "null": "null",
    "nothing": "{}",
    "format alone": '{"format": 1}',
    "no format": json.dumps({k: v for k, v in CONTENT.items() if k != "format"}),
    "format of text": changed(format="1"),
    "format true": changed(format=True),
    "format zero": changed(format=0),
    "format one and a half": changed(format=1.5),
    "nested lists": '{"format": 1, "env": ' + "[" * 10**5 + "]" * 10**5 + "}",
    "nested objects": deep(10**5),
    "nested a little": changed("algorithm", "fields", hidden=json.loads(deep(40))),
    "nested without an end": "[" * 10**5,
    "twice": TEXT.replace('"seeds": 2', '"seeds": 2, "seeds": 3'),
    "twice in a class": TEXT.replace('"gamma"', '"lr": 0.1, "gamma"'),
    "NaN": TEXT.replace('"seeds": 2', '"seeds": NaN'),
    "NaN in a class": changed("algorithm", "fields", lr=float("nan")),
    "an infinite length": changed(steps=float("inf")),
    "huge number": TEXT.replace('"seeds": 2', '"seeds": ' + "9" * 10**5),
    "huge float": TEXT.replace('"seeds": 2', '"seeds": 1e999'),
    "huge layer": changed("algorithm", "fields", hidden=[2**40]),
    "many layers": changed("algorithm", "fields", hidden=[1] * 10**4),
    "huge file": TEXT[:-2] + " " * 2**21 + "}",
    "long text": changed(env="x" * 10**5),
    "many settings": changed(**{f"x{i}": 0 for i in range(10**4)}),
    "newline in a name": changed(env="CartPole\n-v1"),
    "escape in a name": changed(env="\x1b[2J"),
    "nothing in a name": changed(data="a\0b"),
    "half a character": changed(env="\ud800"),
    "unknown setting": changed(colour="red"),
    "unknown setting of a class": changed("algorithm", "fields", colour="red"),
    "versions of numbers": changed(versions={"jax": 1}),
    "versions of a list": changed(versions=["jax"]),
    "algorithm is a reward": changed(algorithm=CONTENT["reward"]),
    "reward is an algorithm": changed(reward=CONTENT["algorithm"]),
    "algorithm is a function": changed(algorithm=CONTENT["algorithm"]["fields"]["network"]),
    "fields of a list": changed("algorithm", fields=[]),
    "class of a number": changed("algorithm", **{"class": 1}),
    "class and more": changed("algorithm", x=1),
    "network is a class": changed("algorithm", "fields", network=CONTENT["reward"]),
    "network is a text": changed("algorithm", "fields", network="Separate"),
    "network is nothing": changed("algorithm", "fields", network=None),
    "function of a list": changed("algorithm", "fields", network={"function": []}),
    "keywords of a list": changed(
        "algorithm", "fields",
        network={"function": "spinward.networks.towers:Separate.init", "keywords": [1]},
    ),
    "settings of an environment as a list": changed(env={"name": "CartPole-v1", "settings": [1]}),
    "settings of an environment in depth": changed(env={"name": "x", "settings": {"a": {"b": 1}}}),
    "environment of a number": changed(env={"name": 1}),
    "data of a number": changed(data={"path": "x", "share": "much"}),
    "data beyond all": changed(data={"path": "x", "share": 2.0}),
    "text for a number": changed("algorithm", "fields", lr="0.1"),
    "true for a number": changed("algorithm", "fields", epochs=True),
}  # fmt: skip
for field in dataclasses.fields(Experiment):
    for i, value in enumerate(WRONG):
        MALFORMED[f"{field.name} as {i}"] = changed(**{field.name: value})
GOOD = {("data", "x"), ("data", ""), ("model", "x"), ("model", ""), ("env", "x")}
GOOD |= {("log_data", True), ("first_come", True), ("keep_best", True), ("evaluate_env", "x")}
GOOD |= {(name, value) for name in ("start_from", "start_checkpoint") for value in ("x", "")}
GOOD |= {("evaluate_env", ""), ("stop_at", None), ("stop_at", -1), ("stop_at", 1.5)}
EMPTY = ("start_parts as 8", "freeze as 8", "inputs as 10")  # which may be
MALFORMED = {k: v for k, v in MALFORMED.items() if k not in EMPTY}
for name, value in GOOD:
    MALFORMED.pop(f"{name} as {WRONG.index(value)}", None)


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_config_is_refused_by_name_fast_and_in_little_memory(name, tmp_path, capsys):
    text, path = MALFORMED[name], tmp_path / "config.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    begun = time.process_time()
    tracemalloc.start()
    code = main.main(["report", str(tmp_path)])
    code = code or main.main(["resume", str(tmp_path)])  # reads the classes, too
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    said = capsys.readouterr().err
    assert code == 4 and str(path) in said and said.count("\n") <= 2, said
    assert len(said) < 1500 and "unexpected" not in said
    assert time.process_time() - begun < 10 and peak < 1e8


def test_what_is_no_file_is_refused(tmp_path, capsys):
    path = tmp_path / "config.json"
    assert main.main(["report", str(tmp_path)]) == 2  # no run at all
    (tmp_path / "shards").mkdir()
    assert main.main(["report", str(tmp_path)]) == 4
    assert "config.json is missing" in capsys.readouterr().err
    os.mkfifo(path)
    assert main.main(["report", str(tmp_path)]) == 4
    path.unlink()
    path.mkdir()
    assert main.main(["report", str(tmp_path)]) == 4
    path.rmdir()
    (tmp_path / "elsewhere.json").write_text(TEXT)
    path.symlink_to(tmp_path / "elsewhere.json")
    assert main.main(["report", str(tmp_path)]) == 4
    assert str(path) in capsys.readouterr().err


def test_a_config_comes_back_as_it_was(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(TEXT)
    assert config.from_config(config.read_config(path)) == EXPERIMENT


@pytest.mark.parametrize("data", [DataChoice("a", held_out=0.0), DataChoice("a", skip=True)])
def test_a_function_of_texts_and_how_they_are_read_come_back_as_they_were(tmp_path, data):
    path = tmp_path / "config.json"
    reward = Verifier("module:function")  # a field of a class, whose name is that of a kind
    experiment = dataclasses.replace(EXPERIMENT, data=data, reward=reward)
    path.write_text(experiment.to_json())
    assert config.from_config(config.read_config(path)) == experiment


def test_settings_that_older_runs_lack_have_their_defaults(tmp_path):
    path = tmp_path / "config.json"
    content = {name: CONTENT[name] for name in ("format", "algorithm", "env", "steps")}
    del content["algorithm"]["fields"]["lam"]
    path.write_text(json.dumps(content))
    expected = dataclasses.replace(EXPERIMENT, seeds=1)
    assert config.from_config(config.read_config(path)) == expected
    for name in ("algorithm", "env", "steps"):
        path.write_text(json.dumps({k: v for k, v in content.items() if k != name}))
        with pytest.raises(DamagedFileError, match=f"found no {name}"):
            config.read_config(path)


def test_a_run_of_a_newer_version_asks_for_an_upgrade(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(changed(format=99, novelty=[{"class": 3}]))
    with pytest.raises(SettingsError, match="upgrade"):
        config.read_config(path)


def test_code_of_its_own_runs_only_when_trusted(tmp_path):
    path = tmp_path / "config.json"
    for more in ({"env": "twin:Stamp"}, {"reward": {"class": "twin:Reward", "fields": {}}}):
        path.write_text(changed(**more))
        with pytest.raises(SettingsError, match="--trust"):
            config.from_config(config.read_config(path))


def test_malformed_runs_hide_no_other(tmp_path, capsys):
    for i, text in enumerate(MALFORMED.values()):
        (tmp_path / f"bad-{i}").mkdir()
        (tmp_path / f"bad-{i}/config.json").write_bytes(
            text if isinstance(text, bytes) else text.encode()
        )
    (tmp_path / "good").mkdir()
    (tmp_path / "good/config.json").write_text(TEXT)
    (tmp_path / "piped").mkdir()
    os.mkfifo(tmp_path / "piped/config.json")
    assert main.main(["runs", "--out", str(tmp_path), "--json"]) == 0
    rows = {row["run"].rpartition("/")[2]: row for row in json.loads(capsys.readouterr().out)}
    assert len(rows) == len(MALFORMED) + 2
    assert rows["good"]["env"] == "CartPole-v1" and "error" in rows["piped"]
