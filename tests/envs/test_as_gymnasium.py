"""Our environments behind Gymnasium's interfaces step as they do by themselves."""

import warnings

import jax
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from twin import Clock

import spinward as sw
from spinward.envs import ids
from spinward.envs.as_gymnasium import AsGymnasium, AsVectorEnv
from spinward.errors import SettingsError


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "MinAtar-Breakout"])
def test_gymnasium_finds_nothing_wrong_with_it(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(AsGymnasium(name), skip_render_check=True)


def test_it_steps_as_the_environment_does(name="Pendulum-v1"):
    env, ours = AsGymnasium(name), ids.make(name)
    obs, _ = env.reset(seed=3)
    assert (env.reset(seed=3)[0] == obs).all() and (env.reset(seed=4)[0] != obs).any()
    for _ in range(5):
        state, action = env.state, env.action_space.sample()
        seen, reward, terminated, truncated, _ = env.step(action)
        _, expected, paid, *_ = ours.step(state, action, jax.random.PRNGKey(0))
        np.testing.assert_allclose(seen, expected, rtol=1e-5)
        assert reward == pytest.approx(float(paid), rel=1e-5) and not (terminated or truncated)
        assert env.observation_space.contains(seen)


def test_many_of_them_begin_anew_in_the_step_after_their_end():
    """`Clock` ends after 3 steps if the third action is 1, and else after 5."""
    envs = AsVectorEnv(Clock(), 2)
    obs, _ = envs.reset(seed=0)
    assert obs.shape == (2, 2) and envs.action_space.shape == (2,)
    told = []
    for _ in range(7):
        obs, reward, terminated, truncated, _ = envs.step(np.array([1, 0]))
        told.append((obs[:, 0].tolist(), reward.tolist(), terminated.tolist(), truncated.tolist()))
    first = [([1, 1], [1.5, 1]), ([2, 2], [2.5, 2]), ([3, 3], [3.5, 3]), ([0, 4], [0, 4])]
    assert [x[:2] for x in told] == [
        *first,
        ([1, 5], [1.5, 5]),
        ([2, 0], [2.5, 0]),
        ([3, 1], [3.5, 1]),
    ]
    assert [x[2] for x in told] == [[i in (2, 6), False] for i in range(7)]
    assert [x[3] for x in told] == [[False, i == 4] for i in range(7)]


def test_a_policy_of_a_run_acts_in_it(tmp_path):
    run = sw.train(sw.PPO(envs=2, rollout=8, hidden=(4,)), "CartPole-v1", 64, out=tmp_path, logs=2)
    env, policy = sw.AsGymnasium("CartPole-v1", render_mode="rgb_array", limit=7), run.policy()
    obs, _ = env.reset(seed=0)
    lengths = 0
    while True:
        obs, _, terminated, truncated, _ = env.step(policy(obs))
        lengths += 1
        if terminated or truncated:
            break
    assert lengths <= 7 and env.render().dtype == np.uint8


def test_what_is_not_in_jax_is_refused():
    with pytest.raises(SettingsError, match="no environment in JAX"):
        AsGymnasium("gymnasium:CartPole-v1")
