"""An environment, a reward, an algorithm and a source are one new file each, and no other line."""

import importlib
import json

import pytest

import spinward
from spinward.cli.main import main
from spinward.envs import ids

ENV = '''
"""Walks to the right."""
import jax.numpy as jnp
from spinward.core import Box, Discrete, Spec, config

NAMES = {"Brand-New": "BrandNew"}

@config
class BrandNew:
    length: int = 4  # steps to the end
    spec = Spec(Box((1,), 0, 9), Discrete(2))

    def reset(self, key):
        return jnp.int32(0), jnp.zeros(1)

    def step(self, state, action, key):
        state = state + action
        end = state >= self.length
        return state, jnp.float32(state)[None], jnp.float32(1.0), end, jnp.bool_(False)
'''
REWARD = '''
"""A number for every step."""
import jax.numpy as jnp
from spinward.core import ROLLOUT, config, replace

@config
class NewBonus:
    size: float = 2.0  # of each step

    def init(self, key, spec):
        return ()

    def label(self, state, batch, key, context=ROLLOUT):
        reward = jnp.full_like(batch.reward, self.size)
        return state, replace(batch, reward=reward), {"labelled": reward.mean()}
'''
SOURCE = '''
"""Every other step of a rollout."""
from typing import Any
import jax
from spinward.core import config
from spinward.experience.rollout import Rollout

@config
class EveryOther:
    source: Any

    @property
    def spec(self):
        return self.source.spec

    @property
    def stride(self):
        return self.source.stride

    def init(self, key, memory):
        return self.source.init(key, memory)

    def collect(self, state, policy, key):
        state, batch, metrics = self.source.collect(state, policy, key)
        return state, jax.tree.map(lambda x: x[::2], batch), metrics

@config
class Half:
    envs: int
    steps: int

    def source(self, env, data):
        return EveryOther(Rollout(env, self.envs, self.steps))
'''
ALGORITHM = '''
"""Chooses by a number that grows with the reward."""
import jax
import jax.numpy as jnp
from spinward.core import config, no_memory
from spinward.experience.every_other import Half
from spinward.learning.steps import Learner, adam, descend

@config
class NewWay:
    envs: int = 2  # environments stepped side by side
    rollout: int = 4  # steps of each between updates
    lr: float = 0.1  # Adam step size

    memory = staticmethod(no_memory)

    def check(self, spec):
        pass

    def wants(self, spec):
        return Half(self.envs, self.rollout)

    def init(self, key, spec):
        return Learner.init(jnp.float32(0.0), adam(self.lr))

    def act(self, agent, obs, memory, key, explore=True):
        right = jax.random.bernoulli(key, jax.nn.sigmoid(agent.model), obs.shape[:1])
        return right.astype(jnp.int32), memory, {}

    def update(self, agent, batch, key):
        rows = {"rows": jnp.float32(batch.reward.size)}
        loss = lambda model: (-model * batch.reward.mean(), {})
        agent, metrics = descend(loss, adam(self.lr), agent)
        return agent, {**metrics, **rows}
'''
FILES = {
    "envs": ("brand_new", ENV),
    "rewards": ("new_bonus", REWARD),
    "experience": ("every_other", SOURCE),
    "algorithms": ("new_way", ALGORITHM),
}


@pytest.fixture
def added(tmp_path, monkeypatch):
    """The package with a new file in each of four folders."""
    for folder, (name, text) in FILES.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.py").write_text(text)
        package = importlib.import_module(f"spinward.{folder}")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / folder)])
    ids.own_names.cache_clear()
    yield tmp_path
    ids.own_names.cache_clear()


def test_each_is_used_by_its_name_as_soon_as_its_file_is_there(added, capsys):
    words = ["train", "new-way", "Brand-New", "--reward", "new_bonus", "--steps", "64"]
    flags = ["--lr", "0.2", "--reward.size", "3", "--env.length", "5"]
    out = ["--out", str(added), "--name", "run"]
    assert main([*words, *flags, *out, "--debug"]) == 0
    config = json.loads((added / "run" / "config.json").read_text())
    assert config["env"] == {"name": "Brand-New", "settings": {"length": 5}}
    _, labelled = spinward.load(added / "run").curves("labelled")
    _, rows = spinward.load(added / "run").curves("rows")
    assert (labelled == 3.0).all() and (rows == 2 * 4 / 2).all()
    assert main(["evaluate", str(added / "run"), "--episodes", "2"]) == 0
    assert main(["explain", "new-way.lr"]) == 0
    capsys.readouterr()
    for command, name in (
        ("algorithms", "new_way"),
        ("rewards", "new_bonus"),
        ("envs", "Brand-New"),
    ):
        assert main([command]) == 0
        assert name in capsys.readouterr().out


def test_their_classes_are_public_names(added):
    assert spinward.NewWay().lr == 0.1 and spinward.NewBonus().size == 2.0
    assert {"NewWay", "NewBonus", "PPO", "train"} <= set(dir(spinward))
    with pytest.raises(AttributeError, match="no attribute 'Newest'"):
        _ = spinward.Newest


def test_public_names_are_those_of_files_and_all_can_be_imported():
    for name in dir(spinward):
        assert getattr(spinward, name) is not None
