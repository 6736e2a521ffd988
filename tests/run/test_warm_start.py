"""Runs that begin with what another run learned, and parts of agents that do not learn."""

import shutil

import jax
import pytest
from twin import ALGORITHMS, assert_same, copied, keys, parts, tiny

import spinward as sw
from spinward.cli.main import main
from spinward.core import OwnLoop
from spinward.errors import SettingsError, Stopped
from spinward.learning.steps import Learner, freeze
from spinward.loop import Freeze
from spinward.programs.choose import program
from spinward.run.warm_start import named

PPO = tiny(sw.PPO, lr=0.05)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    out = tmp_path_factory.mktemp("source")
    return sw.train(PPO, "CartPole-v1", 160, 2, out=out, shards=1)


def leaves(run):
    return named(copied(run.agents().agent))


def test_a_run_begins_with_all_but_counters_and_optimisers_of_the_other(source, tmp_path):
    """Frozen, so that what it began with is still there at the end."""
    run = sw.train(tiny(sw.PPO, lr=0.01), "CartPole-v1", 64, 3, 5, out=tmp_path, shards=1,
                   env_kwargs={"limit": 50}, start_from=source, freeze=("model",))  # fmt: skip
    there, here = leaves(source), leaves(run)
    models = [name for name in here if ".model." in name]
    assert len(models) == 9
    for name in models:
        assert here[name].tobytes() == there[name][[0, 1, 0]].tobytes(), name
    assert here["updates"].tolist() == [4] * 3 and there["updates"].tolist() == [10] * 2
    assert here["statistics.obs.moments..count"].tolist() != [0] * 3


def test_only_the_chosen_parts_are_taken(source, tmp_path):
    run = sw.train(PPO, "CartPole-v1", 64, 2, 9, out=tmp_path, shards=1, start_from=source,
                   start_parts=("policy",), freeze=("policy",))  # fmt: skip
    there, here = leaves(source), leaves(run)
    assert all(here[n].tobytes() == there[n].tobytes() for n in here if ".actor." in n)
    critics = [n for n in here if ".critic." in n and n.endswith("w")]
    assert critics and all((here[n] != there[n]).any() for n in critics)


def test_all_parts_are_all(source, tmp_path):
    run = sw.train(tiny(sw.PPO, lr=1e-30), "CartPole-v1", 16, 2, out=tmp_path, shards=1,
                   start_from=source.path, start_parts=("all",))  # fmt: skip
    assert leaves(run)["updates"].tolist() == [11] * 2
    assert leaves(run)["learner.opt_state.1.0.count"].tolist() == [44] * 2


def test_a_stopped_run_goes_on_to_the_same_bytes_without_the_other(source, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(source.path, copy)
    more = {"out": tmp_path, "shards": 1, "start_from": copy, "freeze": ("critic",)}
    whole = sw.train(PPO, "CartPole-v1", 160, 2, 3, name="whole", **more)

    def stop(point):
        return sw.STOP if point.iteration == 4 else None

    with pytest.raises(Stopped):
        sw.train(PPO, "CartPole-v1", 160, 2, 3, name="half", watch=stop, **more)
    shutil.rmtree(copy)
    run = sw.load(tmp_path / "half").train()
    assert run.points == whole.points
    assert_same(*(copied(each.agents().agent) for each in (run, whole)))


def test_what_cannot_begin_a_run_is_refused_before_there_is_a_folder(source, tmp_path):
    def begin(env="CartPole-v1", algorithm=PPO, **more):
        sw.train(algorithm, env, 64, out=tmp_path, name="x", **more)

    with pytest.raises(SettingsError, match=r"0\.w is float32\[3, 8\] in this run and float32\[4"):
        begin("Pendulum-v1", start_from=source)
    with pytest.raises(SettingsError, match="in this run and none in"):
        begin(algorithm=tiny(sw.DQN), start_from=source)
    with pytest.raises(SettingsError, match="no part 'polcy'; expected one of"):
        begin(start_from=source, start_parts=("polcy",))
    with pytest.raises(SettingsError, match="is no run"):
        begin(start_from=tmp_path)
    with pytest.raises(SettingsError, match="kept no best agents"):
        begin(start_from=source, start_checkpoint="best")
    with pytest.raises(SettingsError, match="freeze=policy: no learner of this agent has"):
        begin(algorithm=tiny(sw.TRPO), freeze=("policy",))
    assert not (tmp_path / "x").exists()


def test_the_command_line_begins_runs_from_others(source, tmp_path, capsys):
    words = ["train", "ppo", "CartPole-v1", "--steps", "64", "--envs", "4", "--rollout", "4"]
    words += ["--hidden", "8", "--out", str(tmp_path), "--name", "r", "--logs", "2"]
    words += ["--from", str(source.path), "--from-parts", "policy", "--freeze", "actor,critic"]
    assert main(words) == 0
    run = sw.load(tmp_path / "r")
    assert run.experiment.freeze == ("actor", "critic")
    there, here = leaves(source), leaves(run)
    assert all(here[n].tobytes() == there[n][:1].tobytes() for n in here if ".actor." in n)
    capsys.readouterr()
    assert main([*words[:-1], "actr"]) == 2
    assert "freeze=actr: no learner of this agent has such a part" in capsys.readouterr().err


CAN = [n for n, kind in ALGORITHMS.items() if not isinstance(kind(), OwnLoop)]


def models(agent):
    """The models of all learners of an agent."""
    nodes = jax.tree.leaves(agent, is_leaf=lambda x: isinstance(x, Learner))
    return [node.model for node in nodes if isinstance(node, Learner)]


@pytest.mark.parametrize("name", ["dqn", *[pytest.param(n, marks=pytest.mark.slow) for n in CAN]])
def test_a_frozen_model_stays_as_it_is_whatever_the_algorithm(name):
    made = parts(tiny(ALGORITHMS[name]))._replace(freeze=Freeze(("model",)))
    running = program(made)
    state = running.start(keys(1))
    before = copied(models(state.agent))
    state, metrics = running.advance(state, 3)
    assert_same(copied(models(state.agent)), before)
    # The gradient norm of MB-MPO is that of its policy, which is no model of a `Learner`.
    moves = name == "mb_mpo"
    assert before and ((metrics["grad_norm"] > 0.0) == moves).all()
    agent = running.start(keys(1)).agent
    with pytest.raises(SettingsError, match="freeze=x: no learner"):
        freeze(agent, ("x",))
