"""Prioritised experience replay (Schaul et al., 2016, arXiv:1511.05952): a sum tree.

Departs from the paper: all batches of an iteration are sampled from one state of the tree. Each
node has 32 children, not 2, so a tree with a million leaves has four levels.
"""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, struct

BRANCHES = 32
FLOOR = 1e-6  # added to an error, so that every step can be sampled again


@struct
class Priorities:
    """A sum tree. A leaf is sampled with probability proportional to its number; 0 means never."""

    levels: tuple[Array, ...]  # the leaves, then the sums of each BRANCHES of the level before
    top: Array  # the largest number ever; new leaves get this number

    @classmethod
    def init(cls, leaves: int) -> "Priorities":
        levels: list[Array] = []
        while not levels or leaves > 1:
            leaves = -(-leaves // BRANCHES)
            levels.append(jnp.zeros(leaves * BRANCHES))
        return cls(tuple(levels), jnp.float32(1.0))

    def put(self, index: Array, value: Array) -> "Priorities":
        """The tree with new values of the leaves `index` [m]. Of equal indices, the largest value
        wins.

        An index beyond the leaves is ignored.
        """
        leaves, *sums = self.levels
        # Two writes: of several writes to one place, the last wins on CPU, but any may win on GPU.
        leaves = leaves.at[index].set(0.0, mode="drop").at[index].max(value, mode="drop")
        levels = [leaves]
        for level in sums:
            index = jnp.where(index < levels[-1].shape[0], index // BRANCHES, level.shape[0])
            families = levels[-1].reshape(-1, BRANCHES)
            total = families.at[index].get(mode="clip").sum(-1)
            levels.append(level.at[index].set(total, mode="drop"))
        return Priorities(tuple(levels), self.top)

    def raise_max(self, value: Array) -> "Priorities":
        """The tree with `top` raised to the largest of `value` [m]."""
        return Priorities(self.levels, jnp.maximum(self.top, value.max()))

    def draw(self, key: Key, updates: int, batch: int) -> tuple[Array, Array]:
        """Leaves [updates, batch], one from each of `batch` equal shares of the total, and the
        probability of each leaf."""
        whole = self.levels[-1].sum()
        share = (jnp.arange(batch) + jax.random.uniform(key, (updates, batch))) / batch
        rest, node = share * whole, jnp.zeros((updates, batch), jnp.int32)
        place = jnp.arange(BRANCHES)
        sums = (place[:, None] <= place).astype(jnp.float32)  # quicker on CPU than `cumsum`
        for level in reversed(self.levels):
            children = level.reshape(-1, BRANCHES)[node]
            child = (children @ sums <= rest[..., None]).sum(-1)
            # Rounding may point beyond the last child above 0; then that child is taken.
            child = jnp.minimum(child, jnp.where(children > 0.0, place, 0).max(-1))
            before = jnp.where(place < child[..., None], children, 0.0).sum(-1)
            rest, node = jnp.maximum(rest - before, 0.0), node * BRANCHES + child
        return node, self.levels[0][node] / whole


def importance(probability: Array, leaves: Array, exponent: float | Array) -> Array:
    """The importance weight of a leaf sampled with `probability` [updates, batch] among `leaves`.

    w_i = (N P(i))^-beta, divided by the largest of each batch (Schaul et al., 2016, section 3.4).
    """
    weight = (jnp.maximum(probability, 1e-30) * leaves) ** -exponent
    return weight / weight.max(-1, keepdims=True)
