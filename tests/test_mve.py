"""Targets that look some imagined steps ahead, on DDPG, TD3 and SAC."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_mbpo import SPEC, transitions, world
from twin import ALGORITHMS, assert_same, tiny

from spinward.core import replace
from spinward.envs.cartpole import CartPole
from spinward.errors import SettingsError
from spinward.models.expanded import Path, imagined_path
from spinward.presets.choice import preset
from spinward.run.run import train
from spinward.structs import shared
from spinward.targets.values import unrolled

MVE = ALGORITHMS["mve"]


@pytest.mark.parametrize("base", ["ddpg", "td3"])
def test_without_imagined_steps_it_is_the_base(base):
    mve = tiny(MVE, base=base, blend="fixed", ahead=0, critics=1, target_noise=0.0)
    plain = shared(ALGORITHMS[base], mve)
    agent, batches = mve.init(jax.random.key(0), SPEC), transitions(2, 1, 8)
    mine, told = jax.jit(mve.update)(agent, batches, jax.random.key(1))
    theirs, expected = jax.jit(plain.update)(agent.base, batches, jax.random.key(1))
    assert_same(mine.base, theirs, 1e-6)
    assert float(told["max_reward"]) == float(expected["max_reward"].max())
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (mine.base, agent.base)),
                                              strict=True))  # fmt: skip


def test_the_value_of_sac_has_its_entropy_and_the_smaller_critic():
    mve = tiny(MVE, base="sac", ahead=0, alpha=0.3)
    agent, first = mve.init(jax.random.key(0), SPEC), transitions(8, terminated=0.4)
    batch, _ = mve.expanded(agent, world([0.0, 0.0], [0, 1]), first, jax.random.key(5))
    k_path = jax.random.split(jax.random.key(5))[0]
    seen = jnp.stack([first.next_obs] * 2)  # the members, whose actions are sampled apart
    action, log_prob = agent.base.actor.model(seen).draw(jax.random.split(k_path)[1])
    value = (agent.base.target(seen, action).min(0) - 0.3 * log_prob).mean(0)
    expected = first.reward + mve.gamma * (1 - first.terminated) * value
    np.testing.assert_allclose(batch.reward, expected, rtol=1e-5)
    assert batch.terminated.all() and (unrolled_target(batch) == batch.reward).all()


def unrolled_target(batch):
    reward, discount, _ = unrolled(jax.tree.map(lambda x: x[None], batch), 0.99)
    assert (discount == 0).all()
    return reward


def valued(obs, key):
    """The action 0, a bonus of half, and the sum of what is seen as the value by both critics."""
    total = obs.sum(-1)
    return jnp.zeros((*obs.shape[:-1], 1)), jnp.full(total.shape, 0.5), jnp.stack([total, total])


def path_of(steps=2):
    first = replace(transitions(2), reward=jnp.array([10.0, 20.0]), next_obs=jnp.zeros((2, 2)),
                    terminated=jnp.array([False, True]))  # fmt: skip
    dream = world([1.0, 3.0], [0, 1], terminal=lambda obs: obs[..., 0] > 5.5)
    return first, imagined_path(dream, valued, first, steps, 0.9, jax.random.key(0))


def test_each_model_imagines_its_own_way_from_the_real_successor():
    _, path = path_of()
    assert path.value.shape == (3, 2, 2, 2)  # steps, critics, members, batch
    close = partial(np.testing.assert_allclose, atol=1e-5)
    close(path.obs[:, :, 0, 0], [[0, 0], [1, 3]])
    close(path.reward[:, :, 0], [[10, 10], [1.5, 3.5], [1.5, 3.5]])
    close(path.value[:, 0, :, 0], [[0.5, 0.5], [2.5, 6.5], [4.5, 12.5]])
    close(path.discount[:, :, 0], [[0.9, 0.9], [0.9, 0.9], [0.9, 0.0]])  # the second sees 6
    close(path.discount[0, :, 1], [0.0, 0.0])


def test_candidates_are_pooled_over_models_and_critics():
    _, path = path_of(steps=1)
    means, variance = tiny(MVE, ahead=1).pooled(path)
    short = 10 + 0.9 * 0.5
    ahead = [10 + 0.9 * r + 0.81 * v for r, v in ((1.5, 2.5), (3.5, 6.5))]
    np.testing.assert_allclose(means[:, 0], [short, np.mean(ahead)], rtol=1e-5)
    np.testing.assert_allclose(variance[:, 0], [0.0, np.var(ahead)], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(means[:, 1], [20, 20], rtol=1e-6)
    apart = path._replace(value=path.value.at[:, 1].add(2.0))
    lower = tiny(MVE, base="td3", ahead=1).pooled(apart)[0]
    np.testing.assert_allclose(lower, means, rtol=1e-6)
    middle = tiny(MVE, base="ddpg", ahead=1).pooled(apart)[0]
    np.testing.assert_allclose(middle[0, 0], short + 0.9, rtol=1e-6)


def test_values_at_imagined_states_are_fitted_to_what_follows():
    first, path = path_of()
    mve = tiny(MVE, base="td3", ahead=2, gamma=0.9)
    steps = mve.imagined_steps(path, first, jnp.int32(1))
    np.testing.assert_allclose(steps.obs[:, 0], [0, 0, 3, 3], atol=1e-5)
    # The action of an imagined step has its reward alone, without the bonus.
    np.testing.assert_allclose(steps.reward[::2], [3 + 0.9 * 3.5, 3.0], rtol=1e-5)
    np.testing.assert_allclose(steps.weight, [1, 0, 1, 0], atol=1e-6)
    assert steps.terminated.all() and not steps.truncated.any()


def test_the_blend_decides_whether_imagined_states_are_learned_from():
    first = transitions(8)
    for settings, rows in (({"blend": "fixed"}, 24), ({"blend": "uncertainty"}, 8),
                           ({"blend": "fixed", "fit_imagined": False}, 8)):  # fmt: skip
        mve = tiny(MVE, ahead=2, **settings)
        agent = mve.init(jax.random.key(0), SPEC)
        batch, told = mve.expanded(agent, world([0.0, 0.1], [0, 1]), first, jax.random.key(1))
        assert batch.reward.shape == (rows,)
        np.testing.assert_array_equal(batch.obs[:8], first.obs)
        horizon = float(told["mean_horizon"])
        assert horizon == 2.0 if settings["blend"] == "fixed" else 0.0 <= horizon < 2.0
    assert isinstance(path_of()[1], Path)


@pytest.mark.parametrize(
    ("settings", "spec", "said"),
    [
        ({"base": "ppo"}, SPEC, "base='ppo' must be one of ddpg, td3, sac"),
        ({"blend": "best"}, SPEC, "blend='best' must be one of fixed"),
        ({"base": "td3", "updates": 3}, SPEC, "updates=3 is no multiple of delay=2"),
        ({"models": 1}, SPEC, "have no spread"),
        ({}, CartPole().spec, "needs continuous actions"),
    ],
)
def test_what_cannot_work_is_refused(settings, spec, said):
    with pytest.raises(SettingsError, match=said):
        tiny(MVE, **settings).check(spec)


@pytest.mark.slow
def test_steve_learns_pendulum_in_four_thousand_steps(tmp_path):
    settings, _ = preset(MVE, "Pendulum-v1", 4000)
    run = train(MVE(**settings), "Pendulum-v1", 4000, 2, out=tmp_path, name="pendulum")
    assert run.evaluate(20).returns.mean(1).min() > -300.0
