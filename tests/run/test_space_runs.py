"""Runs in environments with spaces of all kinds, from the command line to the policy."""

import json
import os
import pkgutil
from pathlib import Path

import jax
import numpy as np
import pytest
from twin import GearAndPush

import spinward as sw
from spinward import algorithms
from spinward.cli.main import main
from spinward.core import Box, Discrete, Hybrid, MultiDiscrete, Spec
from spinward.errors import SettingsError
from spinward.report.results import frames
from spinward.store import settings

FILE = Path(__file__).parent.parent / "envs/space_envs.py"
SMALL = ["--envs", "2", "--rollout", "8", "--hidden", "4", "--steps", "64", "--logs", "2"]


QUICK = {"envs": 32, "hidden": (16,), "normalise_obs": False}
LEARNERS = [
    sw.PPO(**QUICK, rollout=8, lr=1e-2, minibatches=2, log_std=-0.5, entropy_coef=0.0),
    sw.A2C(**QUICK, rollout=4, lr=3e-3),
    sw.VPG(**QUICK, rollout=8, lr=5e-3, minibatches=1),
    sw.TRPO(**QUICK, rollout=8, minibatches=1, log_std=-0.5, kl_limit=0.05),
]


@pytest.mark.parametrize(
    "algorithm",
    [LEARNERS[0], *(pytest.param(one, marks=pytest.mark.slow) for one in LEARNERS[1:])],
    ids=lambda algorithm: type(algorithm).__name__,
)
def test_policy_gradients_learn_a_choice_and_a_number_together(algorithm, tmp_path):
    steps = 40_000 if isinstance(algorithm, sw.VPG) else 15_000  # one step of its policy a batch
    run = sw.train(algorithm, GearAndPush(), steps, 1, out=tmp_path, shards=1)
    gear, push = run.policy()(np.ones(1, np.float32))
    assert gear == 2.0 and push == pytest.approx(0.5, abs=0.2)


def test_algorithms_without_hybrid_actions_refuse_them_in_words():
    spec, refused = Spec(Box((2,)), Hybrid((3,), Box((1,), -1.0, 1.0)), 1), []
    for module in pkgutil.iter_modules(algorithms.__path__):
        algorithm = settings.find("algorithms", module.name)()
        try:
            algorithm.check(spec)
        except SettingsError as error:
            refused.append(module.name)
            assert "\n" not in str(error)
    for name in ("dqn", "c51", "qr_dqn", "r2d2", "sac", "sac_discrete", "td3", "ddpg", "iql"):
        assert name in refused
    assert not {"ppo", "a2c", "vpg", "trpo", "bc", "sac_hybrid"} & set(refused)


def said(capsys, *words):
    code = main([str(word) for word in words])
    return code, capsys.readouterr()


@pytest.mark.parametrize(
    ("algorithm", "env", "words"),
    [
        ("sac", "Hybrid", "sac takes no choices beside numbers: sac_hybrid does"),
        ("dqn", "Hybrid", "needs one discrete action"),
        ("dqn", "Choices", "needs one discrete action"),
        ("sac", "HalfOpen", "sac needs continuous actions with finite bounds"),
        ("ppo", "FourAxes", "expected a number, a vector, a matrix or an image"),
        ("ppo", "WrongMask", "expected (5,): one entry for each choice"),
        ("ppo", "Nowhere", "has no Nowhere"),
    ],
)
def test_a_refused_command_is_one_line_and_leaves_nothing(
    algorithm, env, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    code, found = said(capsys, "train", algorithm, f"{FILE}:{env}", "--steps", 64)
    assert code == 2 and words in found.err and found.err.count("\n") == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ppo", "CartPole-v1", "--timeout", 5], "no worker process that --timeout could wait for"),
        (["ppo", "CartPole-v1", "--stack", 0], "stack=0 must be a whole number, at least 1"),
        (["dqn", f"{FILE}:Matrix", "--env.matrices", "image", "--stack", 2], "as --env.stack 2"),
    ],
)
def test_flags_of_the_environment_that_do_not_fit_are_refused_in_words(
    words, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    code, found = said(capsys, "train", *words, "--steps", 64)
    assert code == 2 and message in found.err and found.err.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_a_run_that_fails_in_its_first_step_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, found = said(capsys, "train", "ppo", f"{FILE}:Breaks", *SMALL, "--minibatches", 2)
    line = next(
        n for n, text in enumerate(FILE.read_text().splitlines(), 1) if '{}["wheel"]' in text
    )
    assert code == 5 and found.err.endswith(
        f"raised in step 1: KeyError: 'wheel' ({FILE}:{line})\n"
    )
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_run_of_hybrid_actions_from_the_command_line(tmp_path, capsys):
    words = ["train", "ppo", f"{FILE}:Hybrid", *SMALL, "--out", tmp_path, "--name", "a"]
    code, _ = said(capsys, *words, "--minibatches", 2, "--log-data")
    assert code == 0
    run = sw.load(tmp_path / "a", trust=True)
    assert isinstance(run.made.spec.action, Hybrid)
    code, found = said(capsys, "evaluate", run.path, "--episodes", 2, "--trust", "--json")
    assert code == 0 and len(json.loads(found.out)["per_seed"]) == 1
    contract = run.policy().save(tmp_path / "exported", to="npz")
    assert contract["action"] == {
        "kind": "choices, then numbers",
        "of": [3],
        "shape": [1],
        "low": -1.0,
        "high": 1.0,
    }
    assert contract["check"]["largest_difference"] <= 1e-5


def test_flags_of_the_environment_reach_it_and_the_config(tmp_path, capsys):
    words = ["train", "ppo", f"{FILE}:Matrix", *SMALL, "--out", tmp_path, "--name", "a"]
    code, found = said(capsys, *words, "--stack", 3, "--timeout", 90, "--env.matrices", "image")
    assert code == 0 and "is read as a vector" not in found.err
    run = sw.load(tmp_path / "a", trust=True)
    assert run.made.env.timeout_s == 90 and run.made.spec.obs.shape == (3, 4, 3)


@pytest.mark.slow
def test_a_matrix_that_is_read_as_a_vector_is_told(tmp_path, capsys):
    words = ["train", "ppo", f"{FILE}:Matrix", *SMALL, "--out", tmp_path, "--name", "b"]
    code, found = said(capsys, *words)
    assert code == 0 and "observation, a matrix of 3 x 4, is read as a vector" in found.err


@pytest.mark.slow
def test_frames_of_our_own_environments_are_stacked(tmp_path, capsys):
    words = ["train", "ppo", "CartPole-v1", *SMALL, "--out", tmp_path, "--name", "a", "--stack", 2]
    assert said(capsys, *words)[0] == 0
    assert sw.load(tmp_path / "a").made.spec.obs.shape == (8,)
    words = ["train", "dqn", "CartPole-v1", *SMALL, "--out", tmp_path, "--name", "b"]
    words += ["--env.stack", 2, "--warmup", 300, "--batch", 8]
    words[words.index("--rollout") : words.index("--rollout") + 2] = ["--rollout", "4"]
    assert said(capsys, *words)[0] == 0


def test_check_env_tells_habits_apart_from_faults(capsys):
    code, found = said(capsys, "check-env", f"{FILE}:Leaves", "--steps", 10)
    assert code == 0 and "BAD" not in found.out
    assert (
        "note observation bounds: in the observation of step 3, observation[1] is 1.5" in found.out
    )
    code, found = said(capsys, "check-env", f"{FILE}:Breaks", "--steps", 10)
    line = next(
        n for n, text in enumerate(FILE.read_text().splitlines(), 1) if '{}["wheel"]' in text
    )
    assert code == 5 and f"space_envs.py:{line})" in found.out


def test_an_error_in_an_environment_of_the_users_own_in_jax_names_its_line(tmp_path, capsys):
    path = tmp_path / "broken.py"
    path.write_text(
        "import jax.numpy as jnp\nfrom spinward.core import Box, Discrete, Spec, config\n\n\n"
        "@config\nclass Broken:\n    spec = Spec(Box((1,)), Discrete(2))\n\n"
        "    def reset(self, key):\n        return jnp.int32(0), jnp.zeros(1)\n\n"
        "    def step(self, state, action, key):\n        return {}['wheel']\n"
    )
    code, found = said(capsys, "check-env", f"{path}:Broken")
    assert code == 5 and f"KeyError: 'wheel' ({path}:13)" in found.out
    runs = tmp_path / "runs"
    code, found = said(capsys, "train", "ppo", f"{path}:Broken", *SMALL, "--out", runs)
    assert code == 5 and f"raised in step: KeyError: 'wheel' ({path}:13)\n" in found.err
    assert not runs.exists()


@pytest.mark.slow
def test_policies_of_several_choices_and_of_parts_act(tmp_path, capsys):
    for name in ("Choices", "Nested", "Methodical", "HalfOpen"):
        words = ["train", "a2c", f"{FILE}:{name}", *SMALL, "--out", tmp_path, "--name", name]
        assert said(capsys, *words)[0] == 0
    made = sw.load(tmp_path / "Choices", trust=True).made
    assert made.spec.action == MultiDiscrete((2, 2, 3))
    assert sw.load(tmp_path / "Nested", trust=True).made.spec.action == Discrete(2)
    assert jax.tree.leaves(made.spec.zeros())[0].shape == (2,)


@pytest.mark.slow
def test_a_policy_of_parts_and_hybrid_actions_is_filmed_in_its_environment(tmp_path, capsys):
    words = ["train", "a2c", f"{FILE}:Pictured", *SMALL, "--stack", 2, "--out", tmp_path]
    assert said(capsys, *words, "--name", "a")[0] == 0
    run = sw.load(tmp_path / "a", trust=True)
    assert dict(run.made.spec.obs.items)["robot.gear"].shape == (6,)
    shades = [int(frame[0, 0, 0]) for frame in frames(run, limit=9)]
    assert shades == [0, 40, 80, 120, 160]  # the five steps of an episode
