"""Texts to learn from: epochs in random order."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, Memory, Metrics, Policy, Spec, Transition, config, replace, struct
from spinward.learning.minibatches import shuffled


@struct
class Place:
    """The position in the epochs."""

    key: Key  # of the orders
    read: Array  # rows so far


@config
class TextBatches:
    """Batches are [updates, time, batch * ranked]. A row of the data is one text, or several texts
    for one prompt, from the best to the worst; these are consecutive columns."""

    data: Any  # Transition [rows, ranked, time]
    spec: Spec
    updates: int = 1
    batch: int = 32  # rows of each gradient step
    held: Any = None  # held-out Transition [rows, ranked, time]
    notes: tuple[str, ...] = ()  # sentences about rows that were left out

    @property
    def stride(self) -> int:
        return self.updates

    @property
    def rows(self) -> int:
        return self.data.weight.shape[0]

    def init(self, key: Key, memory: Memory) -> Place:
        return Place(key, jnp.int32(0))

    def collect(self, state: Place, policy: Policy, key: Key) -> tuple[Place, Transition, Metrics]:
        count = self.updates * self.batch
        index = self.next_rows(state, count).reshape(self.updates, self.batch)

        def in_columns(x: Any) -> Array:
            x = jnp.asarray(x)[index]  # [updates, batch, ranked, time]
            return jnp.moveaxis(x.reshape(self.updates, -1, x.shape[-1]), -1, 1)

        batch = jax.tree.map(in_columns, self.data)
        read = state.read + count
        return replace(state, read=read), batch, {"epochs": read / self.rows}

    def next_rows(self, state: Place, count: int) -> Array:
        """The next `count` rows [count]. When one order ends, the next begins."""
        at = state.read + jnp.arange(count)
        first = state.read // self.rows
        orders = first + jnp.arange(count // self.rows + 2)  # `count` rows span at most so many
        keys = jax.vmap(lambda i: jax.random.fold_in(state.key, i))(orders)
        order = jax.vmap(lambda k: shuffled(k, self.rows))(keys)
        return order[at // self.rows - first, at % self.rows]
