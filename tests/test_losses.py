"""Losses and their slopes against literals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.losses.policy import clipped_surrogate
from spinward.losses.values import huber


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.5, 2.0, -2.4, 0.0),  # better and already likelier: no more of it
        (0.5, 2.0, -1.0, -1.0),
        (1.5, -2.0, 3.0, 3.0),
        (0.5, -2.0, 1.6, 0.0),  # worse and already rarer: no less of it
        (1.1, 2.0, -2.2, -2.2),
        (0.9, -2.0, 1.8, 1.8),
    ],
)
def test_clipped_surrogate_has_no_slope_only_where_the_ratio_went_where_it_should(
    ratio, advantage, loss, slope
):
    found = jax.value_and_grad(clipped_surrogate)(jnp.log(ratio), advantage, 0.2)
    np.testing.assert_allclose(found, (loss, slope), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("error", "kappa", "loss", "slope"),
    [
        (0.0, 1.0, 0.0, 0.0),
        (0.5, 1.0, 0.125, 0.5),
        (-0.5, 1.0, 0.125, -0.5),
        (3.0, 1.0, 2.5, 1.0),
        (-3.0, 1.0, 2.5, -1.0),
        (3.0, 2.0, 4.0, 2.0),
    ],
)
def test_huber_is_a_parabola_within_kappa_and_a_line_beyond(error, kappa, loss, slope):
    found = jax.value_and_grad(huber)(jnp.float32(error), kappa)
    np.testing.assert_allclose(found, (loss, slope), atol=1e-6)
