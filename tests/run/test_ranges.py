"""Settings out of range are refused with the number, before a folder is made."""

import dataclasses
import math

import pytest

import spinward as sw
from spinward.cli.main import main
from spinward.core import config
from spinward.envs import ids
from spinward.errors import SettingsError, nearest
from spinward.presets.choice import presets_of
from spinward.run.experiment import EnvChoice, Experiment
from spinward.run.run import create
from spinward.store import settings
from spinward.store.ranges import FINITE, Range, check, range_of

KINDS = [
    settings.find(package, name)
    for package in ("algorithms", "rewards")
    for name in settings.modules(package)
]
ANY = {"log_std", "low", "high", "unfinished", "entropy_per_action"}  # which may be negative


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (sw.PPO(lr=-1.0), "lr=-1.0 must be above 0"),
        (sw.PPO(lr=math.nan), "lr=nan must be above 0"),
        (sw.PPO(lr=math.inf), "lr=inf must be above 0 and finite"),
        (sw.PPO(gamma=1.5), "gamma=1.5 must be between 0 and 1"),
        (sw.PPO(lam=-0.1), "lam=-0.1 must be between 0 and 1"),
        (sw.PPO(clip=0.0), "clip=0.0 must be above 0"),
        (sw.PPO(entropy_coef=-0.01), "entropy_coef=-0.01 must be at least 0"),
        (sw.PPO(max_grad_norm=0.0), "max_grad_norm=0.0 must be above 0"),
        (sw.PPO(envs=0), "envs=0 must be at least 1"),
        (sw.PPO(minibatches=0), "minibatches=0 must be at least 1"),
        (sw.PPO(anneal_steps=-1), "anneal_steps=-1 must be at least 0"),
        (sw.PPO(hidden=(64, 0)), r"hidden=\(64, 0\) must be at least 1"),
        (sw.PPO(log_std=math.nan), "log_std=nan must be a finite number"),
        (sw.DQN(batch=0), "batch=0 must be at least 1"),
        (sw.DQN(tau=0.0), "tau=0.0 must be above 0 and at most 1"),
        (sw.DQN(epsilon=1.1), "epsilon=1.1 must be between 0 and 1"),
        (sw.DQN(capacity=-5), "capacity=-5 must be at least 1"),
        (sw.DQN(warmup=-5), "warmup=-5 must be at least 0"),
        (sw.TRPO(shrink=1.0), "shrink=1.0 must be above 0 and below 1"),
        (sw.LPGMeta(agent_lr=(0.1, -0.1)), r"agent_lr=\(0.1, -0.1\) must be above 0"),
        (sw.RND(beta=-1.0), "beta=-1.0 must be at least 0"),
        (sw.Count(kappa=math.nan), "kappa=nan must be at least 0"),
        (sw.PPO(envs="8"), "PPO: envs='8' is a str; expected a whole number"),
        (sw.PPO(envs=2.5), "PPO: envs=2.5 is a float; expected a whole number"),
        (sw.PPO(recompute=1), "PPO: recompute=1 is a int; expected true or false"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_its_number(value, said):
    with pytest.raises(SettingsError, match=said):
        check(value)


@pytest.mark.parametrize(
    "value", [sw.PPO(max_grad_norm=math.inf), sw.DQN(huber=math.inf), sw.PPO(gamma=1, lam=0)]
)
def test_what_means_no_limit_or_is_an_end_of_a_range_is_allowed(value):
    assert check(value) is None


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"limit": 0}, "limit=0 must be at least 1"),
        ({"limit": 2.5}, "CartPole: limit=2.5 is a float; expected a whole number"),
    ],
)
def test_settings_of_an_environment_are_checked_too(own, said, tmp_path):
    with pytest.raises(SettingsError, match=said):
        create(Experiment(sw.PPO(), EnvChoice("CartPole-v1", own), 100), tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


def test_defaults_of_our_environments_are_in_range():
    for name in ids.own_names():
        assert check(ids.make(name)) is None


def test_defaults_and_presets_are_in_range():
    for kind in KINDS:
        check(kind())
        for preset in presets_of(kind):
            check(kind(**preset.at(1_000)))


def test_nearly_all_numbers_of_algorithms_and_rewards_have_a_range():
    hints = {n: h for kind in KINDS for n, h, *_ in settings.flags(kind)}
    plain = {n for n, h in hints.items() if h in (int, float) and range_of(n) == FINITE}
    assert len(hints) > 100 and plain >= ANY and len(plain) < 0.1 * len(hints)


def test_a_name_not_known_goes_by_its_last_word():
    @config
    class Mine:
        spread_coef: float = -1.0
        wide: float = 0.0

    with pytest.raises(SettingsError, match=r"spread_coef=-1\.0 must be at least 0"):
        check(Mine())
    with pytest.raises(SettingsError, match="wide=inf must be a finite number"):
        check(dataclasses.replace(Mine(), spread_coef=1.0, wide=math.inf))


def test_nothing_is_made_for_a_run_with_a_setting_out_of_range(tmp_path, capsys):
    with pytest.raises(SettingsError, match=r"lr=-1\.0 must be above 0"):
        sw.train(sw.PPO(lr=-1.0), "CartPole-v1", 100, out=tmp_path / "runs")
    words = ["train", "ppo", "CartPole-v1", "--gamma", "1.5", "--out", str(tmp_path / "runs")]
    assert main(words) == 2
    assert capsys.readouterr().err.strip() == "spinward: gamma=1.5 must be between 0 and 1"
    assert main(["train", "ppo", "CartPole-v1", "--out", str(tmp_path), "--lr", "-1"]) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (Range(1.0), "at least 1"),
        (Range(0.0, 1.0), "between 0 and 1"),
        (Range(0.0, above=True, infinite=True), "above 0"),
        (Range(0.0, 1.0, above=True), "above 0 and at most 1"),
    ],
)
def test_a_range_in_words(written, text):
    assert str(written) == text


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("--sedes", ["--seeds"]),
        ("--batch_size", ["--batch"]),
        ("--num-envs", ["--envs"]),
        ("--Gama", ["--gamma"]),
        ("--foo", []),
        ("--verbose", []),
        ("--learning-rate", []),
    ],
)
def test_only_what_is_near_is_suggested(word, near):
    flags = ["--seeds", "--steps", "--batch", "--envs", "--gamma", "--rollout", "--out", "--epochs"]
    assert nearest(word, [*flags, "--value-coef", "--minibatches", "--lr"]) == near


def test_an_option_with_nothing_near_is_refused_without_a_suggestion(capsys):
    assert main(["train", "ppo", "CartPole-v1", "--foo", "1"]) == 2
    said = capsys.readouterr().err
    assert "unexpected '--foo'" in said and "did you mean" not in said
