"""`data generate`: sets of known quality, from agents that are trained for them."""

import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.cli import main
from spinward.core import MASK, Box, Discrete, Spec, config, no_memory
from spinward.data import card, store
from spinward.errors import SettingsError
from spinward.experience.behaviour import Noisy, Uniform
from spinward.run import qualities
from spinward.run.experiment import EnvChoice
from spinward.run.qualities import Kept, Request, generate

CHOICES = Spec(Box((2,)), Discrete(4))
NUMBERS = Spec(Box((2,)), Box((3,), -2.0, 2.0))


@config
class Second:
    """Takes the choice 1, or numbers of 0.95."""

    spec: Spec
    memory = staticmethod(no_memory)

    def act(self, agent, obs, memory, key, explore=True):
        if isinstance(self.spec.action, Discrete):
            return jnp.ones(len(obs), jnp.int32), memory, {"log_prob": jnp.zeros(len(obs))}
        return jnp.full((len(obs), 3), 0.95), memory, {}


def test_noise_on_choices_has_the_probability_that_it_says():
    action, _, extras = Noisy(Second(CHOICES), CHOICES, 0.2).act(
        (), jnp.zeros((20_000, 2)), (), jax.random.PRNGKey(0)
    )
    share = np.bincount(action, minlength=4) / len(action)
    np.testing.assert_allclose(share, [0.05, 0.85, 0.05, 0.05], atol=0.01)
    probability = np.exp(extras["log_prob"])
    np.testing.assert_allclose(probability, np.where(action == 1, 0.85, 0.05), rtol=1e-5)


def test_noise_on_numbers_is_normal_and_stays_within_bounds():
    act = Noisy(Second(NUMBERS), NUMBERS, 0.1).act
    action, _, extras = act((), jnp.zeros((20_000, 2)), (), jax.random.PRNGKey(0))
    assert extras == {} and float(action.max()) == 1.0
    np.testing.assert_allclose(np.median(action), 0.95, atol=0.005)
    np.testing.assert_allclose(np.mean(action < 0.85), 0.159, atol=0.01)  # a deviation below


def test_random_actions_are_allowed_and_equally_likely():
    masks = jnp.tile(jnp.array([[1, 0, 1, 1]], jnp.int8), (30_000, 1))
    obs = {"obs": jnp.zeros((30_000, 2)), MASK: masks}
    action, _, extras = Uniform(CHOICES).act((), obs, (), jax.random.PRNGKey(0))
    np.testing.assert_allclose(np.bincount(action) / 30_000, [1 / 3, 0, 1 / 3, 1 / 3], atol=0.01)
    np.testing.assert_allclose(np.exp(extras["log_prob"]), 1 / 3, rtol=1e-6)


def test_medium_is_the_first_agent_nearest_to_the_middle():
    def medium(*values, low=100.0):
        kept = [Kept(i, (), value) for i, value in enumerate(values)]
        return qualities.middle(kept, low, max(values)).env_steps

    assert medium(100.0, 130.0, 145.0, 200.0) == 2  # 0, 30, 45, 100 %
    assert medium(100.0, 140.0, 141.0, 200.0) == 1  # both within: the first
    assert medium(100.0, 129.0, 156.0, 200.0) == 1  # 4.3 below a third, 6 above a half
    assert medium(100.0, 125.0, 152.0, 200.0) == 2
    assert qualities.normalised(150.0, {"random": 100.0, "expert": 300.0}) == 25.0


def test_agents_that_learned_nothing_are_refused():
    with pytest.raises(SettingsError, match="no agent is better than random actions: 20 at most"):
        qualities.best([Kept(0, (), 20.0)], 20.0, Request(EnvChoice("x"), "expert", 10))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(qualities, "POINTS", 8)
    monkeypatch.setattr(qualities, "FRESH", 8)


def asked(quality, steps=500, env="CartPole-v1", **more):
    options = {"algorithm": "ppo", "train_steps": 8_192, **more}
    return Request(EnvChoice(env), quality, steps, **options)


@pytest.mark.slow
def test_a_medium_expert_set_has_both_halves_and_is_the_same_again(tmp_path, quick):
    for name in ("a", "b"):
        generate(asked("medium-expert"), tmp_path / name)
    one, other = (store.opened(tmp_path / name) for name in ("a", "b"))
    one.check()
    assert one.rows == 500 and one.extras == ("action_prob",)
    origin = np.asarray(one.parts[0].columns["origin"])
    assert set(origin.tolist()) == set(range(16))
    starts = np.asarray(one.parts[0].columns["start"])
    assert starts[np.argmax(origin == 8)] == 250
    reference = one.card.reference
    assert reference["random"] < reference["medium"] <= reference["expert"]
    assert reference["medium_steps"] < reference["expert_steps"] <= 8_192
    assert "--quality medium-expert --steps 500 --seed 0 --train-steps 8192" in one.card.made
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name
    assert card.read(tmp_path / "a") == other.card
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_replay_set_is_what_was_done_before_the_agent_was_medium(tmp_path, quick):
    generate(asked("medium-replay", 100_000), tmp_path / "all")
    data = store.opened(tmp_path / "all")
    steps = data.at(np.arange(data.rows))
    before = data.card.reference["medium_steps"]
    # No more than the steps until then, and all but the last episode of each of 8 envs of them.
    assert before - 8 * 500 < data.rows <= before
    assert not steps["cut"].any() and (steps["terminated"] | steps["truncated"])[-1]
    generate(asked("medium-replay", 300), tmp_path / "some")
    some = store.opened(tmp_path / "some")
    assert 200 < some.rows <= 300
    whole = {x.tobytes() for x in steps["obs"]}
    assert all(x.tobytes() in whole for x in some.at(np.arange(some.rows))["obs"])


def test_random_sets_need_no_training_and_the_command_says_what_it_made(tmp_path, capsys):
    out = str(tmp_path / "data")
    words = ["data", "generate", "Pendulum-v1", out, "--quality", "random", "--steps", "400"]
    assert main.main(words) == 0
    said = capsys.readouterr().out
    assert "; of random actions -1" in said and "400 steps" in said
    data = store.opened(out)
    assert set(data.card.reference) == {"random"}
    assert abs(data.at(np.arange(400))["action"]).max() > 0.95
    assert main.main(words) == 2 and "exists" in capsys.readouterr().err
    words = ["data", "generate", "Pendulum-v1", str(tmp_path / "x"), "--quality", "good"]
    assert main.main(words) == 2
    assert "quality='good' must be one of random, medium" in capsys.readouterr().err
    words = ["data", "generate", "T-Maze", str(tmp_path / "x"), "--quality", "expert"]
    assert main.main([*words, "--algorithm", "r2d2"]) == 2
    assert "R2D2 does not learn from steps" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_an_interrupted_command_leaves_nothing(tmp_path):
    words = ["data", "generate", "CartPole-v1", "out", "--quality", "expert"]
    words += ["--train-steps", "100000000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "spinward", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 120
    while not any(tmp_path.rglob("metrics.jsonl")) and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] in (
        "spinward: stopped; no data set is written",
        "spinward: stopped at once; no file is left in part",  # while it compiles
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1", "gymnasium:CartPole-v1"])
def test_qualities_are_in_their_order(tmp_path, env):
    def mean(quality):
        steps = 20_000 if "Pendulum" in env else 30_000
        # Each half of 8 environments has whole episodes of the expert: 500 steps at most.
        made = generate(Request(EnvChoice(env), quality, 12_000, "", steps), tmp_path / quality)
        return made.statistics["returns"]["mean"]

    names = ("random", "medium", "medium-expert", "narrow")
    random, medium, both, narrow = map(mean, names)
    assert random < medium < both < narrow
