"""Acrobot (Sutton, 1996), with the equations of Sutton and Barto's book, as Gymnasium's
Acrobot-v1 has it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Discrete, Key, Spec, config, struct
from spinward.envs.canvas import BLUE, GREEN, GREY, INK, ORANGE, Canvas

NAMES = {"Acrobot-v1": "Acrobot"}

GRAVITY, TAU = 9.8, 0.2  # links have mass, length and inertia 1, and their centre halfway
SPEED_1, SPEED_2 = 4 * math.pi, 9 * math.pi  # limits of the angular velocities
TARGET = 1.0  # height over the fixed joint that the free end has to reach


@struct
class State:
    physics: Array  # [4] angle from hanging rad, angle of the second link to it, both velocities
    time: Array  # steps since the reset


def accelerations(physics: tuple[Array, ...], torque: Array) -> tuple[Array, ...]:
    """The derivative of (angle_1, angle_2, speed_1, speed_2) by time."""
    angle_1, angle_2, speed_1, speed_2 = physics
    cos_2, sin_2 = jnp.cos(angle_2), jnp.sin(angle_2)
    d1, d2 = 3.5 + cos_2, 1.25 + 0.5 * cos_2
    phi_2 = 0.5 * GRAVITY * jnp.sin(angle_1 + angle_2)
    phi_1 = phi_2 + 1.5 * GRAVITY * jnp.sin(angle_1) - speed_2 * (0.5 * speed_2 + speed_1) * sin_2
    ratio = d2 / d1
    acc_2 = torque + ratio * phi_1 - 0.5 * speed_1**2 * sin_2 - phi_2
    acc_2 = acc_2 / (1.25 - ratio * d2)
    return speed_1, speed_2, -ratio * acc_2 - phi_1 / d1, acc_2


def runge_kutta(physics: tuple[Array, ...], torque: Array) -> tuple[Array, ...]:
    """The physics a time of TAU later, by one step of fourth order."""

    def after(time: float, derivative: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(p + time * s for p, s in zip(physics, derivative, strict=True))

    k1 = accelerations(physics, torque)
    k2 = accelerations(after(TAU / 2, k1), torque)
    k3 = accelerations(after(TAU / 2, k2), torque)
    k4 = accelerations(after(TAU, k3), torque)
    mean = tuple((a + 2 * (b + c) + d) / 6 for a, b, c, d in zip(k1, k2, k3, k4, strict=True))
    return after(TAU, mean)


def wrapped(angle: Array) -> Array:
    """The same angle in [-pi, pi]."""
    return angle - 2 * math.pi * jnp.round(angle / (2 * math.pi))


def observation(physics: tuple[Array, ...]) -> Array:
    angle_1, angle_2, speed_1, speed_2 = physics
    circle = [jnp.cos(angle_1), jnp.sin(angle_1), jnp.cos(angle_2), jnp.sin(angle_2)]
    return jnp.stack([*circle, speed_1, speed_2])


@config
class Acrobot:
    limit: int = 500  # steps after which an episode is truncated

    @property
    def spec(self) -> Spec:
        high = (1.0, 1.0, 1.0, 1.0, SPEED_1, SPEED_2)
        return Spec(Box((6,), tuple(-h for h in high), high), Discrete(3))

    @property
    def action_names(self) -> tuple[str, ...]:
        return "left", "stay", "right"

    def reset(self, key: Key) -> tuple[State, Array]:
        physics = jax.random.uniform(key, (4,), minval=-0.1, maxval=0.1)
        return State(physics, jnp.int32(0)), observation(tuple(physics))

    def step(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        torque = jnp.asarray(action - 1, jnp.float32)
        angle_1, angle_2, speed_1, speed_2 = runge_kutta(tuple(state.physics), torque)
        speeds = jnp.clip(speed_1, -SPEED_1, SPEED_1), jnp.clip(speed_2, -SPEED_2, SPEED_2)
        physics = (wrapped(angle_1), wrapped(angle_2), *speeds)
        obs = observation(physics)
        cos_1, sin_1, cos_2, sin_2 = obs[:4]
        height = sin_1 * sin_2 - cos_1 * cos_2 - cos_1  # the last two: -cos(angle_1 + angle_2)
        time = state.time + 1
        terminated = height > TARGET
        truncated = (time >= self.limit) & ~terminated
        reward = jnp.where(terminated, 0.0, -1.0)
        return State(jnp.stack(physics), time), obs, reward, terminated, truncated

    def render(self, state: State) -> np.ndarray:
        """Both links and the height to reach, as uint8 pixels [300, 400, 3]."""
        angle_1, angle_2, _, _ = np.asarray(state.physics).tolist()
        elbow = (math.sin(angle_1), -math.cos(angle_1))
        end = (elbow[0] + math.sin(angle_1 + angle_2), elbow[1] - math.cos(angle_1 + angle_2))
        canvas = Canvas(scale=66.0)
        canvas.dashes((-2.9, TARGET), (2.9, TARGET), GREEN, 2, count=24)
        canvas.disc((0.0, 0.0), 0.16, GREY)
        canvas.line([(0.0, 0.0), elbow], BLUE, 12)
        canvas.line([elbow, end], ORANGE, 12)
        for joint in ((0.0, 0.0), elbow):
            canvas.disc(joint, 0.06, INK)
        canvas.disc(end, 0.1, GREEN if end[1] > TARGET else INK)
        return canvas.pixels()
