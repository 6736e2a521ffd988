"""Numbers as tokens: each entry of a vector falls into one of as many bins (Janner et al., 2021,
arXiv:2106.02039, section 3.1)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import struct

KINDS = ("quantile", "uniform")


@struct
class Discretiser:
    """The edges of the bins of each entry, from data. Where edges are equal, only the last of the
    empty bins is used, so a token that is read back is the same token."""

    edges: Array  # [entries, bins + 1], ascending
    used: Array  # [entries, bins], whether the data have the bin

    @classmethod
    def init(cls, entries: int, bins: int) -> "Discretiser":
        edges = jnp.broadcast_to(jnp.linspace(0.0, 1.0, bins + 1), (entries, bins + 1))
        return cls(edges, jnp.ones((entries, bins), bool))

    @classmethod
    def fitted(cls, rows: Array, bins: int, kind: str, choices: dict[int, int]) -> "Discretiser":
        """Of `rows` [rows, entries]: bins with equally many rows (`quantile`) or of equal width
        (`uniform`). An entry in `choices` is one of so many numbers, and has a bin for each."""
        edges = quantiles(rows, bins) if kind == "quantile" else widths(rows, bins)
        for entry, count in choices.items():
            numbers = jnp.minimum(jnp.arange(bins + 1), count) - 0.5
            edges = edges.at[entry].set(numbers)
        made = cls(edges, jnp.ones((len(edges), bins), bool))
        counts = jax.vmap(lambda x: jnp.bincount(x, length=bins), 1)(made.tokens(rows))
        return cls(edges, counts > 0)

    def tokens(self, x: Array) -> Array:
        """The bin [..., entries] of each entry: that of the last edge that is not above it; numbers
        beyond the data are in the first or the last."""
        return self.tokens_of(x, slice(None))

    def tokens_of(self, x: Array, entries: Any) -> Array:
        """The same for the entries in a slice alone."""
        edges = self.edges[entries]
        find = jax.vmap(lambda e, v: jnp.searchsorted(e, v, side="right"), (0, -1), -1)
        return jnp.clip(find(edges, x) - 1, 0, edges.shape[-1] - 2).astype(jnp.int32)

    def middles(self) -> Array:
        """The middle [entries, bins] of each bin, which is in the bin."""
        low, high = self.edges[:, :-1], self.edges[:, 1:]
        inside = jnp.maximum(low, jnp.nextafter(high, low))
        return jnp.minimum(low + 0.5 * (high - low), inside)

    def values(self, tokens: Array, entries: slice = slice(None)) -> Array:
        """The middles [..., entries] of the bins of tokens, of the entries in a slice."""
        middles = self.middles()[entries]
        return jax.vmap(jnp.take, (0, -1), -1)(middles, tokens)


def quantiles(rows: Array, bins: int) -> Array:
    """The edges [entries, bins + 1] between equally many rows, and their extremes."""
    count = len(rows)
    at = np.minimum(np.arange(bins + 1) * count // bins, count - 1)
    return jnp.sort(rows, 0)[at].T


def widths(rows: Array, bins: int) -> Array:
    """The edges [entries, bins + 1] at equal distances between the extremes."""
    low, high = rows.min(0)[:, None], rows.max(0)[:, None]
    # Not `linspace`, whose numbers may fall where neighbours in float32 are few.
    edges = low + (high - low) * jnp.linspace(0.0, 1.0, bins + 1)
    return jnp.minimum(edges, high).at[:, -1:].set(high)
