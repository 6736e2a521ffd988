"""Written texts to learn from: all of them in random order, then again in another."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, Memory, Metrics, Policy, Spec, Transition, config, replace, struct
from spinward.learning.minibatches import shuffled


@struct
class Place:
    """Where reading has come to."""

    key: Key  # of the order
    read: Array  # rows so far


@config
class TextBatches:
    """Batches are [updates, time, batch * ranked]: a row of the data is one text, or several for
    the same prompt from the best to the worst, which are consecutive columns."""

    data: Any  # Transition [rows, ranked, time]
    spec: Spec
    updates: int = 1
    batch: int = 32  # rows of each gradient step
    held: Any = None  # Transition [rows, ranked, time] that is not learned from
    notes: tuple[str, ...] = ()  # what was left out of the data, in words

    @property
    def stride(self) -> int:
        return self.updates

    @property
    def rows(self) -> int:
        return self.data.weight.shape[0]

    def init(self, key: Key, memory: Memory) -> Place:
        return Place(key, jnp.int32(0))

    def collect(self, state: Place, policy: Policy, key: Key) -> tuple[Place, Transition, Metrics]:
        drawn = self.updates * self.batch
        index = self.following(state, drawn).reshape(self.updates, self.batch)

        def laid(x: Any) -> Array:
            x = jnp.asarray(x)[index]  # [updates, batch, ranked, time]
            return jnp.moveaxis(x.reshape(self.updates, -1, x.shape[-1]), -1, 1)

        batch = jax.tree.map(laid, self.data)
        read = state.read + drawn
        return replace(state, read=read), batch, {"epochs": read / self.rows}

    def following(self, state: Place, count: int) -> Array:
        """The next so many rows [count] of one order after another."""
        at = state.read + jnp.arange(count)
        first = state.read // self.rows
        orders = first + jnp.arange(count // self.rows + 2)  # as many as there may be parts of
        keys = jax.vmap(lambda i: jax.random.fold_in(state.key, i))(orders)
        order = jax.vmap(lambda k: shuffled(k, self.rows))(keys)
        return order[at // self.rows - first, at % self.rows]
