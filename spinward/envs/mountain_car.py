"""Mountain Car (Moore, 1990), as Gymnasium's MountainCar-v0 has it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Discrete, Key, Spec, config, struct
from spinward.envs.canvas import BLUE, GREEN, GREY, INK, MIST, Canvas

NAMES = {"MountainCar-v0": "MountainCar"}

LOW, HIGH, SPEED = -1.2, 0.6, 0.07  # ends of the track; greatest speed
FORCE, GRAVITY, GOAL = 0.001, 0.0025, 0.5
BOX = Box((2,), (LOW, -SPEED), (HIGH, SPEED))


@struct
class State:
    physics: Array  # [2] position, velocity per step
    time: Array  # steps since the reset


def start(key: Key) -> Array:
    """At rest near the bottom of the valley."""
    position = jax.random.uniform(key, (), minval=-0.6, maxval=-0.4)
    return jnp.stack([position, jnp.float32(0.0)])


def roll(physics: Array, push: Array) -> tuple[Array, Array]:
    """Position and velocity a step later; the wall on the left takes all speed."""
    position, velocity = physics
    velocity = velocity + push - GRAVITY * jnp.cos(3 * position)
    velocity = jnp.clip(velocity, -SPEED, SPEED)
    position = jnp.clip(position + velocity, LOW, HIGH)
    return position, jnp.where(position <= LOW, jnp.maximum(velocity, 0.0), velocity)


def hill(position: float) -> float:
    return 0.45 * math.sin(3 * position) + 0.55


def picture(position: float, goal: float) -> np.ndarray:
    """The car on the hill and the flag at the goal, as uint8 pixels [300, 400, 3]."""
    canvas = Canvas(scale=196.0, centre=(-0.35, 0.62))
    wall, right = LOW - 0.1, HIGH + 0.2  # it is the middle of the car that stops at LOW
    ground = [(x, hill(x)) for x in np.linspace(wall, right, 120).tolist()]
    canvas.polygon([*ground, (right, -1.0), (wall, -1.0)], MIST)
    canvas.rectangle((wall - 1.0, -1.0), (wall, hill(wall) + 0.3), GREY)
    canvas.line(ground, GREY, 3)
    foot = hill(goal)
    canvas.line([(goal, foot), (goal, foot + 0.22)], INK, 2)
    canvas.polygon([(goal, foot + 0.22), (goal + 0.09, foot + 0.185), (goal, foot + 0.15)], GREEN)

    angle = math.atan(1.35 * math.cos(3 * position))
    cos, sin = math.cos(angle), math.sin(angle)

    def on_car(along: float, above: float) -> tuple[float, float]:
        return position + along * cos - above * sin, hill(position) + along * sin + above * cos

    body = ((-0.11, 0.035), (0.11, 0.035), (0.11, 0.08), (0.055, 0.09))
    roof = ((0.03, 0.14), (-0.055, 0.14), (-0.08, 0.09), (-0.11, 0.085))
    canvas.polygon([on_car(*corner) for corner in body + roof], BLUE)
    for along in (-0.064, 0.064):
        canvas.disc(on_car(along, 0.034), 0.032, INK)
        canvas.disc(on_car(along, 0.034), 0.013, GREY)
    return canvas.pixels()


@config
class MountainCar:
    limit: int = 200  # steps after which an episode is truncated

    @property
    def spec(self) -> Spec:
        return Spec(BOX, Discrete(3))

    @property
    def action_names(self) -> tuple[str, ...]:
        return "left", "stay", "right"

    def reset(self, key: Key) -> tuple[State, Array]:
        physics = start(key)
        return State(physics, jnp.int32(0)), physics

    def step(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        position, velocity = roll(state.physics, (action - 1) * FORCE)
        physics = jnp.stack([position, velocity])
        time = state.time + 1
        terminated = (position >= GOAL) & (velocity >= 0.0)
        truncated = (time >= self.limit) & ~terminated
        return State(physics, time), physics, jnp.float32(-1.0), terminated, truncated

    def render(self, state: State) -> np.ndarray:
        return picture(float(state.physics[0]), GOAL)
