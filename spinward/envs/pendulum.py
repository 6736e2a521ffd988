"""Swinging up a pendulum with a weak motor, as Gymnasium's Pendulum-v1 has it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Key, Spec, config, struct
from spinward.envs.canvas import BLUE, GREY, INK, MIST, ORANGE, Canvas

NAMES = {"Pendulum-v1": "Pendulum"}

GRAVITY, TAU, SPEED, TORQUE = 10.0, 0.05, 8.0, 2.0  # mass and length are 1


@struct
class State:
    physics: Array  # [2] angle from upright rad, not wrapped, and angular velocity
    time: Array  # steps since the reset
    torque: Array  # the last one applied, for the picture


def observation(angle: Array, speed: Array) -> Array:
    return jnp.stack([jnp.cos(angle), jnp.sin(angle), speed])


@config
class Pendulum:
    limit: int = 200  # steps after which an episode is truncated

    @property
    def spec(self) -> Spec:
        high = (1.0, 1.0, SPEED)
        return Spec(Box((3,), tuple(-h for h in high), high), Box((1,), -TORQUE, TORQUE))

    def reset(self, key: Key) -> tuple[State, Array]:
        angle, speed = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
        angle = angle * math.pi
        state = State(jnp.stack([angle, speed]), jnp.int32(0), jnp.float32(0.0))
        return state, observation(angle, speed)

    def step(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        angle, speed = state.physics
        torque = jnp.clip(action[0], -TORQUE, TORQUE)
        off = angle - 2 * math.pi * jnp.round(angle / (2 * math.pi))  # within [-pi, pi]
        # The cost is that of the state the torque was chosen in, not of the one it leads to.
        cost = off**2 + 0.1 * speed**2 + 0.001 * torque**2
        speed = speed + (1.5 * GRAVITY * jnp.sin(angle) + 3.0 * torque) * TAU
        speed = jnp.clip(speed, -SPEED, SPEED)
        angle = angle + speed * TAU
        time = state.time + 1
        state = State(jnp.stack([angle, speed]), time, torque)
        return state, observation(angle, speed), -cost, jnp.bool_(False), time >= self.limit

    def render(self, state: State) -> np.ndarray:
        """The pendulum and its last torque as an arrow, as uint8 pixels [300, 400, 3]."""
        angle, torque = float(state.physics[0]), float(state.torque)
        canvas = Canvas(scale=118.0)
        canvas.disc((0.0, 0.0), 1.0, MIST)
        canvas.line([(0.0, 1.03), (0.0, 1.13)], GREY, 3)  # upright, where it costs nothing
        # A positive angle leans left on the picture, as a positive torque turns.
        tip = (-math.sin(angle), math.cos(angle))
        canvas.line([(0.0, 0.0), tip], BLUE, 22)
        canvas.disc((0.0, 0.0), 0.05, INK)
        if abs(torque) > 0.01:
            sweep = np.linspace(0.0, torque / TORQUE * 0.75 * math.pi, 40) + math.pi / 2
            arc = [(0.42 * math.cos(a), 0.42 * math.sin(a)) for a in sweep.tolist()]
            canvas.arrow(arc, ORANGE, 4, head=0.1)
        return canvas.pixels()
