"""Retrace and the transform of values: against sums of products, published formulas and limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.core import Transition, replace
from spinward.targets.retrace import cut_traces, greedy_probs, retrace, squashed, unsquashed
from spinward.targets.returns import lambda_return
from spinward.targets.values import n_step

TIME, ENVS, ACTIONS, GAMMA = 6, 4, 3, 0.9


@pytest.fixture(scope="module")
def steps():
    """Steps of four rows: one whole, one that terminates, one truncated, one with a lost step."""
    random = np.random.default_rng(0)
    flags = np.zeros((2, TIME, ENVS), bool)
    flags[0, 3, 1] = flags[1, 2, 2] = True
    weight = np.ones((TIME, ENVS), np.float32)
    weight[4, 3] = 0.0
    reward = random.normal(size=(TIME, ENVS)).astype(np.float32)
    action = random.integers(ACTIONS, size=(TIME, ENVS))
    batch = Transition(None, action, reward, flags[0], flags[1], None, weight, {})
    q, next_q = random.normal(size=(2, TIME, ENVS, ACTIONS)).astype(np.float32)
    return jax.tree.map(jnp.asarray, (batch, q, next_q))


def sums_of_products(batch, value, next_value, trace, gamma):
    """The equation as it is printed, in double precision."""
    target = np.array(value, np.float64)
    for t, e in np.ndindex(*target.shape):
        if batch.weight[t, e] == 0.0:
            continue
        discount = 1.0
        for s in range(t, len(target)):
            if batch.weight[s, e] == 0.0:
                break
            if s > t:
                discount *= gamma[s - 1, e] * trace[s, e]
            future = 0.0 if batch.terminated[s, e] else gamma[s, e] * next_value[s, e]
            target[t, e] += discount * (batch.reward[s, e] + future - value[s, e])
            if batch.terminated[s, e] or batch.truncated[s, e]:
                break
    return target


def of_action(q, action):
    return np.take_along_axis(np.asarray(q), np.asarray(action)[..., None], -1)[..., 0]


@pytest.mark.parametrize("lam", [0.0, 0.95, 1.0])
def test_retrace_is_its_sum_of_products_across_ends_of_episodes(steps, lam):
    batch, q, next_q = steps
    random = np.random.default_rng(1)
    behaviour = random.uniform(0.2, 1.0, size=(TIME, ENVS)).astype(np.float32)
    gamma = random.uniform(0.8, 1.0, size=(TIME, ENVS)).astype(np.float32)
    probs = jax.nn.softmax(q)
    trace = cut_traces(probs, batch.action, behaviour, lam)
    ratio = of_action(probs, batch.action) / behaviour
    np.testing.assert_allclose(trace, lam * np.minimum(ratio, 1.0), rtol=1e-5)
    value, next_value = of_action(q, batch.action), np.asarray((probs * next_q).sum(-1))
    found = retrace(batch, jnp.asarray(value), jnp.asarray(next_value), trace, gamma)
    wanted = sums_of_products(batch, value, next_value, np.asarray(trace), gamma)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_retrace_of_three_steps_is_these_numbers():
    row = jnp.array([[1.0], [2.0], [3.0]])
    off = jnp.zeros((3, 1), bool)
    batch = Transition(None, None, row, off, off, None, jnp.ones((3, 1)), {})
    value, following = jnp.array([[0.5], [1.0], [2.0]]), jnp.array([[1.0], [2.0], [4.0]])
    trace = jnp.array([[0.7], [0.5], [0.25]])
    # deltas 1 + .5 - .5 = 1, 2 + 1 - 1 = 2, 3 + 2 - 2 = 3; corrections 3, 2 + .5 * .25 * 3 = 2.375
    # and 1 + .5 * .5 * 2.375 = 1.59375
    found = retrace(batch, value, following, trace, 0.5)
    np.testing.assert_allclose(found[:, 0], [2.09375, 3.375, 5.0], rtol=1e-6)


def test_without_traces_it_is_one_step_of_expected_sarsa(steps):
    batch, q, next_q = steps
    value, following = of_action(q, batch.action), next_q.mean(-1)
    found = retrace(batch, jnp.asarray(value), following, jnp.zeros((TIME, ENVS)), GAMMA)
    target = batch.reward + GAMMA * jnp.where(batch.terminated, 0.0, following)
    np.testing.assert_allclose(found, jnp.where(batch.weight > 0, target, value), atol=1e-5)


def test_on_policy_with_full_traces_it_is_the_n_step_return(steps):
    """Values of actions that are all alike are those of states, and delta then telescopes."""
    batch, q, _ = steps
    batch = replace(batch, weight=jnp.ones((TIME, ENVS)))
    value = q[..., 0]
    inside = jnp.concatenate([value[1:], q[:1, :, 1]])
    following = jnp.where(batch.truncated, 0.3, inside)
    full = cut_traces(jnp.full(q.shape, 1 / 3), batch.action, jnp.float32(1 / 3), 1.0)
    found = retrace(batch, value, following, full, GAMMA)
    np.testing.assert_allclose(found[0], n_step(batch, following, GAMMA), atol=1e-5)
    np.testing.assert_allclose(found, lambda_return(batch, following, GAMMA, 1.0), atol=1e-5)
    part = retrace(batch, value, following, 0.7 * full, GAMMA)
    np.testing.assert_allclose(part, lambda_return(batch, following, GAMMA, 0.7), atol=1e-5)


def test_under_a_greedy_policy_it_is_watkins_q_lambda(steps):
    """A trace of lambda up to the first action that is not greedy, and none beyond."""
    batch, q, next_q = steps
    off = jnp.zeros((TIME, ENVS), bool)
    batch = replace(batch, terminated=off, truncated=off, weight=jnp.ones((TIME, ENVS)))
    greedy = q.argmax(-1)
    action = greedy.at[2, 0].set((greedy[2, 0] + 1) % ACTIONS)
    batch = replace(batch, action=action)
    trace = cut_traces(greedy_probs(q, 0.0), action, jnp.float32(0.5), 0.8)
    np.testing.assert_allclose(trace[:, 1], 0.8)
    assert trace[2, 0] == 0.0
    value, following = jnp.asarray(of_action(q, action)), next_q.max(-1)
    found = retrace(batch, value, following, trace, GAMMA)
    changed = replace(batch, reward=batch.reward.at[2:].add(5.0))
    moved = retrace(changed, value, following, trace, GAMMA) != found
    assert moved[2:].all() and moved[:2, 1].all() and not moved[:2, 0].any()


def test_the_transform_is_the_published_one_and_its_inverse_undoes_it():
    z = np.array([0.0, 0.1, 1.0, 10.0, 1e3])
    z = np.concatenate([z, -z])
    h = np.sign(z) * (np.sqrt(np.abs(z) + 1) - 1) + 1e-3 * z
    np.testing.assert_allclose(squashed(jnp.float32(z)), h, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(squashed(jnp.float32(10.0)), 2.3266248, rtol=1e-6)
    np.testing.assert_allclose(unsquashed(squashed(jnp.float32(z))), z, rtol=2e-6, atol=1e-6)
    e, x = 1e-3, np.linspace(-40, 40, 81)
    root = (np.sqrt(1 + 4 * e * (np.abs(x) + 1 + e)) - 1) / (2 * e)
    published = np.sign(x) * (root**2 - 1)
    np.testing.assert_allclose(unsquashed(jnp.float32(x)), published, rtol=1e-5, atol=1e-5)


def test_greedy_probabilities_sum_to_one_and_spread_epsilon():
    found = greedy_probs(jnp.array([1.0, 3.0, 2.0]), 0.3)
    np.testing.assert_allclose(found, [0.1, 0.8, 0.1], rtol=1e-6)
    q, share = jnp.array([[1.0, 3.0, -1e9], [2.0, 1.0, 0.0]]), jnp.array([0.2, 0.0])
    found = greedy_probs(q, share, jnp.array([[1, 1, 0], [1, 1, 1]]))
    np.testing.assert_allclose(found, [[0.1, 0.9, 0.0], [1.0, 0.0, 0.0]], rtol=1e-6)
