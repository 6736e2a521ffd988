"""The probes pay and end exactly as their one-line rules say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.core import Box, Discrete, Env
from spinward.envs import probe

KEYS = jax.random.split(jax.random.key(0), 1000)
PROBES = [
    probe.ProbeValue(),
    probe.ProbeBackprop(),
    probe.ProbeDiscount(),
    probe.ProbeAction(),
    probe.ProbeBoth(),
    probe.ProbeActionContinuous(),
    probe.ProbeBothContinuous(),
    probe.ProbeTruncated(),
]


def episodes(env, actions):
    """First observations, rewards and both flags of the first step, for a thousand resets."""
    state, obs = jax.vmap(env.reset)(KEYS)
    _, _, *answers = jax.jit(jax.vmap(env.step))(state, actions, KEYS)
    return [np.asarray(x) for x in (obs[:, 0], *answers)]


def assert_is_a_fair_coin(obs):
    assert set(obs.tolist()) == {-1.0, 1.0}
    assert abs(obs.mean()) < 0.1


def assert_over_in_one_step(terminated, truncated):
    assert terminated.all()
    assert not truncated.any()


@pytest.mark.parametrize("env", PROBES, ids=[type(env).__name__ for env in PROBES])
def test_types_do_not_change_from_reset_to_step(env):
    assert isinstance(env, Env)
    state, obs = env.reset(KEYS[0])
    action = jnp.zeros(env.spec.action.shape)
    after, next_obs, reward, terminated, truncated = env.step(state, action, KEYS[1])
    assert obs.shape == next_obs.shape == env.spec.obs.shape == (1,)
    assert obs.dtype == next_obs.dtype == reward.dtype == jnp.float32
    assert terminated.dtype == truncated.dtype == jnp.bool_
    assert jax.tree.map(jnp.result_type, state) == jax.tree.map(jnp.result_type, after)


def test_value_probe_pays_one_at_once():
    obs, reward, *flags = episodes(probe.ProbeValue(), jnp.zeros(1000, jnp.int32))
    assert probe.ProbeValue().spec.action == Discrete(1)
    assert (obs == 0.0).all()
    assert (reward == 1.0).all()
    assert_over_in_one_step(*flags)


def test_backprop_probe_pays_what_is_seen():
    obs, reward, *flags = episodes(probe.ProbeBackprop(), jnp.zeros(1000, jnp.int32))
    assert_is_a_fair_coin(obs)
    assert (reward == obs).all()
    assert_over_in_one_step(*flags)


def test_discount_probe_pays_one_at_its_second_step():
    env = probe.ProbeDiscount()
    state, first = env.reset(KEYS[0])
    state, second, reward_1, terminated_1, truncated_1 = env.step(state, 0, KEYS[1])
    _, _, reward_2, terminated_2, truncated_2 = env.step(state, 0, KEYS[2])
    assert (float(first[0]), float(second[0])) == (0.0, 1.0)
    assert (float(reward_1), float(reward_2)) == (0.0, 1.0)
    assert (bool(terminated_1), bool(terminated_2)) == (False, True)
    assert not truncated_1
    assert not truncated_2


def test_action_probe_pays_for_action_one():
    actions = jnp.arange(1000) % 2
    obs, reward, *flags = episodes(probe.ProbeAction(), actions)
    assert probe.ProbeAction().spec.action == Discrete(2)
    assert (obs == 0.0).all()
    np.testing.assert_array_equal(reward, np.where(actions == 1, 1.0, -1.0))
    assert_over_in_one_step(*flags)


def test_both_probe_pays_for_the_action_that_matches_the_sign():
    actions = jnp.arange(1000) % 2
    obs, reward, *flags = episodes(probe.ProbeBoth(), actions)
    assert_is_a_fair_coin(obs)
    np.testing.assert_array_equal(reward, (2.0 * actions - 1.0) * obs)
    assert_over_in_one_step(*flags)


def test_continuous_action_probe_is_best_at_a_half():
    actions = jnp.linspace(-1.0, 1.0, 1000)[:, None]
    obs, reward, *flags = episodes(probe.ProbeActionContinuous(), actions)
    assert probe.ProbeActionContinuous().spec.action == Box((1,), -1.0, 1.0)
    assert (obs == 0.0).all()
    np.testing.assert_allclose(reward, -((np.linspace(-1, 1, 1000) - 0.5) ** 2), atol=1e-6)
    assert_over_in_one_step(*flags)


def test_continuous_both_probe_is_best_at_half_of_what_is_seen():
    actions = jnp.linspace(-1.0, 1.0, 1000)[:, None]
    obs, reward, *flags = episodes(probe.ProbeBothContinuous(), actions)
    assert_is_a_fair_coin(obs)
    np.testing.assert_allclose(reward, -((np.linspace(-1, 1, 1000) - 0.5 * obs) ** 2), atol=1e-6)
    assert_over_in_one_step(*flags)


@pytest.mark.parametrize("limit", [10, 4])
def test_truncated_probe_pays_one_until_it_is_cut_off_with_its_clock_hidden(limit):
    env = probe.ProbeTruncated(limit=limit)
    assert probe.ProbeTruncated().limit == 10
    state, first = env.reset(KEYS[0])
    flags = []
    for _ in range(limit):
        state, obs, reward, terminated, truncated = env.step(state, 0, KEYS[1])
        assert float(obs[0]) == float(first[0]) == 0.0
        assert float(reward) == 1.0
        assert not terminated
        flags.append(bool(truncated))
    assert flags == [False] * (limit - 1) + [True]
