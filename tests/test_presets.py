"""Presets: which settings apply to which kind of environment, whatever the library it is from."""

import dataclasses
import importlib
import pkgutil
import subprocess
import sys

import pytest

import spinward.presets
from spinward.core import Box, Discrete, config
from spinward.envs import ids
from spinward.envs.cartpole import CartPole
from spinward.envs.limits import limit_of
from spinward.errors import SettingsError
from spinward.presets.choice import choose, named, preset, presets_of, with_presets
from spinward.presets.kinds import DISCRETE, HOST, JAX, VECTOR, Task, bare, seen, task_of
from spinward.presets.preset import OfSteps, Preset
from spinward.rewards.clipped import Clipped
from spinward.rewards.environment import Environment
from spinward.spaces import Dict, Spec
from spinward.store import settings

KINDS = {name: settings.find("algorithms", name) for name in settings.modules("algorithms")}
PRESETS = [(name, p) for name, kind in KINDS.items() for p in presets_of(kind)]
CLASSIC = ("CartPole-v1", "Acrobot-v1", "Pendulum-v1", "MountainCarContinuous-v0")


@pytest.mark.parametrize(("name", "one"), PRESETS, ids=[f"{n}-{p.name}" for n, p in PRESETS])
def test_every_preset_names_settings_that_the_algorithm_has(name, one):
    fields = {f.name for f in dataclasses.fields(KINDS[name])}
    assert set(one.settings) and set(one.settings) <= fields
    assert type(settings.checked(KINDS[name], one.at(100_000))) is KINDS[name]


@pytest.mark.parametrize("name", with_presets())
def test_names_of_presets_are_one_word_and_of_one_preset_each(name):
    names = [p.name for p in presets_of(KINDS[name])]
    assert names and len(names) == len(set(names)) and "none" not in names
    assert all(n.replace("-", "").isalnum() and n == n.lower() for n in names)


@pytest.mark.parametrize("task", CLASSIC)
@pytest.mark.parametrize("prefix", ["gymnasium", "gymnax", "envpool"])
def test_the_library_of_an_environment_does_not_change_its_preset(prefix, task):
    if prefix != "gymnasium":
        pytest.importorskip(prefix)
    theirs, ours = task_of(f"{prefix}:{task}"), task_of(task)
    assert theirs._replace(where="") == ours._replace(where="") and ours.where == JAX
    changed = 0
    for kind in KINDS.values():
        assert choose(kind, theirs, 50_000) == choose(kind, ours, 50_000)
        changed += bool(choose(kind, ours, 50_000).name)
    assert changed > 5


def test_settings_of_a_known_task_are_as_measured():
    ppo, reward = preset(KINDS["ppo"], "CartPole-v1", 30_000)
    assert (ppo["envs"], ppo["rollout"], ppo["minibatches"]) == (16, 64, 16)
    assert (ppo["lr"], ppo["anneal_steps"], ppo["normalise_reward"]) == (1e-3, 30_000, True)
    assert reward == Environment()
    pendulum = preset(KINDS["ppo"], "gymnasium:Pendulum-v1", 30_000)[0]
    assert (pendulum["rollout"], pendulum["gamma"]) == (1024, 0.95)
    assert preset(KINDS["lpg"], "Grid-Small", 1)[0]["descent"] == "rmsprop"
    assert preset(KINDS["bc"], "CartPole-v1", 1) == ({}, Environment())


@pytest.mark.parametrize("steps", [1_000, 100_000, 299_999, 500_000, 10**7])
def test_minibatches_have_as_many_steps_whatever_the_length_of_a_run(steps):
    ppo = KINDS["ppo"](**preset(KINDS["ppo"], "CartPole-v1", steps)[0])
    assert ppo.envs * ppo.rollout == 64 * ppo.minibatches and 64 <= ppo.rollout <= 256


@pytest.mark.parametrize("name", ["ppo", "a2c", "trpo"])
def test_a_task_that_cannot_be_done_without_a_memory_gets_one_where_it_is_asked_for(name):
    found = choose(KINDS[name], task_of("T-Maze"), 100_000, "tuned")
    assert (found.name, found.settings["recurrent"]) == ("memory", "lstm")
    assert found == choose(KINDS[name], task_of("T-Maze"), 1, "memory")._replace(
        remark="tuned in T-Maze alone, and no measure of other tasks"
    )
    assert "recurrent" not in preset(KINDS[name], "T-Maze", 100_000)[0]


ONLINE = ("ppo", "ppo_penalty", "a2c", "trpo", "vpg", "sac", "td3", "ddpg")
ONLINE += ("dqn", "qr_dqn", "c51", "rem", "ensemble_dqn", "sac_discrete")


@pytest.mark.parametrize("name", ONLINE)
def test_no_preset_applies_by_the_name_of_a_task(name):
    lander = Task("LunarLander-v3", VECTOR, DISCRETE, HOST, 1000)  # whose package may be missing
    for task in (lander, *(task_of(name) for name in (*CLASSIC, "T-Maze", "Hopper-v5"))):
        for steps in (10_000, 10**6):
            other = task._replace(name="Nobody-Knows-v0")
            assert choose(KINDS[name], task, steps) == choose(KINDS[name], other, steps)


def test_lengths_of_episodes_and_of_a_run_decide():
    hill = task_of("MountainCarContinuous-v0")
    found = {steps: choose(KINDS["ppo"], hill, steps).name for steps in (20_000, 60_000)}
    assert found == {20_000: "few-episodes", 60_000: "continuous"}
    endless = hill._replace(limit=0)
    assert choose(KINDS["ppo"], endless, 20_000).name == "continuous"
    assert choose(KINDS["sac"], task_of("Pendulum-v1"), 10**5).name == "short-episodes"


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("CartPole-v1", 500),
        ("gymnasium:CartPole-v1", 500),
        ("gymnasium:CliffWalking-v1", 0),
        ("envpool:Hopper-v4", 1000),
        ("envpool:CliffWalking-v0", 0),
        ("gymnax:MountainCar-v0", 200),
    ],
)
def test_the_limit_of_an_environment_is_found_in_every_library(name, limit):
    prefix = name.partition(":")[0]
    if prefix in ("envpool", "gymnax"):
        pytest.importorskip(prefix)
    assert task_of(name).limit == limit


def test_a_limit_among_the_keywords_counts():
    assert limit_of(ids.make("gymnasium:CliffWalking-v1", {"max_episode_steps": 50})) == 50


def test_a_tuned_preset_is_for_its_tasks_alone():
    with pytest.raises(SettingsError, match="no preset of PPO was tuned in CartPole-v1; tuned was"):
        choose(KINDS["ppo"], task_of("CartPole-v1"), 1, "tuned")
    with pytest.raises(SettingsError, match="tuned was: no task"):
        choose(KINDS["bc"], task_of("CartPole-v1"), 1, "tuned")


@pytest.mark.parametrize(
    ("steps", "warmup", "explore", "capacity"),
    [(1_000, 1_000, 1_000, 10_000), (150_000, 3_000, 30_000, 150_000), (10**7, 5_000, 10**5, 5e5)],
)
def test_settings_follow_the_length_of_a_run_within_bounds(steps, warmup, explore, capacity):
    found, _ = preset(KINDS["rem"], "CartPole-v1", steps)
    assert (found["warmup"], found["explore_steps"]) == (warmup, explore)
    assert (found["capacity"], found["anneal_steps"]) == (capacity, steps)


def image(*shape):
    return Spec(Box(shape, 0, 255, "uint8"), Discrete(3))


@pytest.mark.parametrize(
    ("name", "spec", "kind"),
    [
        ("CartPole-v1", CartPole().spec, "vector"),
        ("Grid", Spec(Box((1,), 0, 9, "int32"), Discrete(3)), "table"),
        ("Grammar", Spec(Box((), -1, 9, "int32"), Discrete(3)), "text"),
        ("x:Env", Spec(Dict((("a", Box((2,))),)), Discrete(3)), "parts"),
        ("x:Env", image(10, 10, 4), "small image"),
        ("x:Env", image(64, 64, 3), "image"),
        ("x:Env", image(84, 84, 4), "image"),  # which may have four colours
        ("ALE/Pong-v5", image(84, 84, 4), "Atari"),
        ("gymnasium:ALE/Pong-v5", image(84, 84, 4), "Atari"),
        ("envpool:Pong-v5", image(84, 84, 4), "Atari"),
        ("envpool:CoinrunEasy-v0", image(64, 64, 3), "image"),
    ],
)
def test_kinds_of_observations(name, spec, kind):
    assert seen(name, spec) == kind


def test_frames_are_stored_once_and_rewards_clipped_where_an_image_is_large():
    atari, large, small = (
        Task("x", kind, "discrete", HOST) for kind in ("Atari", "image", "small image")
    )
    dqn = [choose(KINDS["dqn"], task, 10_000) for task in (atari, large, small)]
    assert [c.settings.get("stack") for c in dqn] == [4, None, None]
    assert [type(c.reward) for c in dqn] == [Clipped, Clipped, Environment]
    assert [c.settings["hidden"] for c in dqn] == [(512,), (512,), (128,)]


def test_a_name_loses_the_prefix_of_a_library_alone():
    assert bare("gymnasium:Pendulum-v1") == bare("envpool:Pendulum-v1") == "Pendulum-v1"
    assert bare("mine.py:Pendulum") == "mine.py:Pendulum"
    assert {bare(f"{prefix}:x") for prefix in ids.PREFIXES} == {"x"}


def test_a_preset_fits_where_all_its_criteria_hold():
    task, steps = Task("Hopper-v4", "vector", "continuous", HOST, 1000), 50_000
    lengths = {"limits": (1, 1000), "episodes": 50, "steps": 50_000}
    kind = {"obs": ("table", "vector"), "action": "continuous", "where": HOST, **lengths}
    for right in ({}, {"tasks": ("Hopper*",)}, kind):
        assert Preset("p", {}, **right).fits(task, steps)
    for wrong in (
        {"obs": ("table",)},
        {"action": "discrete"},
        {"where": JAX},
        {"asked": True},
        {"tasks": ("Hopper",)},
        {"tasks": ("opper*",)},
        {"limits": (1, 999)},
        {"limits": (1001, 2000)},
        {"episodes": 49},
        {"steps": 49_999},
    ):
        assert not Preset("p", {}, **wrong).fits(task, steps)


def test_a_preset_that_is_asked_for_stands_in_place_of_the_tasks_own():
    nature, _ = preset(KINDS["dqn"], "CartPole-v1", 1_000, "nature")
    assert nature == named(KINDS["dqn"], "nature") and nature["huber"] == 1.0
    assert "tau" not in nature and nature["rmsprop"] is True
    assert preset(KINDS["dqn"], "CartPole-v1", 1_000, "none")[0] == {}
    assert preset(KINDS["ppo"], "CartPole-v1", 7, "short-episodes")[0]["anneal_steps"] == 7
    with pytest.raises(SettingsError, match="no preset 'natur' of DQN; there is: nature"):
        preset(KINDS["dqn"], "CartPole-v1", 1_000, "natur")
    with pytest.raises(SettingsError, match="no preset 'nature' of BC; there is: none"):
        named(KINDS["bc"], "nature")


def test_a_file_in_the_folder_is_all_that_presets_of_an_algorithm_need(tmp_path, monkeypatch):
    code = "from spinward.presets.preset import Preset\nPRESETS = (Preset('any', {'lr': 0.5}),)\n"
    (tmp_path / "bc.py").write_text(code)
    monkeypatch.setattr(spinward.presets, "__path__", [*spinward.presets.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    assert "bc" in with_presets()
    monkeypatch.setitem(sys.modules, "spinward.presets.bc", None)  # to be forgotten afterwards
    del sys.modules["spinward.presets.bc"]
    assert preset(KINDS["bc"], "CartPole-v1", 10)[0] == {"lr": 0.5}


def test_files_with_presets_are_called_as_their_algorithms():
    files = [m.name for m in pkgutil.iter_modules(spinward.presets.__path__)]
    modules = {n: importlib.import_module(f"spinward.presets.{n}") for n in files}
    assert [n for n, m in modules.items() if "PRESETS" in vars(m)] == with_presets()
    assert {"ppo", "sac", "grpo"} < set(with_presets()) < set(KINDS)


def test_presets_of_other_algorithms_are_not_imported():
    code = (
        "import sys; from spinward.presets.choice import preset; from spinward import PPO;"
        "preset(PPO, 'CartPole-v1', 9); print([m for m in sys.modules if 'presets.' in m])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "presets.ppo" in done.stdout and "presets.dqn" not in done.stdout


def test_somebodys_algorithm_of_the_same_name_has_no_presets():
    @config
    class PPO:
        lr: float = 0.1

    assert preset(PPO, "CartPole-v1", 10)[0] == {}


def test_a_setting_by_the_length_of_a_run_says_so():
    assert str(OfSteps()) == "steps"
    assert str(OfSteps(50, 1_000, 5_000)) == "steps / 50, at least 1,000, at most 5,000"
    assert Preset("p", {}, obs=("image",), action="discrete").serves == (
        "image observations; discrete actions"
    )
    assert str(OfSteps(9, 64, 256, 64)) == (
        "steps / 9, at least 64, at most 256, a multiple of 64"
    ) and [OfSteps(9, 64, 256, 64).at(n) for n in (1, 1_200, 9_999)] == [64, 128, 256]
    assert Preset("p", {}, limits=(1, 200), steps=5_000, episodes=50).serves == (
        "episodes of at most 200 steps; runs of at most 5,000 steps; "
        "runs of at most 50 whole episodes"
    )
    assert Preset("p", {}, tasks=("X-v0",), asked=True).serves == (
        "--preset p, or --preset tuned in X-v0"
    )
