"""Targets for distributions and ensembles of action values."""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key


def project(values: Array, probs: Array, atoms: Array) -> Array:
    """Masses [..., n] on evenly spaced `atoms` [n] of a distribution that has `probs` [..., m] at
    `values` [..., m]: each mass is shared between its two neighbours.

    Bellemare et al. (2017, arXiv:1707.06887), (7). Mass beyond the atoms goes to the first or the
    last atom; all other mass keeps its mean, and a value on an atom keeps its place.
    """
    # The difference of two neighbours would carry their rounding to the last atom, `n` times.
    low, high = atoms[0], atoms[-1]
    place = (jnp.clip(values, low, high) - low) / (high - low) * (atoms.shape[0] - 1)
    shared = scattered if jax.default_backend() == "cpu" else overlapping
    return jax.lax.stop_gradient(shared(place, probs, atoms.shape[0]))


def overlapping(place: Array, probs: Array, atoms: int) -> Array:
    """Each atom takes its share of every value within one spacing, in a fixed order of
    summation."""
    distance = jnp.abs(place[..., :, None] - jnp.arange(atoms))
    return (jnp.maximum(1.0 - distance, 0.0) * probs[..., None]).sum(-2)


def scattered(place: Array, probs: Array, atoms: int) -> Array:
    """Each mass is added to its two neighbours in turn. On a CPU this takes a sixth of the time; on
    a GPU the order of summation would vary."""
    lower = jnp.clip(jnp.floor(place), 0, atoms - 2)
    upper = probs * (place - lower)

    def row(lower: Array, upper: Array, probs: Array) -> Array:
        return jnp.zeros(atoms).at[lower].add(probs - upper).at[lower + 1].add(upper)

    flat = (x.reshape(-1, x.shape[-1]) for x in (lower.astype(jnp.int32), upper, probs))
    return jax.vmap(row)(*flat).reshape(*probs.shape[:-1], atoms)


def mixture(key: Key, heads: int, shape: tuple[int, ...] = ()) -> Array:
    """Random weights [*shape, heads] of a mixture: uniform numbers over their sum.

    Agarwal et al. (2020, arXiv:1907.04543), section 4.2. With more heads the weights
    concentrate around 1 / heads.
    """
    weights = jax.random.uniform(key, (*shape, heads))
    return weights / weights.sum(-1, keepdims=True)
