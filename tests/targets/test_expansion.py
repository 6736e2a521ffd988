"""Targets with imagined steps: by hand, and on the toy chain of STEVE's authors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.experiments.toy_chain import errors
from spinward.targets.expansion import (
    candidates,
    from_each_step,
    lambda_weights,
    reach,
    uncertainty_weights,
)


def test_candidates_are_what_was_worked_out_by_hand():
    reward, value = jnp.array([1.0, 2.0, 3.0]), jnp.array([10.0, 20.0, 30.0])
    discount = 0.9 * jnp.array([1.0, 0.5, 1.0])  # step 1 ends the episode every other time
    expected = [1 + 0.9 * 10, 1 + 0.9 * 2 + 0.405 * 20, 1 + 1.8 + 0.405 * 3 + 0.405 * 0.9 * 30]
    np.testing.assert_allclose(candidates(reward, discount, value), expected, rtol=1e-6)
    np.testing.assert_allclose(reach(discount), [1.0, 0.9, 0.405], rtol=1e-6)


def test_nothing_after_a_real_end_counts():
    reward, value = jnp.array([1.0, 50.0]), jnp.array([70.0, 90.0])
    assert candidates(reward, jnp.array([0.0, 0.9]), value).tolist() == [1.0, 1.0]


def test_without_imagined_steps_it_is_the_usual_target():
    target = candidates(jnp.array([[2.0]]), jnp.array([[0.99]]), jnp.array([[5.0]]))
    assert float(target[0, 0]) == pytest.approx(2.0 + 0.99 * 5.0)


def test_returns_from_each_step_lead_to_the_last_value():
    reward, discount = jnp.array([1.0, 2.0, 3.0]), jnp.array([0.9, 0.8, 0.7])
    last = 3 + 0.7 * 10
    expected = [1 + 0.9 * (2 + 0.8 * last), 2 + 0.8 * last, last]
    np.testing.assert_allclose(
        from_each_step(reward, discount, jnp.float32(10.0)), expected, rtol=1e-6
    )
    value = jnp.array([0.0, 0.0, 10.0])
    np.testing.assert_allclose(expected[0], candidates(reward, discount, value)[-1], rtol=1e-6)


def test_weights_go_by_what_is_certain():
    np.testing.assert_allclose(uncertainty_weights(jnp.full((4, 2), 3.0)), 0.25, rtol=1e-6)
    sure = uncertainty_weights(jnp.array([0.0, 1.0, 1.0]))
    np.testing.assert_allclose(sure, [1.0, 0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(uncertainty_weights(jnp.array([1.0, 3.0])), [0.75, 0.25], rtol=1e-6)
    np.testing.assert_allclose(lambda_weights(3, 0.5), [0.5, 0.25, 0.25])
    assert lambda_weights(3, 1.0).tolist() == [0, 0, 1] and lambda_weights(3, 0.0)[0] == 1


def test_steve_stays_bounded_on_the_toy_chain_where_mve_diverges():
    """The sheet's numbers, of a vectorised copy of the authors' chain, at 3,000: 401 without a
    model, 0.01 and 0.14 with an exact one, 1,420 and 588 with a noisy one."""
    keys = jax.random.split(jax.random.key(0), 4)
    found = {
        (model, blend): jax.vmap(partial(errors, model=model, blend=blend))(keys).mean(0)
        for model in ("exact", "noisy")
        for blend in ("q", "mve", "steve")
    }
    end = {name: float(curve[-1]) for name, curve in found.items()}
    assert end["noisy", "mve"] > 2 * end["noisy", "steve"]
    assert end["exact", "steve"] < 1.0 and end["exact", "mve"] < 0.1
    assert 300 < end["exact", "q"] < 500
    assert found["noisy", "mve"][300] < found["noisy", "mve"][1000] < end["noisy", "mve"]
    assert 450 < end["noisy", "steve"] < 750  # 551 to 617 from 1,000 on
