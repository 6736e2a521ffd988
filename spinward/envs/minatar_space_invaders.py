"""MinAtar's Space Invaders (Young and Tian, 2019, arXiv:1903.03176), as in minatar 1.0.15.

Departs from the original: an episode may be truncated.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Discrete, Key, Spec, config, replace, struct
from spinward.envs.minatar_screen import (
    FIRE,
    LEFT,
    NOOP,
    RIGHT,
    SIDE,
    meaning,
    names_of,
    picture,
    stuck,
    unpacked,
)

NAMES = {"MinAtar-SpaceInvaders": "MinAtarSpaceInvaders"}

ACTIONS = (NOOP, LEFT, RIGHT, FIRE)
CHANNELS = ("cannon", "alien", "alien_left", "alien_right", "friendly_bullet", "enemy_bullet")
COLOURS = (
    (92, 164, 240), (126, 190, 110), (126, 190, 110), (96, 170, 140), (250, 214, 92),
    (206, 84, 76),
)  # fmt: skip
# Aliens and bullets are ten columns of bits, bit i for row i: moving along a column is a shift.
GROUND = 1 << (SIDE - 1)  # the lowest row
SCREEN = (1 << SIDE) - 1  # all rows
MOVE_INTERVAL, FASTEST = 12, 6  # most steps between moves of aliens, at the start and at last
COOL_DOWN, SHOT_INTERVAL = 5, 10  # steps between shots of the cannon, and of the aliens


@struct
class State:
    cannon: Array  # column
    aliens: Array  # [10] columns of bits
    bullets: Array  # [10] the cannon's
    bombs: Array  # [10] the aliens'
    right: Array  # the aliens' direction: 1 is rightwards, -1 leftwards
    move_interval: Array
    move_timer: Array
    shot_timer: Array  # steps until the cannon can shoot
    bomb_timer: Array  # steps until an alien shoots
    previous: Array  # the action carried out last, for sticky actions
    time: Array  # steps since the reset


@config
class MinAtarSpaceInvaders:
    sticky: float = 0.1  # probability that the previous action is repeated instead
    ramping: bool = True  # each new wave of aliens moves faster
    minimal: bool = True  # actions: nothing, left, right, fire; if not, all six of MinAtar
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
        zero, empty, interval = jnp.int32(0), jnp.zeros(SIDE, jnp.int32), jnp.int32(MOVE_INTERVAL)
        state = State(
            jnp.int32(5), wave(), empty, empty, jnp.int32(-1),
            interval, interval, zero, jnp.int32(SHOT_INTERVAL), zero, zero,
        )  # fmt: skip
        return state, planes(state)

    def step(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        chance = jax.random.uniform(key)
        action = stuck(meaning(action, self.actions), state.previous, self.sticky, chance)
        state, reward, terminated = advance(state, action, self.ramping)
        state = replace(state, previous=action, time=state.time + 1)
        truncated = (state.time >= self.limit) & ~terminated
        return state, planes(state), reward, terminated, truncated

    def render(self, state: State) -> np.ndarray:
        """The screen as uint8 pixels [320, 320, 3]."""
        return picture(planes(state), COLOURS)


def wave() -> Array:
    """New aliens: four rows of six, [10] columns of bits."""
    column = jnp.arange(SIDE)
    return jnp.where((column >= 2) & (column < 8), 0b1111, 0)


def advance(state: State, action: Array, ramping: bool = True) -> tuple[State, Array, Array]:
    """The state, the reward and the end of the game after one of MinAtar's six actions."""
    column = jnp.arange(SIDE)
    fires = (action == FIRE) & (state.shot_timer == 0)
    bullets = state.bullets | jnp.where(fires & (column == state.cannon), GROUND, 0)
    bullets = bullets >> 1
    move = (action == RIGHT).astype(jnp.int32) - (action == LEFT)
    cannon = jnp.clip(state.cannon + move, 0, SIDE - 1)
    here = column == cannon
    bombs = (state.bombs << 1) & SCREEN

    moves = state.move_timer == 0
    aliens, right, landed = marched(state.aliens, state.right)
    aliens, right = jnp.where(moves, aliens, state.aliens), jnp.where(moves, right, state.right)
    threats = bombs | state.aliens | aliens
    terminated = (here & (threats >= GROUND)).any() | (moves & landed)

    bombs_away = state.bomb_timer == 0
    bombs = bombs | jnp.where(bombs_away, nearest(aliens, cannon), 0)
    hits = aliens & bullets
    aliens, bullets = aliens & ~hits, bullets & ~hits
    reward = jax.lax.population_count(hits).sum().astype(jnp.float32)

    cleared = (aliens == 0).all()
    faster = cleared & (state.move_interval > FASTEST) if ramping else jnp.bool_(False)
    count = jax.lax.population_count(state.aliens).sum()  # the fewer aliens, the faster they are
    timer = jnp.where(moves, jnp.minimum(count, state.move_interval), state.move_timer)
    shot_timer = jnp.where(fires, COOL_DOWN, state.shot_timer)
    after = replace(
        state,
        cannon=cannon, aliens=jnp.where(cleared, wave(), aliens), bullets=bullets, bombs=bombs,
        right=right, move_interval=state.move_interval - faster, move_timer=timer - 1,
        shot_timer=jnp.maximum(shot_timer - 1, 0),
        bomb_timer=jnp.where(bombs_away, SHOT_INTERVAL, state.bomb_timer) - 1,
    )  # fmt: skip
    return after, reward, terminated


def marched(aliens: Array, right: Array) -> tuple[Array, Array, Array]:
    """Aliens [10] after a move, their direction, and whether they went below the lowest row.

    At the edge they turn and come down by a row; who has landed is seen in the top row, at the end.
    """
    turns = jnp.where(right > 0, aliens[-1], aliens[0]) > 0
    aside = jnp.where(right > 0, jnp.roll(aliens, 1), jnp.roll(aliens, -1))
    landed = turns & (aliens >= GROUND).any()
    down = ((aliens << 1) & SCREEN) | (aliens >> (SIDE - 1))
    return jnp.where(turns, down, aside), jnp.where(turns, -right, right), landed


def nearest(aliens: Array, cannon: Array) -> Array:
    """The lowest alien of the column nearest to the cannon, the left one of two: bits [10]."""
    column = jnp.arange(SIDE)
    distance = 2 * jnp.abs(column - cannon) + (column > cannon)  # no two are equal
    distance = jnp.where(aliens > 0, distance, 2 * SIDE)
    lowest = jnp.left_shift(1, 31 - jax.lax.clz(aliens))
    return jnp.where((distance == distance.min()) & (aliens > 0), lowest, 0)


def planes(state: State) -> Array:
    """What is seen of a state: uint8 [10, 10, 6], by channel as in `CHANNELS`."""
    left = jnp.where(state.right < 0, state.aliens, 0)
    cannon = jnp.where(jnp.arange(SIDE) == state.cannon, GROUND, 0)
    aliens = [state.aliens, left, state.aliens - left]
    columns = jnp.stack([cannon, *aliens, state.bullets, state.bombs], axis=-1)
    return unpacked(columns, jnp.arange(SIDE)[:, None, None])
