"""What a name in a run's settings may be: one of a closed list, and nothing else."""

import dataclasses
import json
import sys

import numpy as np
import pytest
from twin import ALGORITHMS, tiny

from spinward.algorithms.a2c import A2C
from spinward.cli import main
from spinward.errors import SettingsError
from spinward.models.imagined import hopper, never
from spinward.networks.critic import DeterministicActor
from spinward.networks.heads import PolicyNetwork
from spinward.networks.recurrent import RecurrentActorCritic, with_memory
from spinward.networks.towers import Separate
from spinward.rewards.environment import Environment
from spinward.rewards.reward_model_score import RewardModelScore
from spinward.rewards.verifier import Verifier
from spinward.run.experiment import Experiment
from spinward.store import checkpoint, log, names, parameters, settings

HOSTILE = (
    "spinward.egg-info/../{folder}/payload.py:Environment",
    "spinward/../{folder}/payload.py:Environment",
    "spinward.{folder}/payload.py:Environment",
    "spinward:../payload.py:Environment",
    "spinward.rewards.environment.py:Environment",
    "spinward.store.settings:json.loads",
    "spinward.store.settings:importlib.import_module",
    "spinward.store.log:os.system",
    "spinward.rewards.environment:Environment.__init__.__globals__",
    "spinward.rewards.environment:Environment.init",
    "spinward.rewards.environment:Environment ",
    " spinward.rewards.environment:Environment",
    "spinward.rewards..environment:Environment",
    "spinward.rewards.environment::Environment",
    "spinward.rewards.environment:Environment\n",
    "spinward.rewards.environment:config",
    "spinward.rewards.clipped:Transition",
    "spinward.run.experiment:Environment",
    "spinward.run.experiment:Experiment",
    "spinward.store.files:remove",
    "spinward.networks.towers:Separate",
    "spinward.networks.towers:Separate.init",
    "spinward.networks.towers:Separate.init.__self__",
    "spinward.networks.towers:actor_critic.__globals__",
    "spinward.networks.layers:correlation",
    "spinward.networks.towers:partial",
    "spinward.experience.replay:Replay",
    "spinward.payload:Environment",
    "spinward",
    "spinward:",
    "os:system",
    "builtins:exec",
    "payload:Environment",
    "{folder}/payload.py:Environment",
    "",
)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("part", ["algorithm", "reward", "nested class", "network", "partial"])
def test_a_name_that_is_not_in_the_list_runs_no_code(name, part, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "spinward.egg-info").mkdir()  # as beside an editable install
    (tmp_path / "spinward").mkdir()
    ran = tmp_path / "ran"
    for place in (tmp_path, folder):
        (place / "payload.py").write_text(f"open({str(ran)!r}, 'w')\nclass Environment: pass\n")
    name = name.format(folder="run")
    content = json.loads(Experiment(A2C(), "CartPole-v1", 64).to_json())
    fields = content["algorithm"]["fields"]
    place, value = {
        "algorithm": (content, {"class": name, "fields": {}}),
        "reward": (content, {"class": name, "fields": {}}),
        "nested class": (fields, {"class": name, "fields": {}}),
        "network": (fields, {"function": name}),
        "partial": (fields, {"function": name, "keywords": {"cell": {"function": name}}}),
    }[part]
    if part in ("network", "partial") and name == "spinward.networks.towers:Separate.init":
        return  # which is in the list
    place[part if part in content else "network"] = value
    (folder / "config.json").write_text(json.dumps(content))
    code = main.main(["resume", str(folder)])
    said = capsys.readouterr().err
    assert code in (2, 4) and "unexpected" not in said and "Traceback" not in said, said
    assert not ran.exists()
    if names.is_ours(name):  # with `--trust` no more than without
        assert main.main(["resume", str(folder), "--trust"]) == 4
        assert not ran.exists()


def test_names_of_the_list_are_found():
    for kind in (*ALGORITHMS.values(), Environment):
        assert names.settings_class(names.place(kind)) is kind
        for field in dataclasses.fields(kind):
            if callable(field.default):
                assert names.function(names.place(field.default)) == field.default
    for found in (hopper, never):
        assert names.function(names.place(found)) is found
        assert names.function(f"spinward.envs.imagined:{found.__name__}") is found  # an older run's
    for name in ("spinward.rewards.environment:Nothing", "spinward.networks.towers:Nothing.init"):
        with pytest.raises(SettingsError, match="none of Spinward's"):
            names.settings_class(name)
        with pytest.raises(SettingsError, match="none of Spinward's"):
            names.function(name)


def test_functions_with_keywords_come_back():
    found = settings.from_json(json.loads(json.dumps(settings.to_json(with_memory(None, "gru")))))
    assert found.func == RecurrentActorCritic.init and found.keywords == {"cell": "gru"}
    chosen = tiny(A2C, network=Separate.init)
    assert settings.from_json(json.loads(json.dumps(settings.to_json(chosen)))) == chosen


def test_the_reward_of_an_older_run_with_a_reward_model_opens():
    reward = RewardModelScore("a", texts=8)
    content = settings.to_json(reward)
    assert content["class"] == names.place(RewardModelScore)
    assert settings.from_json({**content, "class": "spinward.rewards.judge:Judge"}) == reward


def test_settings_of_older_runs_open_under_their_present_names():
    reward = Verifier("module:function")
    content = settings.to_json(reward)
    older = {("judge" if k == "scorer" else k): v for k, v in content["fields"].items()}
    assert "judge" in older and settings.from_json({**content, "fields": older}) == reward
    assert names.function("spinward.networks.heads:Policy.init") == PolicyNetwork.init
    assert names.function("spinward.networks.critic:Actor.init") == DeterministicActor.init


def test_states_of_older_runs_open_under_the_present_names_of_their_leaves(tmp_path):
    older = {"apart": np.ones(2, np.float32), "own": {"there": np.int32(3), "w": np.zeros(1)}}
    path = checkpoint.save(tmp_path, 1, older, {})
    like = {"distance": older["apart"], "own": {"present": np.int32(0), "w": np.zeros(1)}}
    state, _ = checkpoint.load(path, like)
    assert state["distance"].tolist() == [1.0, 1.0] and int(state["own"]["present"]) == 3
    state, _ = checkpoint.load(path, older)  # somebody's own leaf of such a name
    assert state["apart"].tolist() == [1.0, 1.0]
    read, _ = parameters.read(path)
    assert {"apart", "distance", "own.there", "own.present", "own.w"} == set(read)


def test_the_sums_in_an_older_checkpoint_have_their_maxima():
    saved = {"count": 2, "sums": {"loss": [1.0]}, "peaks": {"max_abs_q": [5.0]}}
    interval = log.Interval(saved)
    assert interval.running_max["max_abs_q"].tolist() == [5.0]
    assert log.Interval(interval.to_json()).running_max["max_abs_q"].tolist() == [5.0]
