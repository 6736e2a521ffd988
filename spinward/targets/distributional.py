"""Targets for distributions and ensembles of action values."""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key


def project(values: Array, probs: Array, atoms: Array) -> Array:
    """Masses [..., n] on evenly spaced `atoms` [n] of a distribution that has `probs` [..., m] at
    `values` [..., m]: each mass is shared between its two neighbours.

    Bellemare et al. (2017, arXiv:1707.06887), (7). What lies beyond the atoms goes to the last of
    them; all else keeps the mean. Written as triangles, so that a value on an atom is no case of
    its own, where floor and ceiling are one and mass would be lost.
    """
    spacing = atoms[1] - atoms[0]
    place = (jnp.clip(values, atoms[0], atoms[-1]) - atoms[0]) / spacing
    distance = jnp.abs(place[..., :, None] - jnp.arange(atoms.shape[0]))
    shares = jnp.maximum(1.0 - distance, 0.0)
    return jax.lax.stop_gradient((shares * probs[..., None]).sum(-2))


def mixture(key: Key, heads: int, shape: tuple[int, ...] = ()) -> Array:
    """Random weights [*shape, heads] of a mixture: uniform numbers over their sum.

    Agarwal et al. (2020, arXiv:1907.04543), section 4.2. They gather about 1 / heads, the closer
    the more heads there are.
    """
    weights = jax.random.uniform(key, (*shape, heads))
    return weights / weights.sum(-1, keepdims=True)
