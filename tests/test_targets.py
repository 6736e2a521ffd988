"""Advantages and n-step values against literals and slow twins in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.core import Transition
from spinward.targets.advantages import endless, gae
from spinward.targets.values import n_step

NO = (False, False, False)
SECOND = (False, True, False)


def batch_of(reward, terminated, truncated, weight=None):
    reward = np.asarray(reward, np.float32)
    weight = np.ones_like(reward) if weight is None else np.asarray(weight, np.float32)
    empty = np.zeros_like(reward)
    flags = np.asarray(terminated), np.asarray(truncated)
    return jax.tree.map(
        jnp.asarray, Transition(empty, empty, reward, *flags, empty, weight, extras={})
    )


def random_batch(seed, shape=(40, 6)):
    random = np.random.default_rng(seed)
    reward, value, next_value = random.normal(size=(3, *shape)).astype(np.float32)
    terminated = random.random(shape) < 0.15
    truncated = (random.random(shape) < 0.15) & ~terminated
    weight = (random.random(shape) < 0.9).astype(np.float32)
    return batch_of(reward, terminated, truncated, weight), value, next_value


@pytest.mark.parametrize(
    ("terminated", "truncated", "after", "lam", "expected"),
    [
        (NO, NO, 0.3, 0.8, (1.927616, 1.4828, 2.24)),
        (SECOND, NO, 0.3, 0.8, (0.572, -0.4, 2.24)),
        (NO, SECOND, 0.7, 0.8, (1.0256, 0.23, 2.24)),
        (NO, NO, 0.3, 1.0, (2.5574, 1.886, 2.24)),
        (NO, NO, 0.3, 0.0, (0.86, -0.13, 2.24)),
    ],
    ids=["no end", "terminated", "truncated at a state worth 0.7", "lambda 1", "lambda 0"],
)
def test_gae_of_three_steps_is_what_was_worked_out_by_hand(
    terminated, truncated, after, lam, expected
):
    batch = batch_of((1, 0, 2), terminated, truncated)
    value, next_value = jnp.array([0.5, 0.4, 0.3]), jnp.array([0.4, after, 0.6])
    advantage = gae(batch, value, next_value, 0.9, lam)
    np.testing.assert_allclose(advantage, expected, atol=1e-6)


def test_a_life_goes_on_with_the_first_state_of_the_next_episode():
    batch = batch_of((1, 0, 2), (False, True, False), (False, False, True))
    value, next_value = jnp.array([0.5, 0.4, 0.3]), jnp.array([0.4, 0.9, 0.6])
    whole, after = endless(batch, value, next_value)
    assert not whole.terminated.any() and not whole.truncated.any()
    np.testing.assert_allclose(after, [0.4, 0.3, 0.4], atol=1e-6)  # the last: the mean
    last = 2 + 0.9 * 0.4 - 0.3
    middle = 0 + 0.9 * 0.3 - 0.4 + 0.9 * 0.5 * last
    advantage = gae(whole, value, after, 0.9, 0.5)
    np.testing.assert_allclose(advantage[1:], [middle, last], atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_gae_is_the_slow_sum_for_random_flags_and_weights(seed):
    batch, value, next_value = random_batch(seed)
    gamma, lam = 0.97, 0.9
    expected = np.zeros_like(value)
    for env in range(value.shape[1]):
        for start in range(len(value)):
            if batch.weight[start, env] == 0:
                continue
            factor = 1.0
            for t in range(start, len(value)):  # the sum of deltas, as (16) of the paper has it
                if batch.weight[t, env] == 0:
                    break
                worth = 0.0 if batch.terminated[t, env] else next_value[t, env]
                delta = batch.reward[t, env] + gamma * worth - value[t, env]
                expected[start, env] += factor * delta
                if batch.terminated[t, env] or batch.truncated[t, env]:
                    break
                factor *= gamma * lam
    np.testing.assert_allclose(gae(batch, value, next_value, gamma, lam), expected, atol=1e-5)


def test_a_step_without_weight_has_no_advantage_and_passes_none_back():
    weighted = batch_of((1, 0, 2), NO, NO, (1, 0, 1))
    value, next_value = jnp.array([0.5, 0.4, 0.3]), jnp.array([0.4, 0.3, 0.6])
    advantage = gae(weighted, value, next_value, 0.9, 0.8)
    np.testing.assert_allclose(advantage, (0.86, 0.0, 2.24), atol=1e-6)


@pytest.mark.parametrize("window", [1, 3, 5])
def test_n_step_target_is_the_brute_force_sum_for_random_flags(window):
    batch, _, next_value = random_batch(window, (window, 300))
    gamma = 0.9
    expected = np.zeros(300)
    ends = {"terminated": 0, "truncated": 0, "full": 0}
    for i in range(300):
        for k in range(window):
            expected[i] += gamma**k * batch.reward[k, i]
            if batch.terminated[k, i]:
                ends["terminated"] += 1
                break
            if batch.truncated[k, i] or k == window - 1:
                expected[i] += gamma ** (k + 1) * next_value[k, i]
                ends["truncated" if batch.truncated[k, i] else "full"] += 1
                break
    assert min(ends.values()) > 10, ends
    np.testing.assert_allclose(n_step(batch, next_value, gamma), expected, atol=1e-5)


def test_n_step_target_of_two_windows_is_what_was_worked_out_by_hand():
    flags = np.array([[False, False], [False, True], [False, False]])
    batch = batch_of([[1, 1], [2, 2], [4, 4]], np.zeros((3, 2), bool), flags)
    next_value = jnp.array([[100.0, 100], [100, 8], [16, 100]])
    expected = (1 + 0.5 * 2 + 0.25 * 4 + 0.125 * 16, 1 + 0.5 * 2 + 0.25 * 8)
    np.testing.assert_allclose(n_step(batch, next_value, 0.5), expected, atol=1e-6)


def test_no_gradient_flows_through_an_n_step_target():
    batch, _, next_value = random_batch(0, (3, 5))
    slope = jax.grad(lambda v: n_step(batch, v, 0.9).sum())(jnp.asarray(next_value))
    np.testing.assert_array_equal(slope, np.zeros((3, 5)))
