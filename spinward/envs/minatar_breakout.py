"""MinAtar's Breakout (Young and Tian, 2019, arXiv:1903.03176), with the rules of minatar 1.0.15.

Departs from the original: an episode may be truncated, since a good policy never ends one.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Discrete, Key, Spec, config, replace, struct
from spinward.envs.minatar_screen import (
    LEFT,
    NOOP,
    RIGHT,
    SIDE,
    dots,
    meaning,
    names_of,
    picture,
    stuck,
)

NAMES = {"MinAtar-Breakout": "MinAtarBreakout"}

ACTIONS = (NOOP, LEFT, RIGHT)
CHANNELS = ("paddle", "ball", "trail", "brick")
COLOURS = ((92, 164, 240), (250, 214, 92), (150, 122, 52), (206, 84, 76))
FLOOR = SIDE - 1
WALL, ROWS = 1, 3  # the bricks' first row, and how many rows of them there are


@struct
class State:
    x: Array  # of the ball
    y: Array
    right: Array  # the ball's direction: 1 is rightwards, -1 leftwards
    down: Array  # 1 is downwards, -1 upwards
    last_x: Array  # where the ball was, which is its trail
    last_y: Array
    paddle: Array  # column, in the lowest row
    bricks: Array  # bool [3, 10], those in rows 1 to 3 of the screen
    strike: Array  # the ball is within bricks after a hit, and breaks no second one
    previous: Array  # the action carried out last, for sticky actions
    time: Array  # steps since the reset


@config
class MinAtarBreakout:
    sticky: float = 0.1  # probability that the previous action is repeated instead
    minimal: bool = True  # actions: nothing, left and right; if not, all six of MinAtar
    limit: int = 5000  # steps after which an episode is truncated; the original has no limit

    @property
    def actions(self) -> tuple[int, ...]:
        return ACTIONS if self.minimal else tuple(range(6))

    @property
    def spec(self) -> Spec:
        obs = Box((SIDE, SIDE, len(CHANNELS)), 0, 1, "uint8")
        return Spec(obs, Discrete(len(self.actions)))

    @property
    def action_names(self) -> tuple[str, ...]:
        return names_of(self.actions)

    def reset(self, key: Key) -> tuple[State, Array]:
        right = jnp.where(jax.random.bernoulli(key), 1, -1)
        x, y, zero = jnp.where(right > 0, 0, SIDE - 1), jnp.int32(3), jnp.int32(0)
        wall = jnp.ones((ROWS, SIDE), bool)
        paddle, down, strike = jnp.int32(4), jnp.int32(1), jnp.bool_(False)
        state = State(x, y, right, down, x, y, paddle, wall, strike, zero, zero)
        return state, planes(state)

    def step(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        chance = jax.random.uniform(key)
        action = stuck(meaning(action, self.actions), state.previous, self.sticky, chance)
        state, reward, terminated = advance(state, action)
        state = replace(state, previous=action, time=state.time + 1)
        truncated = (state.time >= self.limit) & ~terminated
        return state, planes(state), reward, terminated, truncated

    def render(self, state: State) -> np.ndarray:
        """The screen as uint8 pixels [320, 320, 3]."""
        return picture(planes(state), COLOURS)


def advance(state: State, action: Array) -> tuple[State, Array, Array]:
    """The state, the reward and the end of the game after one of MinAtar's six actions."""
    move = (action == RIGHT).astype(jnp.int32) - (action == LEFT)
    paddle = jnp.clip(state.paddle + move, 0, SIDE - 1)
    x, y = state.x + state.right, state.y + state.down
    right = jnp.where((x < 0) | (x >= SIDE), -state.right, state.right)
    x = jnp.clip(x, 0, SIDE - 1)

    ceiling = y < 0
    y = jnp.maximum(y, 0)
    row, column = jnp.arange(WALL, WALL + ROWS)[:, None], jnp.arange(SIDE)
    target = (row == y) & (column == x) & state.bricks
    within = target.any()
    broken = within & ~state.strike
    bricks = state.bricks & ~(target & broken)

    low = y == FLOOR
    # A wall is new once the ball comes down to the paddle, so that none appears around the ball.
    bricks = bricks | (low & ~bricks.any())
    straight = low & (state.x == paddle)
    corner = low & ~straight & (x == paddle)  # the paddle's side: back where it came from
    down = jnp.where(ceiling | broken | straight | corner, -state.down, state.down)
    right = jnp.where(corner, -right, right)
    y = jnp.where(broken | straight | corner, state.y, y)
    after = replace(
        state,
        x=x, y=y, right=right, down=down, last_x=state.x, last_y=state.y,
        paddle=paddle, bricks=bricks, strike=within,
    )  # fmt: skip
    return after, broken.astype(jnp.float32), low & ~straight & ~corner


def planes(state: State) -> Array:
    """What is seen of a state: uint8 [10, 10, 4], by channel as in `CHANNELS`."""
    row = jnp.stack([jnp.int32(FLOOR), state.y, state.last_y])
    column = jnp.stack([state.paddle, state.x, state.last_x])
    screen = dots(len(CHANNELS), row, column, jnp.arange(3))
    return screen.at[WALL : WALL + ROWS, :, 3].set(state.bricks.astype(jnp.uint8))
