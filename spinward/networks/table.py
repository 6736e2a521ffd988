"""Tables in place of networks, for environments whose observation is the number of the state."""

import math
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Dict, Discrete, Key, Memory, Obs, Spec, Transition, struct
from spinward.errors import SettingsError
from spinward.networks.distributions import Categorical, Distribution


@struct
class Table:
    """A row of outputs for each state."""

    rows: Array  # [states, outputs]

    @classmethod
    def init(cls, space: Box | Dict, outputs: int) -> "Table":
        return cls(jnp.zeros((states(space), outputs)))

    def __call__(self, obs: Obs) -> Array:
        return jnp.take(self.rows, obs[..., 0], axis=0, mode="clip")


@struct
class TabularActorCritic:
    """A softmax policy and a value, from tables that start at zero."""

    actor: Table
    critic: Table
    sequential: ClassVar[bool] = False

    @classmethod
    def init(
        cls, key: Key, spec: Spec, hidden: tuple[int, ...], activation: str
    ) -> "TabularActorCritic":
        if not isinstance(spec.action, Discrete):
            raise SettingsError(f"a table needs one discrete action, not {spec.action}")
        return cls(Table.init(spec.obs, spec.action.n), Table.init(spec.obs, 1))

    def memory(self, envs: int) -> Memory:
        return ()

    def step(self, obs: Obs, memory: Memory) -> tuple[Distribution, Memory, dict[str, Any]]:
        return Categorical(self.actor(obs)), memory, {}

    def value(self, obs: Obs) -> Array:
        return self.critic(obs)[..., 0]

    def unroll(self, batch: Transition) -> tuple[Distribution, Array, Array]:
        policy = Categorical(self.actor(batch.obs))
        return policy, self.value(batch.obs), self.value(batch.next_obs)


def states(space: Box | Dict) -> int:
    """The number of states of a space whose observation is the number of a state.

    Raises:
        SettingsError: the observation is not the number of a state.
    """
    counted = isinstance(space, Box) and space.shape == (1,) and space.bounded
    if not counted or not np.issubdtype(np.dtype(space.dtype), np.integer) or np.min(space.low):  # type: ignore[union-attr]
        raise SettingsError(
            f"a table needs the number of the state, a Box of shape (1,) of whole numbers from 0, "
            f"and this environment shows {space}"
        )
    return math.floor(np.max(space.high)) + 1  # type: ignore[union-attr]
