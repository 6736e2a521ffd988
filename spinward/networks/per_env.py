"""State of each environment, for batches that may hold only some of the environments."""

from typing import Any

import jax

from spinward.core import Transition

ENV_INDEX = (
    "env_index"  # in extras [time, env]: the numbers of the batch's environments, if not all
)


def of_batch(state: Any, batch: Transition) -> Any:
    """The rows of `state` [env, ...] that belong to the environments of a batch [time, env]."""
    index = batch.extras.get(ENV_INDEX)
    return state if index is None else jax.tree.map(lambda x: x[index[0]], state)


def with_batch(state: Any, rows: Any, batch: Transition) -> Any:
    """`state` [env, ...] with the `rows` of the environments of a batch in their places."""
    index = batch.extras.get(ENV_INDEX)
    return rows if index is None else jax.tree.map(lambda x, y: x.at[index[0]].set(y), state, rows)
