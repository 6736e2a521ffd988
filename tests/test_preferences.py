"""Losses of comparisons, advantages of groups, estimates of a divergence, and shares of tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.losses.divergence import k1, k2, k3
from spinward.losses.policy import clipped_surrogate, proportional
from spinward.losses.preference import bradley_terry, dpo, ipo, ranking
from spinward.losses.tokens import average, shares, total
from spinward.targets.groups import group_advantage, leave_one_out


def test_the_loss_of_a_comparison_is_that_of_its_odds():
    better, worse = jnp.array([1.0, -2.0, 0.5]), jnp.array([0.0, 1.0, 0.5])
    odds = np.exp(better) / (np.exp(better) + np.exp(worse))
    np.testing.assert_allclose(bradley_terry(better, worse), -np.log(odds), rtol=1e-6)
    mixed = -0.9 * np.log(odds) - 0.1 * np.log(1.0 - odds)
    np.testing.assert_allclose(bradley_terry(better, worse, 0.1), mixed, rtol=1e-6)
    slope = jax.grad(lambda h: bradley_terry(h, 0.0))(jnp.float32(0.7))
    np.testing.assert_allclose(slope, -1.0 / (1.0 + np.exp(0.7)), rtol=1e-6)  # -sigmoid(-h)


def test_a_ranking_is_the_mean_over_its_pairs():
    scores = jnp.array([[2.0, 0.5, -1.0], [0.0, 3.0, 1.0]])
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = np.mean([bradley_terry(scores[:, i], scores[:, j]) for i, j in pairs], 0)
    np.testing.assert_allclose(ranking(scores), expected, rtol=1e-6)


def test_dpo_is_log_2_where_the_policies_are_one_and_turns_over_with_its_texts():
    assert float(dpo(jnp.float32(0.0), jnp.float32(0.0), 0.3)) == pytest.approx(np.log(2), abs=1e-7)
    slope = jax.grad(lambda a, b: dpo(a, b, 0.5), (0, 1))(jnp.float32(1.0), jnp.float32(2.0))
    np.testing.assert_allclose(slope[0], -slope[1], rtol=1e-6)
    np.testing.assert_allclose(slope[0], -0.5 / (1.0 + np.exp(0.5 * (1.0 - 2.0))), rtol=1e-6)


def test_ipo_is_the_square_of_the_margin_short_of_its_goal():
    np.testing.assert_allclose(ipo(jnp.float32(3.0), jnp.float32(1.0), 0.25), 0.0, atol=1e-7)
    np.testing.assert_allclose(ipo(jnp.float32(1.0), jnp.float32(1.5), 0.25), 2.5**2, rtol=1e-6)


def test_dpo_on_all_pairs_ends_at_the_policy_that_the_scores_ask_for():
    """pi ~ ref exp(r / beta), for three answers (Rafailov et al., 2023, (4))."""
    reward, beta = jnp.array([0.4, 0.0, -0.3]), 0.5
    ref = jnp.log(jnp.array([0.2, 0.5, 0.3]))
    first, second = jnp.triu_indices(3, 1)
    odds = jax.nn.sigmoid(reward[first] - reward[second])  # that the first of a pair is chosen

    def loss(logits):
        away = jax.nn.log_softmax(logits) - ref
        right, wrong = dpo(away[first], away[second], beta), dpo(away[second], away[first], beta)
        return (odds * right + (1.0 - odds) * wrong).sum()

    logits, _ = jax.lax.scan(lambda x, _: (x - 2.0 * jax.grad(loss)(x), None), ref, length=2000)
    np.testing.assert_allclose(
        jax.nn.softmax(logits), jax.nn.softmax(ref + reward / beta), atol=1e-3
    )


def test_the_estimates_of_a_divergence_have_its_mean_and_each_its_own_gradient():
    key = jax.random.key(0)
    ref = jnp.log(jnp.array([0.4, 0.3, 0.2, 0.1]))
    logits = jnp.array([0.3, -0.2, 0.1, 0.6])

    def kl(p, q):
        return (jnp.exp(p) * (p - q)).sum()

    pi = jax.nn.log_softmax(logits)
    action = jax.random.categorical(key, logits, shape=(1_000_000,))
    for estimate in (k1, k3):
        values = np.asarray(estimate((pi - ref)[action]), np.float64)
        assert abs(values.mean() - float(kl(pi, ref))) < 3 * values.std() / 1000
    assert (np.asarray(k3((pi - ref)[action])) >= 0).all()

    def loss(logits, estimate):  # its mean over actions that were chosen before
        log_pi = jax.nn.log_softmax(logits)
        return (jax.lax.stop_gradient(jnp.exp(log_pi)) * estimate(log_pi - ref)).sum()

    slope = {e: jax.grad(loss)(logits, e) for e in (k1, k2, k3)}
    towards = jax.grad(lambda x: kl(jax.nn.log_softmax(x), ref))(logits)
    other = jax.grad(lambda x: kl(ref, jax.nn.log_softmax(x)))(logits)
    np.testing.assert_allclose(slope[k1], 0.0, atol=1e-6)
    np.testing.assert_allclose(slope[k2], towards, atol=1e-6)
    np.testing.assert_allclose(slope[k3], other, atol=1e-6)


def test_advantages_of_a_group_are_by_hand():
    score = jnp.array([1.0, 2.0, 3.0, 6.0, 5.0, 5.0, 5.0, 5.0])
    centred = np.array([-2.0, -1.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0])
    deviation = np.sqrt(14.0 / 3.0)
    np.testing.assert_allclose(group_advantage(score, 4, False), centred, atol=1e-6)
    np.testing.assert_allclose(group_advantage(score, 4), centred / (deviation + 1e-4), atol=1e-6)
    np.testing.assert_allclose(leave_one_out(score, 4), centred * 4 / 3, atol=1e-6)
    for advantage in (group_advantage, leave_one_out):
        np.testing.assert_allclose(advantage(score + 7.0, 4), advantage(score, 4), atol=1e-5)
    assert np.isfinite(jax.grad(lambda s: group_advantage(s, 4).sum())(score)).all()


def test_tokens_have_the_shares_that_the_aggregation_says():
    weight = jnp.array([[1.0, 0.0], [1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(shares(weight, "token", 8)[:, 0], 1 / 6)
    sequence = shares(weight, "sequence", 8)
    np.testing.assert_allclose(sequence[:, 0], 1 / 8)
    np.testing.assert_allclose(sequence[:, 1], [0.0, 1 / 4, 1 / 4, 0.0])
    np.testing.assert_allclose(shares(weight, "constant", 8), weight / 16)
    values = jnp.arange(8.0).reshape(4, 2)
    np.testing.assert_allclose(total(values, weight), [12.0, 8.0])
    np.testing.assert_allclose(average(values, weight), [3.0, 4.0])


def test_the_upper_bound_of_the_ratio_can_be_another():
    slope = jax.grad(clipped_surrogate)
    inside, outside = jnp.log(jnp.float32(1.25)), jnp.log(jnp.float32(1.3))
    assert slope(inside, 1.0, 0.2) == 0.0 and slope(inside, 1.0, 0.2, 0.28) != 0.0
    assert slope(outside, 1.0, 0.2, 0.28) == 0.0
    assert slope(jnp.log(jnp.float32(0.79)), -1.0, 0.2, 0.28) == 0.0


def test_the_price_of_a_nat_follows_the_distance_by_a_fifth_at_most():
    found = [float(proportional(0.1, kl, 6.0, 0.5)) for kl in (6.0, 6.6, 60.0, 0.0)]
    np.testing.assert_allclose(found, [0.1, 0.105, 0.11, 0.09], rtol=1e-6)
