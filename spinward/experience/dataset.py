"""Logged experience: random transitions of a data set, with no environment and no policy."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from spinward.core import Key, Memory, Metrics, Policy, Spec, Transition, config


@config
class Dataset:
    """Batches are [updates, 1, batch] of rows drawn uniformly, as replayed ones are."""

    data: Any  # Transition [rows, ...]
    spec: Spec
    updates: int = 100
    batch: int = 256
    on_device: ClassVar[bool] = True

    @property
    def stride(self) -> int:
        return self.updates

    def init(self, key: Key, memory: Memory) -> tuple[()]:
        return ()

    def collect(
        self, state: tuple[()], policy: Policy, key: Key
    ) -> tuple[tuple[()], Transition, Metrics]:
        rows = self.data.reward.shape[0]
        index = jax.random.randint(key, (self.updates, 1, self.batch), 0, rows)
        return state, jax.tree.map(lambda x: jnp.asarray(x)[index], self.data), {}
