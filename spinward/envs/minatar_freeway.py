"""MinAtar's Freeway (Young and Tian, 2019, arXiv:1903.03176), with the rules of minatar 1.0.15."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Discrete, Key, Spec, config, replace, struct
from spinward.envs.minatar_screen import (
    DOWN,
    NOOP,
    SIDE,
    UP,
    dots,
    meaning,
    names_of,
    picture,
    stuck,
)

NAMES = {"MinAtar-Freeway": "MinAtarFreeway"}

ACTIONS = (NOOP, UP, DOWN)
CHANNELS = ("chicken", "car", "speed1", "speed2", "speed3", "speed4", "speed5")
COLOURS = (
    (250, 214, 92), (206, 84, 76), (150, 62, 58), (134, 66, 84), (112, 66, 108), (88, 66, 124),
    (62, 66, 136),
)  # fmt: skip
LANES = 8  # rows 1 to 8, a car in each
COLUMN = 4  # the chicken's
START = SIDE - 1  # the chicken's first row
PLAYER_SPEED = 3  # the chicken moves once in so many steps
SPEEDS = 5  # a car stands for 1 to 5 steps in each cell
DURATION = 2500  # steps of an episode, after which the game itself ends


@struct
class State:
    row: Array  # of the chicken
    place: Array  # [8] column of each car
    speed: Array  # [8] steps that a car stands in a cell; negative if it moves leftwards
    timer: Array  # [8] steps until a car moves
    move_timer: Array  # steps until the chicken may move
    previous: Array  # the action carried out last, for sticky actions
    time: Array  # steps since the reset


@config
class MinAtarFreeway:
    sticky: float = 0.1  # probability that the previous action is repeated instead
    minimal: bool = True  # actions: nothing, up, down; if not, all six of MinAtar
    limit: int = 5000  # steps after which an episode is truncated: later than the game's own end

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
        speed = speeds(jax.random.bits(key, (2,)))
        zero, place = jnp.int32(0), jnp.zeros(LANES, jnp.int32)
        timer, wait = jnp.abs(speed), jnp.int32(PLAYER_SPEED)
        state = State(jnp.int32(START), place, speed, timer, wait, zero, zero)
        return state, planes(state)

    def step(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        bits = jax.random.bits(key, (3,))
        chance = (bits[2] >> 8).astype(jnp.float32) * 2.0**-24
        action = stuck(meaning(action, self.actions), state.previous, self.sticky, chance)
        state, reward, terminated = advance(state, action, speeds(bits[:2]))
        state = replace(state, previous=action)
        truncated = (state.time >= self.limit) & ~terminated
        return state, planes(state), reward, terminated, truncated

    def render(self, state: State) -> np.ndarray:
        """The screen as uint8 pixels [320, 320, 3]."""
        return picture(planes(state), COLOURS)


def speeds(bits: Array) -> Array:
    """Eight speeds out of {-5 ... -1, 1 ... 5}, all equally likely, from two random words [2]."""
    # Four decimal digits of a word: each is uniform to one part in 400,000.
    digit = (bits[:, None] // jnp.array([1, 10, 100, 1000], jnp.uint32)).reshape(LANES) % 10
    digit = digit.astype(jnp.int32)
    return jnp.where(digit < SPEEDS, digit + 1, SPEEDS - 1 - digit)


def advance(state: State, action: Array, speed: Array) -> tuple[State, Array, Array]:
    """The state, the reward and the end of the game after one of MinAtar's six actions.

    Where the chicken arrives, the cars get the new `speed` [8].
    """
    walks = (state.move_timer == 0) & ((action == UP) | (action == DOWN))
    row = state.row + walks * jnp.where(action == UP, -1, 1)
    arrived = row <= 0
    row = jnp.where(arrived, START, jnp.minimum(row, START))
    speed = jnp.where(arrived, speed, state.speed)
    timer = jnp.where(arrived, jnp.abs(speed), state.timer)

    lane = jnp.arange(1, LANES + 1)
    hit = (lane == row) & (state.place == COLUMN)
    moves = timer == 0
    place = (state.place + moves * jnp.sign(speed)) % SIDE
    hit = hit | ((lane == row) & (place == COLUMN))
    wait = jnp.where(walks, PLAYER_SPEED, state.move_timer)
    after = replace(
        state,
        row=jnp.where(hit.any(), START, row), place=place, speed=speed,
        timer=jnp.where(moves, jnp.abs(speed), timer - 1),
        move_timer=jnp.maximum(wait - 1, 0), time=state.time + 1,
    )  # fmt: skip
    return after, arrived.astype(jnp.float32), after.time > DURATION


def planes(state: State) -> Array:
    """What is seen of a state: uint8 [10, 10, 7], by channel as in `CHANNELS`."""
    lane, chicken = jnp.arange(1, LANES + 1), jnp.full(1, COLUMN)
    row = jnp.concatenate([state.row[None], lane, lane])
    trail = (state.place - jnp.sign(state.speed)) % SIDE
    column = jnp.concatenate([chicken, state.place, trail])
    channel = jnp.concatenate(
        [jnp.zeros(1, jnp.int32), jnp.ones(LANES, jnp.int32), 1 + jnp.abs(state.speed)]
    )
    return dots(len(CHANNELS), row, column, channel)
