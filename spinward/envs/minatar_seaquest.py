"""MinAtar's Seaquest (Young and Tian, 2019, arXiv:1903.03176), with the rules of minatar 1.0.15.

The rules changed after 1.0.10: scores from that version or older are of another game.
Departs from the original: an episode may be truncated.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Discrete, Key, Spec, config, replace, struct
from spinward.envs.minatar_screen import (
    DOWN,
    FIRE,
    LEFT,
    RIGHT,
    SIDE,
    UP,
    meaning,
    names_of,
    picture,
    stuck,
    unpacked,
)
from spinward.envs.minatar_swimmers import (
    FISH,
    NOTHING,
    SUB,
    Swimmers,
    fly,
    nobody,
    pushed,
    struck,
    swim,
)

NAMES = {"MinAtar-Seaquest": "MinAtarSeaquest"}

CHANNELS = (
    "sub_front", "sub_back", "friendly_bullet", "trail", "enemy_bullet", "enemy_fish",
    "enemy_sub", "oxygen_guage", "diver_guage", "diver",
)  # fmt: skip
COLOURS = (
    (92, 164, 240), (58, 104, 160), (250, 214, 92), (64, 74, 92), (240, 130, 60),
    (206, 84, 76), (168, 78, 150), (220, 228, 236), (126, 190, 110), (126, 190, 110),
)  # fmt: skip
# The most there can be: at the end of the ramp an enemy appears in each step and stays for 30,
# a diver appears every 30 steps and stays for 60, a bullet flies 9 steps at most, one every 5.
ENEMIES, DIVERS, BULLETS = 32, 2, 2
OXYGEN, CREW = 200, 6  # steps under water, and the most divers aboard
SPAWN_SPEED, MOVE_SPEED, FASTEST = 20, 5, 2  # steps between spawns and between moves
DIVER_SPAWN_SPEED, DIVER_MOVE_SPEED = 30, 5
COOL_DOWN, SHOT_INTERVAL = 5, 10  # steps between shots, ours and an enemy's


@struct
class State:
    x: Array  # of our submarine
    y: Array
    right: Array  # where it looks: 1 or -1
    oxygen: Array
    crew: Array  # divers aboard; -1 after a rescue of six
    surfaced: Array  # it has been at the surface since its last dive
    enemies: Swimmers  # [32]
    divers: Swimmers  # [2] the newest first
    bullets: Swimmers  # [2] the newest first
    bombs: Array  # [2, 10] bits of columns, for each row: the enemies', left- and rightwards
    spawn_speed: Array
    spawn_timer: Array
    diver_timer: Array
    move_speed: Array
    ramp_index: Array
    shot_timer: Array  # steps until we can shoot
    previous: Array  # the action carried out last, for sticky actions
    time: Array  # steps since the reset


@struct
class SeaquestSpawn:
    """What appears in this step, if something is due."""

    right: Array  # bool: the enemy comes from the left
    sub: Array  # bool: it is a submarine
    row: Array  # 1 to 8
    diver_right: Array
    diver_row: Array


@config
class MinAtarSeaquest:
    sticky: float = 0.1  # probability that the previous action is repeated instead
    ramping: bool = True  # each time at the surface makes enemies faster and more frequent
    minimal: bool = True  # of no effect: the game has all six actions of MinAtar
    limit: int = 5000  # steps after which an episode is truncated; the original has no limit

    @property
    def actions(self) -> tuple[int, ...]:
        return tuple(range(6))

    @property
    def spec(self) -> Spec:
        obs = Box((SIDE, SIDE, len(CHANNELS)), 0, 1, "uint8")
        return Spec(obs, Discrete(len(self.actions)))

    @property
    def action_names(self) -> tuple[str, ...]:
        return names_of(self.actions)

    def reset(self, key: Key) -> tuple[State, Array]:
        zero, spawn = jnp.int32(0), jnp.int32(SPAWN_SPEED)
        state = State(
            jnp.int32(5), zero, jnp.int32(-1), jnp.int32(OXYGEN), zero, jnp.bool_(True),
            nobody(ENEMIES), nobody(DIVERS), nobody(BULLETS), jnp.zeros((2, SIDE), jnp.int32),
            spawn, spawn, jnp.int32(DIVER_SPAWN_SPEED), jnp.int32(MOVE_SPEED), zero, zero,
            zero, zero,
        )  # fmt: skip
        return state, planes(state)

    def step(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        chance, spawn = chances(jax.random.bits(key, (2,)))
        action = stuck(meaning(action, self.actions), state.previous, self.sticky, chance)
        state, reward, terminated = advance(state, action, spawn, self.ramping)
        state = replace(state, previous=action)
        truncated = (state.time >= self.limit) & ~terminated
        return state, planes(state), reward, terminated, truncated

    def render(self, state: State) -> np.ndarray:
        """The screen as uint8 pixels [320, 320, 3]."""
        return picture(planes(state), COLOURS)


def chances(bits: Array) -> tuple[Array, SeaquestSpawn]:
    """A number in [0, 1) and what may appear, out of two random words [2]."""
    fraction = (bits >> 8).astype(jnp.float32) * 2.0**-24
    low = bits[1].astype(jnp.int32)  # eight bits that the fraction leaves
    row, diver_row = 1 + ((low >> 2) & 7), 1 + ((low >> 5) & 7)
    return fraction[0], SeaquestSpawn(low & 1 > 0, fraction[1] < 1 / 3, row, low & 2 > 0, diver_row)


def advance(
    state: State, action: Array, spawn: SeaquestSpawn, ramping: bool = True
) -> tuple[State, Array, Array]:
    """The state, the reward and the end of the game after one of MinAtar's six actions."""
    state = steered(spawned(state, spawn), action)
    bullets, enemies, shot_down = struck(fly(state.bullets), state.enemies, state.enemies.kind > 0)
    state = picked_up(replace(state, bullets=bullets))

    hit = touches(enemies, state)
    due = (enemies.kind > 0) & (enemies.timer == 0)
    enemies = swim(enemies, due, state.move_speed)
    hit = hit | touches(enemies, state)
    bombs, bombed = bombarded(state, enemies)  # also by those who die now by running into a bullet
    bullets, enemies, run_into = struck(bullets, enemies, due, newest=True)
    shot = jnp.where(enemies.shot == 0, SHOT_INTERVAL, enemies.shot - 1)
    enemies = replace(enemies, shot=shot)

    timer = jnp.where(state.spawn_timer == 0, state.spawn_speed, state.spawn_timer)
    diver_timer = jnp.where(state.diver_timer == 0, DIVER_SPAWN_SPEED, state.diver_timer)
    state = replace(
        state,
        enemies=enemies, bullets=bullets, bombs=bombs, time=state.time + 1,
        spawn_timer=timer - 1, diver_timer=diver_timer - 1,
        shot_timer=jnp.maximum(state.shot_timer - 1, 0),
    )  # fmt: skip
    state, rescue, lost = breathe(state, ramping)
    reward = (shot_down + run_into + rescue).astype(jnp.float32)
    return state, reward, hit | bombed | lost


def spawned(state: State, spawn: SeaquestSpawn) -> State:
    """The state with a new enemy and a new diver, where they are due."""
    old, right = state.enemies, jnp.where(spawn.right, 1, -1)
    # Enemies in one row all move the same way: none appears against the others.
    against = (old.kind > 0) & (old.y == spawn.row) & (old.right != right)
    slot = jnp.arange(ENEMIES)
    first = jnp.where(old.kind == NOTHING, slot, ENEMIES).min()
    here = (state.spawn_timer == 0) & ~against.any() & (slot == first)
    edge = jnp.where(spawn.right, 0, SIDE - 1)
    enemy = Swimmers(
        jnp.where(spawn.sub, SUB, FISH), edge, spawn.row, right, state.move_speed,
        jnp.int32(SHOT_INTERVAL), state.time,
    )  # fmt: skip
    enemies = jax.tree.map(lambda leaf, value: jnp.where(here, value, leaf), old, enemy)
    edge, right = jnp.where(spawn.diver_right, 0, SIDE - 1), jnp.where(spawn.diver_right, 1, -1)
    diver = Swimmers(
        jnp.int32(1), edge, spawn.diver_row, right, jnp.int32(DIVER_MOVE_SPEED), jnp.int32(0),
        state.time,
    )  # fmt: skip
    return replace(
        state, enemies=enemies, divers=pushed(state.divers, diver, state.diver_timer == 0)
    )


def steered(state: State, action: Array) -> State:
    """The state after our submarine's move or shot."""
    across = (action == RIGHT).astype(jnp.int32) - (action == LEFT)
    along = (action == DOWN).astype(jnp.int32) - (action == UP)
    fires = (action == FIRE) & (state.shot_timer == 0)
    zero = jnp.int32(0)
    bullet = Swimmers(jnp.int32(1), state.x, state.y, state.right, zero, zero, state.time)
    return replace(
        state,
        x=jnp.clip(state.x + across, 0, SIDE - 1),
        y=jnp.clip(state.y + along, 0, SIDE - 2),
        right=jnp.where(across == 0, state.right, across),
        bullets=pushed(state.bullets, bullet, fires),
        shot_timer=jnp.where(fires, COOL_DOWN, state.shot_timer),
    )


def touches(group: Swimmers, state: State) -> Array:
    """Whether somebody of the group is where our submarine is."""
    return ((group.kind > 0) & (group.x == state.x) & (group.y == state.y)).any()


def picked_up(state: State) -> State:
    """The state after divers moved and came aboard, while there is room."""
    old = state.divers
    divers_after = swim(old, old.timer == 0, DIVER_MOVE_SPEED)
    before, after = (
        (d.kind > 0) & (d.x == state.x) & (d.y == state.y) for d in (old, divers_after)
    )
    near = before | after
    room = state.crew + jnp.stack([jnp.int32(0), near[0].astype(jnp.int32)]) < CREW
    aboard = near & room
    divers = replace(divers_after, kind=jnp.where(aboard, NOTHING, divers_after.kind))
    return replace(state, divers=divers, crew=state.crew + aboard.sum())


def bombarded(state: State, enemies: Swimmers) -> tuple[Array, Array]:
    """The enemies' bullets [2, 10] after shots and a move, and whether one met our submarine."""
    shoots = (enemies.kind == SUB) & (enemies.shot == 0)
    row, way = jnp.arange(SIDE), jnp.array([-1, 1])[:, None, None]
    fired = shoots & (enemies.y == row[:, None]) & (enemies.right == way)  # [2, 10, enemies]
    shots = jnp.where(fired, 1 << enemies.x, 0)
    bombs = state.bombs | jax.lax.reduce(shots, 0, jax.lax.bitwise_or, (2,))
    after = jnp.stack([bombs[0] >> 1, (bombs[1] << 1) & ((1 << SIDE) - 1)])
    hit = (row == state.y) & (((bombs | after) >> state.x) & 1 > 0)
    return after, hit.any()


def breathe(state: State, ramping: bool) -> tuple[State, Array, Array]:
    """The state, the reward for a rescue, and whether the submarine was lost: without oxygen at
    the start of the step, even if it came up in it, or at the surface without a diver."""
    under = state.y > 0
    up = ~under & ~state.surfaced
    lost = (state.oxygen <= 0) | (up & (state.crew == 0))
    up = up & (state.crew != 0)
    full = up & (state.crew == CREW)
    rescue = jnp.where(full, state.oxygen * 10 // OXYGEN, 0)
    crew = jnp.where(full, 0, state.crew) - up
    oxygen = jnp.where(up, OXYGEN, state.oxygen - under)
    state = replace(state, crew=crew, oxygen=oxygen, surfaced=~under)
    if not ramping:
        return state, rescue, lost
    harder = up & ((state.spawn_speed > 1) | (state.move_speed > FASTEST))
    faster = harder & (state.move_speed > FASTEST) & (state.ramp_index % 2 == 1)
    state = replace(
        state,
        move_speed=state.move_speed - faster,
        spawn_speed=state.spawn_speed - (harder & (state.spawn_speed > 1)),
        ramp_index=state.ramp_index + harder,
    )
    return state, rescue, lost


def planes(state: State) -> Array:
    """What is seen of a state: uint8 [10, 10, 10], by channel as in `CHANNELS`."""
    row = jnp.arange(SIDE)

    def bits(group: Swimmers, shown: Array, shift: Array | int = 0) -> Array:
        """Each row's columns, as bits [10], in which somebody of the group is shown."""
        in_row = shown & (group.y == row[:, None])
        return jax.lax.reduce(
            jnp.where(in_row, (2 << (group.x - shift)) >> 1, 0), 0, jax.lax.bitwise_or, (1,)
        )

    enemies, divers, bullets = state.enemies, state.divers, state.bullets
    own = jnp.where(row == state.y, 1 << state.x, 0)
    back = jnp.where(state.right > 0, own >> 1, own << 1)
    trail = bits(enemies, enemies.kind > 0, enemies.right)
    trail = trail | bits(divers, divers.kind > 0, divers.right)
    bottom = row == SIDE - 1
    oxygen = (1 << jnp.maximum(state.oxygen * 10 // OXYGEN, 0)) - 1
    crew = (1 << (SIDE - 1)) - (1 << (SIDE - 1 - jnp.maximum(state.crew, 0)))
    columns = [
        own, back, bits(bullets, bullets.kind > 0), trail, state.bombs[0] | state.bombs[1],
        bits(enemies, enemies.kind == FISH), bits(enemies, enemies.kind == SUB),
        jnp.where(bottom, oxygen, 0), jnp.where(bottom, crew, 0), bits(divers, divers.kind > 0),
    ]  # fmt: skip
    return unpacked(jnp.stack(columns, axis=-1)[:, None, :], row[:, None])
