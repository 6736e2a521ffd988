"""Adapters of other packages' JAX environments: spaces, ends and time limits. What needs a package
is tested where it is installed."""

import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

from spinward.core import Box, Dict, Discrete
from spinward.envs import brax, ids
from spinward.envs.check import check
from spinward.errors import SettingsError

KEY = jax.random.PRNGKey(0)


class Theirs(NamedTuple):
    obs: object
    reward: object
    done: object


class Falls:
    """A robot of no package: it falls at an action above 0.5."""

    observation_size, action_size = {"state": (3,), "privileged_state": 2}, 4

    def reset(self, key):
        obs = {"state": jnp.zeros(3), "privileged_state": jnp.ones(2)}
        return Theirs(obs, jnp.float32(0), jnp.float32(0))

    def step(self, state, action):
        return state._replace(reward=action.sum(), done=(action[0] > 0.5).astype(jnp.float32))


def test_a_robot_falls_or_is_late_and_its_time_is_ours():
    spec = brax.spec_of(Falls())
    low, high = float("-inf"), float("inf")
    boxes = (("privileged", Box((2,), low, high)), ("state", Box((3,), low, high)))
    assert spec.obs == Dict(boxes) and spec.action == Box((4,), -1.0, 1.0)
    state, obs = brax.reset(Falls(), KEY)
    assert obs["privileged"].tolist() == [1, 1] and state.time == 0
    stand, fall = jnp.zeros(4), jnp.ones(4)
    for time, action, ends in ((1, stand, (0, 0)), (2, stand, (0, 1)), (3, fall, (1, 0))):
        state, obs, reward, over, late = brax.step(Falls(), 2, state, action)
        assert (int(state.time), float(reward)) == (time, float(action.sum()))
        assert (int(over), int(late)) == ends  # a fall at the limit is a fall


def test_a_time_limit_of_no_step_is_refused():
    with pytest.raises(SettingsError, match="limit=0 must be at least 1"):
        brax.Brax("ant", limit=0).check()


@pytest.mark.parametrize(
    ("name", "package", "steps"),
    [
        ("brax:inverted_pendulum", "brax", 60),
        ("playground:CartpoleBalance", "mujoco_playground", 20),
        ("craftax:Craftax-Classic-Symbolic-v1", "craftax", 60),
        ("navix:Navix-Empty-5x5-v0", "navix", 250),
    ],
)
def test_environments_keep_to_the_protocol(name, package, steps):
    pytest.importorskip(package, exc_type=ImportError)
    assert [f for f in check(ids.make(name), steps=steps) if not f.ok] == []


@pytest.mark.parametrize(
    ("name", "package", "error"),
    [
        ("brax:nothing", "brax", "no environment 'nothing' in Brax"),
        ("playground:CartpoleBalanced", "mujoco_playground", "the nearest are CartpoleBalance"),
        ("craftax:Craftax-v0", "craftax", "no environment 'Craftax-v0' in Craftax"),
        ("navix:Navix-Empty-5x5", "navix", "the nearest are Navix-Empty-5x5-v0"),
    ],
)
def test_unknown_names_are_refused_by_one_line(name, package, error):
    pytest.importorskip(package, exc_type=ImportError)
    with pytest.raises(SettingsError, match=error):
        ids.make(name).spec  # noqa: B018


def test_brax_pole_falls_and_its_time_limit_is_a_setting():
    pytest.importorskip("brax", exc_type=ImportError)
    env = ids.make("brax:inverted_pendulum", {"limit": 3})
    assert env.spec.obs.shape == (4,) and env.spec.action == Box((1,), -1.0, 1.0)
    state, _ = jax.jit(env.reset)(KEY)
    ends = []
    for _ in range(3):
        state, _, reward, over, late = jax.jit(env.step)(state, jnp.zeros(1), KEY)
        ends.append((bool(over), bool(late)))
        assert float(reward) == 1.0
    assert ends == [(False, False), (False, False), (False, True)]


def test_playground_settings_are_those_of_its_configuration():
    pytest.importorskip("mujoco_playground", exc_type=ImportError)
    assert ids.make("playground:CartpoleBalance").limit == 1000
    assert ids.make("playground:CartpoleBalance", {"episode_length": 7}).limit == 7
    with pytest.raises(SettingsError, match="has no setting 'episodes'"):
        ids.make("playground:CartpoleBalance", {"episodes": 7}).spec  # noqa: B018


def test_craftax_dies_or_is_late():
    pytest.importorskip("craftax", exc_type=ImportError)
    env = ids.make("craftax:Craftax-Classic-Symbolic-v1")
    assert env.limit == 10_000 and env.spec.action == Discrete(17)
    state, _ = jax.jit(env.reset)(KEY)
    stay, step = jnp.int32(0), jax.jit(env.step)
    *_, over, late = step(state.replace(timestep=9_999), stay, KEY)
    assert not over and late
    dead = state.replace(player_health=0, timestep=9_999)
    *_, over, late = step(dead, stay, KEY)
    assert over and not late
    *_, over, late = step(state, stay, KEY)
    assert not over and not late


def test_navix_pays_at_the_goal_and_is_late_after_its_limit():
    pytest.importorskip("navix", exc_type=ImportError)
    env = ids.make("navix:Navix-Empty-5x5-v0")
    assert env.spec.action == Discrete(7) and env.limit == 100
    assert env.spec.obs == Box((5, 5, 3), 0.0, 8.0, "uint8")
    state, _ = jax.jit(env.reset)(KEY)
    step = jax.jit(env.step)
    *_, over, late = step(state.replace(t=jnp.int32(99)), jnp.int32(0), KEY)
    assert late and not over
    ahead, right = 2, 1
    for action in (ahead, ahead, right, ahead, ahead):
        state, _, reward, over, late = step(state, jnp.int32(action), KEY)
    assert over and not late and float(reward) > 0.0


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    from spinward.envs import craftax, navix

    packages = ("brax", "brax.envs", "craftax", "craftax.craftax_env", "navix", "mujoco_playground")
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)
    for read, extra in ((craftax.made, "craftax"), (brax.brax_env, "brax")):
        with pytest.raises(SettingsError, match=rf"pip install -e '.\[{extra}\]'"):
            read(*("missing",) if read is craftax.made else ("missing", ()))
    for read, extra in ((navix.made, "navix"), (brax.playground_env, "playground")):
        with pytest.raises(SettingsError, match=rf"pip install -e '.\[{extra}\]'"):
            read("missing", ())
