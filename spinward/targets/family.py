"""A family of policies from exploitative to exploratory, each with its bonus weight and discount
(Badia et al., 2020, arXiv:2002.06038, appendix A)."""

import jax
import jax.numpy as jnp
from jax import Array


def betas(policies: int, beta: float | Array) -> Array:
    """The weight of the bonus in the reward of each policy: 0 for the first, `beta` for the last,
    and between them beta sigmoid(10 (2 i - (N - 2)) / (N - 2)). A family of one has `beta`."""
    i = jnp.arange(policies)
    between = jax.nn.sigmoid(10.0 * (2 * i - (policies - 2)) / max(policies - 2, 1))
    share = jnp.where(i == policies - 1, 1.0, jnp.where(i == 0, 0.0, between))
    return beta * share


def gammas(policies: int, most: float | Array, least: float | Array) -> Array:
    """The discount of each policy, from `most` to `least` in even steps of log(1 - gamma)."""
    share = jnp.arange(policies) / max(policies - 1, 1)
    log = (1.0 - share) * jnp.log1p(-jnp.asarray(most)) + share * jnp.log1p(-jnp.asarray(least))
    return -jnp.expm1(log)
