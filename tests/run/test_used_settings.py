"""The values that a run will use are shown before it, and `train` says what a preset set."""

import json
import re

import pytest

from spinward.algorithms.ppo import PPO
from spinward.cli.main import main
from spinward.cli.parser import Parser
from spinward.cli.train import make_parser
from spinward.presets.choice import presets_of, with_presets


def printed(capsys, *words):
    assert main(list(words)) == 0
    return capsys.readouterr()


@pytest.mark.parametrize("env", ["Pendulum-v1", "gymnasium:Pendulum-v1"])
def test_explain_shows_the_values_of_a_run_in_an_environment(capsys, env):
    rows = json.loads(printed(capsys, "explain", "ppo", env, "--steps", "5e4", "--json").out)
    values = {row["name"]: row["value"] for row in rows}
    assert (values["gamma"], values["anneal_steps"], values["lam"]) == (0.95, 50_000, 0.95)
    assert {row["name"]: row["default"] for row in rows}["gamma"] == 0.99
    text = printed(capsys, "explain", "ppo.gamma", env).out
    assert "preset short-episodes" not in text.splitlines()[-1] and "in " in text.splitlines()[0]
    assert re.search(r"^gamma +0\.95 +discount per step \(a number; default 0\.99\)$", text, re.M)


def test_explain_without_an_environment_shows_the_defaults(capsys):
    row = json.loads(printed(capsys, "explain", "ppo.lr", "--json").out)
    assert row == [
        {"name": "lr", "type": "a number", "default": 2.5e-4, "meaning": "Adam step size"}
    ]


def test_help_of_train_shows_the_values_that_will_be_used(capsys):
    text = " ".join(printed(capsys, "train", "ppo", "Pendulum-v1", "--help").out.split())
    assert "--gamma NUMBER discount per step (used: 0.95; default: 0.99)" in text
    assert "--lam NUMBER GAE's lambda (default: 0.95)" in text
    assert "in Pendulum-v1: preset short-episodes: envs=4, rollout=1024" in text
    text = " ".join(printed(capsys, "train", "ppo", "--help").out.split())
    assert "discount per step (default: 0.99)" in text and "used:" not in text
    text = printed(capsys, "train", "--steps", "3e5", "ppo", "-h", "Pendulum-v1").out
    assert "used: 300000" in " ".join(text.split())


def test_help_of_train_with_an_environment_alone_shows_what_each_algorithm_has_for_it(capsys):
    text = printed(capsys, "train", "--help", "CartPole-v1").out
    assert re.search(r"^  ppo +preset discrete: envs=16, rollout=64", text, re.M)
    assert re.search(r"^  sac_discrete +preset vector: updates=4", text, re.M)
    assert not re.search(r"^  sac ", text, re.M)  # which has continuous actions only
    assert main(["train", "pppo", "--help"]) == 2
    assert "no algorithm 'pppo'; expected one of ppo" in capsys.readouterr().err


def test_help_shows_no_default_that_says_nothing(capsys):
    text = " ".join(printed(capsys, "train", "--help").out.split())
    assert "--seed SEED the first of them (default: 0)" in text
    assert "(default: )" not in text and "(default: False)" not in text


def test_presets_are_listed_with_what_they_are_for(capsys):
    rows = json.loads(printed(capsys, "presets", "--json").out)
    assert {row["algorithm"] for row in rows} == set(with_presets())
    dqn = [row for row in rows if row["algorithm"] == "dqn"]
    assert [row["name"] for row in dqn] == [
        "few-steps",
        "small-image",
        "atari",
        "image",
        "vector",
        "nature",
        "dopamine",
    ]
    assert dqn[4]["settings"]["warmup"] == "steps / 50, at least 1,000, at most 5,000"
    assert dqn[4]["settings"]["hidden"] == [64, 64] and dqn[5]["for"] == "--preset nature"
    text = printed(capsys, "presets", "ppo").out
    heads = [line for line in text.splitlines() if not line.startswith(" ")]
    assert (
        len(heads) == len(presets_of(PPO))
        and "ppo memory: --preset memory, or --preset tuned in T-Maze" in heads
    )
    nothing = printed(capsys, "presets", "bc")
    assert nothing.out == "" and "bc has no presets" in nothing.err


def test_train_says_what_the_preset_set_and_not_what_flags_did(tmp_path, capsys):
    words = ["--steps", "1024", "--out", str(tmp_path), "--lr", "0.002", "--json", "--name", "x"]
    said = printed(capsys, "train", *words, "ppo", "CartPole-v1", "--hidden", "4", "--logs", "1")
    assert "preset discrete: envs=16, rollout=64, minibatches=16, epochs=4, gamma=0.999" in said.err
    assert json.loads(said.out)["run"] == str(tmp_path / "x")
    settings = json.loads((tmp_path / "x" / "config.json").read_text())["algorithm"]["fields"]
    assert (settings["lr"], settings["epochs"], settings["hidden"]) == (0.002, 4, [4])


@pytest.mark.parametrize(
    ("words", "places"),
    [
        ("ppo CartPole-v1 --lr 1e-3", ["ppo", "CartPole-v1"]),
        ("--seeds 4 ppo --lr=1 CartPole-v1", ["ppo", "CartPole-v1"]),
        ("--json ppo --first-come --lr -1 CartPole-v1", ["ppo", "CartPole-v1"]),
        ("--help CartPole-v1", ["CartPole-v1"]),
        ("ppo --recompute --lr 1 CartPole-v1", ["ppo", "CartPole-v1"]),
        ("", []),
    ],
)
def test_names_are_found_among_options(words, places):
    assert make_parser(None).places(words.split()) == places
    assert isinstance(make_parser(PPO), Parser)


def test_train_says_that_a_tuned_preset_was_tuned_in_that_very_task(tmp_path, capsys):
    words = ["--steps", "1024", "--out", str(tmp_path), "--preset", "tuned", "--logs", "1"]
    said = printed(capsys, "train", "ppo", "T-Maze", *words)
    assert "preset memory (tuned in T-Maze alone, and no measure of other tasks): envs=16" in (
        said.err
    )
    assert main(["train", "ppo", "CartPole-v1", *words]) == 2
    assert (
        "no preset of PPO was tuned in CartPole-v1; tuned was: T-Maze." in capsys.readouterr().err
    )
