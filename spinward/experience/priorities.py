"""Prioritised experience replay (Schaul et al., 2016, arXiv:1511.05952): a tree of sums.

Departs from the paper: all batches of an iteration are drawn from one state of the tree, and each
node has 32 children, not 2, so that a million leaves are four levels deep.
"""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, struct

BRANCHES = 32
FLOOR = 1e-6  # added to an error, so that none is never drawn again


@struct
class Priorities:
    """Numbers in whose proportion leaves are drawn; those of 0 are not."""

    levels: tuple[Array, ...]  # the leaves, then the sums of each BRANCHES of the level before
    top: Array  # the largest there ever was: what a new leaf gets

    @classmethod
    def init(cls, leaves: int) -> "Priorities":
        levels: list[Array] = []
        while not levels or leaves > 1:
            leaves = -(-leaves // BRANCHES)
            levels.append(jnp.zeros(leaves * BRANCHES))
        return cls(tuple(levels), jnp.float32(1.0))

    def put(self, index: Array, value: Array) -> "Priorities":
        """With the leaves `index` [m] changed: to the largest where several of them are the same.

        An index beyond the leaves is heeded by none.
        """
        leaves, *sums = self.levels
        # Two steps, because of writes to one place the last wins on CPU, but any on a GPU.
        leaves = leaves.at[index].set(0.0, mode="drop").at[index].max(value, mode="drop")
        levels = [leaves]
        for level in sums:
            index = jnp.where(index < levels[-1].shape[0], index // BRANCHES, level.shape[0])
            families = levels[-1].reshape(-1, BRANCHES)
            total = families.at[index].get(mode="clip").sum(-1)
            levels.append(level.at[index].set(total, mode="drop"))
        return Priorities(tuple(levels), self.top)

    def raise_max(self, value: Array) -> "Priorities":
        """With `value` [m] heeded in what new leaves get."""
        return Priorities(self.levels, jnp.maximum(self.top, value.max()))

    def draw(self, key: Key, updates: int, batch: int) -> tuple[Array, Array]:
        """Leaves [updates, batch], one from each of `batch` equal shares of the whole, and the
        probability of each."""
        whole = self.levels[-1].sum()
        share = (jnp.arange(batch) + jax.random.uniform(key, (updates, batch))) / batch
        rest, node = share * whole, jnp.zeros((updates, batch), jnp.int32)
        place = jnp.arange(BRANCHES)
        sums = (place[:, None] <= place).astype(jnp.float32)  # quicker on CPU than `cumsum`
        for level in reversed(self.levels):
            children = level.reshape(-1, BRANCHES)[node]
            child = (children @ sums <= rest[..., None]).sum(-1)
            # Rounding may point beyond the last that has a share, which stands for it then.
            child = jnp.minimum(child, jnp.where(children > 0.0, place, 0).max(-1))
            before = jnp.where(place < child[..., None], children, 0.0).sum(-1)
            rest, node = jnp.maximum(rest - before, 0.0), node * BRANCHES + child
        return node, self.levels[0][node] / whole


def importance(probability: Array, leaves: Array, exponent: float | Array) -> Array:
    """What makes up for drawing with `probability` [updates, batch] one of so many `leaves`.

    w_i = (N P(i))^-beta, divided by the largest of each batch (Schaul et al., 2016, section 3.4).
    """
    weight = (jnp.maximum(probability, 1e-30) * leaves) ** -exponent
    return weight / weight.max(-1, keepdims=True)
