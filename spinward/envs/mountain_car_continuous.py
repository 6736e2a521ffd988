"""Mountain Car with a continuous push, as Gymnasium's MountainCarContinuous-v0 has it."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Key, Spec, config
from spinward.envs.mountain_car import BOX, State, picture, roll, start

NAMES = {"MountainCarContinuous-v0": "MountainCarContinuous"}

POWER, GOAL = 0.0015, 0.45


@config
class MountainCarContinuous:
    limit: int = 999  # steps after which an episode is truncated

    @property
    def spec(self) -> Spec:
        return Spec(BOX, Box((1,), -1.0, 1.0))

    def reset(self, key: Key) -> tuple[State, Array]:
        physics = start(key)
        return State(physics, jnp.int32(0)), physics

    def step(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        push = action[0]
        position, velocity = roll(state.physics, jnp.clip(push, -1.0, 1.0) * POWER)
        physics = jnp.stack([position, velocity])
        time = state.time + 1
        terminated = (position >= GOAL) & (velocity >= 0.0)
        truncated = (time >= self.limit) & ~terminated
        # Gymnasium charges for the push that was asked for, not for the clipped one.
        reward = jnp.where(terminated, 100.0, 0.0) - 0.1 * push**2
        return State(physics, time), physics, reward, terminated, truncated

    def render(self, state: State) -> np.ndarray:
        return picture(float(state.physics[0]), GOAL)
