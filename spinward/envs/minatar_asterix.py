"""MinAtar's Asterix (Young and Tian, 2019, arXiv:1903.03176), with the rules of minatar 1.0.15.

Departs from the original: an episode may be truncated.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Discrete, Key, Spec, config, replace, struct
from spinward.envs.minatar_screen import (
    DOWN,
    LEFT,
    NOOP,
    RIGHT,
    SIDE,
    UP,
    dots,
    meaning,
    names_of,
    picture,
    stuck,
)

NAMES = {"MinAtar-Asterix": "MinAtarAsterix"}

ACTIONS = (NOOP, LEFT, UP, RIGHT, DOWN)
CHANNELS = ("player", "enemy", "trail", "gold")
COLOURS = ((92, 164, 240), (206, 84, 76), (92, 100, 112), (250, 214, 92))
LANES = 8  # rows 1 to 8, each with at most one enemy or piece of gold
NOBODY, ENEMY, GOLD = range(3)
SPAWN_SPEED, MOVE_SPEED = 10, 5  # steps between spawns and between moves, at the start
RAMP_INTERVAL = 100  # steps between increases of difficulty
GOLD_SHARE = 1 / 3


@struct
class State:
    x: Array  # of the player
    y: Array
    kind: Array  # [8] what is in each lane
    place: Array  # [8] its column
    right: Array  # [8] 1 if it moves rightwards, -1 leftwards
    spawn_speed: Array
    spawn_timer: Array
    move_speed: Array
    move_timer: Array
    ramp_timer: Array
    ramp_index: Array  # how often the game got harder
    previous: Array  # the action carried out last, for sticky actions
    time: Array  # steps since the reset


@struct
class AsterixSpawn:
    """What appears in this step, if something is due."""

    lane: Array  # 0 to 7; 8 if all lanes are taken, and nothing appears
    right: Array  # bool: it comes from the left
    gold: Array  # bool


@config
class MinAtarAsterix:
    sticky: float = 0.1  # probability that the previous action is repeated instead
    ramping: bool = True  # the game gets faster with time
    minimal: bool = True  # actions: nothing, left, up, right, down; if not, all six of MinAtar
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
        lanes, zero, five = jnp.zeros(LANES, jnp.int32), jnp.int32(0), jnp.int32(5)
        spawn, move = jnp.int32(SPAWN_SPEED), jnp.int32(MOVE_SPEED)
        timers = (spawn, spawn, move, move, jnp.int32(RAMP_INTERVAL))
        state = State(five, five, lanes, lanes, lanes + 1, *timers, zero, zero, zero)
        return state, planes(state)

    def step(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        chance = jax.random.uniform(key, (4,))
        action = stuck(meaning(action, self.actions), state.previous, self.sticky, chance[0])
        lane = free_lane(state.kind == NOBODY, chance[1])
        spawn = AsterixSpawn(lane, chance[2] < 0.5, chance[3] < GOLD_SHARE)
        state, reward, terminated = advance(state, action, spawn, self.ramping)
        state = replace(state, previous=action, time=state.time + 1)
        truncated = (state.time >= self.limit) & ~terminated
        return state, planes(state), reward, terminated, truncated

    def render(self, state: State) -> np.ndarray:
        """The screen as uint8 pixels [320, 320, 3]."""
        return picture(planes(state), COLOURS)


def free_lane(free: Array, chance: Array) -> Array:
    """One of the `free` lanes [8], all equally likely by a uniform `chance`; 8 if there is none."""
    lane = jnp.arange(LANES)
    rank = (free & (lane < lane[:, None])).sum(1)  # of each lane among those that are free
    wanted = (chance * free.sum()).astype(jnp.int32)
    return jnp.where(free & (rank == wanted), lane, LANES).min()


def advance(
    state: State, action: Array, spawn: AsterixSpawn, ramping: bool = True
) -> tuple[State, Array, Array]:
    """The state, the reward and the end of the game after one of MinAtar's six actions."""
    due = state.spawn_timer == 0
    appears = due & (jnp.arange(LANES) == spawn.lane)
    kind = jnp.where(appears, jnp.where(spawn.gold, GOLD, ENEMY), state.kind)
    place = jnp.where(appears, jnp.where(spawn.right, 0, SIDE - 1), state.place)
    right = jnp.where(appears, jnp.where(spawn.right, 1, -1), state.right)

    across = (action == RIGHT).astype(jnp.int32) - (action == LEFT)
    along = (action == DOWN).astype(jnp.int32) - (action == UP)
    x = jnp.clip(state.x + across, 0, SIDE - 1)
    y = jnp.clip(state.y + along, 1, LANES)

    row = jnp.arange(1, LANES + 1)
    touched = (row == y) & (place == x)  # the player comes to it
    gold, killed = touched & (kind == GOLD), touched & (kind == ENEMY)
    kind = jnp.where(gold, NOBODY, kind)
    moves = state.move_timer == 0
    place = jnp.where(moves & (kind != NOBODY), place + right, place)
    touched = moves & (row == y) & (place == x)  # it comes to the player
    gold_after, caught = touched & (kind == GOLD), touched & (kind == ENEMY)
    kind = jnp.where(gold_after | (place < 0) | (place >= SIDE), NOBODY, kind)

    after = replace(
        state,
        x=x, y=y, kind=kind, place=jnp.clip(place, 0, SIDE - 1), right=right,
        spawn_timer=jnp.where(due, state.spawn_speed, state.spawn_timer) - 1,
        move_timer=jnp.where(moves, state.move_speed, state.move_timer) - 1,
    )  # fmt: skip
    reward = (gold | gold_after).sum().astype(jnp.float32)
    return ramped(after) if ramping else after, reward, (killed | caught).any()


def ramped(state: State) -> State:
    """The state with the next spawn and move intervals: shorter each time the ramp's timer ends."""
    slow = (state.spawn_speed > 1) | (state.move_speed > 1)
    harder = slow & (state.ramp_timer < 0)
    faster = harder & (state.move_speed > 1) & (state.ramp_index % 2 == 1)  # every second time
    timer = jnp.where(harder, RAMP_INTERVAL, state.ramp_timer - slow)
    return replace(
        state,
        move_speed=state.move_speed - faster,
        spawn_speed=state.spawn_speed - (harder & (state.spawn_speed > 1)),
        ramp_index=state.ramp_index + harder,
        ramp_timer=timer,
    )


def planes(state: State) -> Array:
    """What is seen of a state: uint8 [10, 10, 4], by channel as in `CHANNELS`."""
    lane = jnp.where(state.kind == NOBODY, SIDE, jnp.arange(1, LANES + 1))
    row = jnp.concatenate([state.y[None], lane, lane])
    column = jnp.concatenate([state.x[None], state.place, state.place - state.right])
    channel = jnp.concatenate(
        [jnp.zeros(1, jnp.int32), jnp.where(state.kind == GOLD, 3, 1), jnp.full(LANES, 2)]
    )
    return dots(len(CHANNELS), row, column, channel)
