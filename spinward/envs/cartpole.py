"""CartPole (Barto, Sutton and Anderson, 1983), as Gymnasium's CartPole-v1 has it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Discrete, Key, Spec, config, struct
from spinward.envs.canvas import BLUE, GREY, INK, MIST, ORANGE, RED, Canvas

NAMES = {"CartPole-v1": "CartPole"}

GRAVITY, CART, POLE, HALF_LENGTH, FORCE, TAU = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
X_LIMIT, THETA_LIMIT = 2.4, 12 * math.pi / 180


@struct
class State:
    physics: Array  # [4] position m, velocity, angle rad, angular velocity
    time: Array  # steps since the reset


@config
class CartPole:
    limit: int = 500  # steps after which an episode is truncated

    @property
    def spec(self) -> Spec:
        high = (2 * X_LIMIT, math.inf, 2 * THETA_LIMIT, math.inf)
        return Spec(Box((4,), tuple(-h for h in high), high), Discrete(2))

    @property
    def action_names(self) -> tuple[str, ...]:
        return "left", "right"

    def reset(self, key: Key) -> tuple[State, Array]:
        physics = jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)
        return State(physics, jnp.int32(0)), physics

    def step(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        x, x_dot, theta, theta_dot = state.physics
        force = jnp.where(action == 1, FORCE, -FORCE)
        cos, sin = jnp.cos(theta), jnp.sin(theta)
        push = (force + POLE * HALF_LENGTH * theta_dot**2 * sin) / (CART + POLE)
        theta_acc = (GRAVITY * sin - cos * push) / (
            HALF_LENGTH * (4 / 3 - POLE * cos**2 / (CART + POLE))
        )
        x_acc = push - POLE * HALF_LENGTH * theta_acc * cos / (CART + POLE)
        x, theta = x + TAU * x_dot, theta + TAU * theta_dot
        physics = jnp.stack([x, x_dot + TAU * x_acc, theta, theta_dot + TAU * theta_acc])
        time = state.time + 1
        terminated = (jnp.abs(x) > X_LIMIT) | (jnp.abs(theta) > THETA_LIMIT)
        truncated = (time >= self.limit) & ~terminated
        return State(physics, time), physics, jnp.float32(1.0), terminated, truncated

    def render(self, state: State) -> np.ndarray:
        """The cart on its track, as uint8 pixels [300, 400, 3]; red marks end the track."""
        x, _, theta, _ = np.asarray(state.physics).tolist()
        canvas = Canvas(scale=68.0, centre=(0.0, 0.5))
        canvas.rectangle((-3.2, -2.0), (3.2, -0.31), MIST)
        canvas.line([(-X_LIMIT, -0.3), (X_LIMIT, -0.3)], GREY, 3)
        for end in (-X_LIMIT, X_LIMIT):
            canvas.line([(end, -0.42), (end, -0.18)], RED, 3)
        for wheel in (x - 0.2, x + 0.2):
            canvas.disc((wheel, -0.2), 0.09, INK)
        canvas.rectangle((x - 0.36, -0.18), (x + 0.36, 0.12), BLUE, radius=0.06)
        tip = (x + 2 * HALF_LENGTH * math.sin(theta), 2 * HALF_LENGTH * math.cos(theta))
        canvas.line([(x, 0.0), tip], ORANGE, 8)
        canvas.disc((x, 0.0), 0.05, INK)
        return canvas.pixels()
