"""MinAtar's games against what the `minatar` package did, and against their published rules."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.core import replace
from spinward.envs import (
    minatar_asterix,
    minatar_breakout,
    minatar_freeway,
    minatar_seaquest,
    minatar_space_invaders,
)
from spinward.envs.minatar_asterix import MinAtarAsterix
from spinward.envs.minatar_breakout import MinAtarBreakout
from spinward.envs.minatar_freeway import MinAtarFreeway
from spinward.envs.minatar_seaquest import MinAtarSeaquest
from spinward.envs.minatar_space_invaders import MinAtarSpaceInvaders

DATA = Path(__file__).parent / "data"
GAMES = (
    MinAtarBreakout(),
    MinAtarAsterix(),
    MinAtarFreeway(),
    MinAtarSpaceInvaders(),
    MinAtarSeaquest(),
)
named = pytest.mark.parametrize("env", GAMES, ids=lambda env: type(env).__name__)


def recorded(name, env):
    """What the package did: all columns, and the states before its steps; our own fields 0."""
    with np.load(DATA / f"minatar_{name}.npz") as file:
        table = dict(file)
    steps = len(table["action"])
    planes = np.unpackbits(table["planes"], axis=1)[:, : env.spec.obs.size]
    table["planes"] = planes.reshape(steps, *env.spec.obs.shape)

    def filled(path, kind):
        column = f"before_{jax.tree_util.keystr(path, simple=True, separator='.')}"
        return jnp.asarray(table.get(column, np.zeros((steps, *kind.shape))), kind.dtype)

    example, _ = jax.eval_shape(env.reset, jax.random.key(0))
    return table, jax.tree_util.tree_map_with_path(filled, example)


def assert_same_as_recorded(table, after, reward, terminated, obs, live=None):
    """Planes, reward and end of every step, and every variable where the episode went on.

    `live` names a field that is 0 where those of an entity mean nothing.
    """
    np.testing.assert_array_equal(obs, table["planes"])
    np.testing.assert_array_equal(reward, table["reward"])
    np.testing.assert_array_equal(terminated, table["terminated"].astype(bool))
    went_on = ~table["first"][1:].astype(bool)
    for column in (c for c in table if c.startswith("before_")):
        ours = np.asarray(getattr(after, column.removeprefix("before_")))[:-1][went_on]
        theirs = table[column][1:][went_on]
        if live and ours.ndim > 1:
            alive = table[f"before_{live}"][1:][went_on] > 0
            ours, theirs = ours * alive, theirs * alive
        np.testing.assert_array_equal(ours, theirs, column)


def play(env, steps, envs, action=None, seed=0):
    """States, observations, rewards and ends [steps, envs] under random or constant actions."""

    def one(carry, key):
        k_act, k_step = jax.random.split(key)
        act = env.spec.action.sample(k_act, (envs,)) if action is None else jnp.full(envs, action)
        state, *seen = jax.vmap(env.step)(carry, act, jax.random.split(k_step, envs))
        return state, (state, *seen)

    def whole(key):
        k_reset, k_steps = jax.random.split(key)
        state, _ = jax.vmap(env.reset)(jax.random.split(k_reset, envs))
        return jax.lax.scan(one, state, jax.random.split(k_steps, steps))[1]

    return jax.tree.map(np.asarray, jax.jit(whole)(jax.random.key(seed)))


@jax.jit
def start(env, key):
    return env.reset(key)


@functools.cache
def short_games(env):
    """What `play` returns for games that are cut short after 40 steps."""
    return play(replace(env, limit=40), 60, 64)


@jax.jit
def steps(env, state, action, key):
    """One step from one state under many actions, [n], each with its own key."""
    return jax.vmap(env.step, (None, 0, 0))(state, action, jax.random.split(key, len(action)))


def test_breakout_does_what_the_package_does():
    table, state = recorded("breakout", MinAtarBreakout())
    step = jax.jit(jax.vmap(minatar_breakout.advance))
    after, reward, terminated = step(state, jnp.asarray(table["action"], jnp.int32))
    obs = jax.jit(jax.vmap(minatar_breakout.planes))(after)
    assert_same_as_recorded(table, after, reward, terminated, obs)
    assert table["terminated"].sum() > 20 and table["reward"].sum() > 80
    bricks = table["before_bricks"].sum((1, 2))
    assert (np.diff(bricks) > 25).sum() > 3  # walls were built anew while a game went on


def test_asterix_does_what_the_package_does():
    table, state = recorded("asterix", MinAtarAsterix())
    spawn = minatar_asterix.AsterixSpawn(
        *(jnp.asarray(table[f"spawn_{name}"]) for name in ("lane", "right", "gold"))
    )
    step = jax.jit(jax.vmap(minatar_asterix.advance))
    after, reward, terminated = step(state, jnp.asarray(table["action"], jnp.int32), spawn)
    obs = jax.jit(jax.vmap(minatar_asterix.planes))(after)
    assert_same_as_recorded(table, after, reward, terminated, obs, live="kind")
    assert table["terminated"].sum() > 10 and table["reward"].sum() > 10


def test_freeway_does_what_the_package_does():
    table, state = recorded("freeway", MinAtarFreeway())
    step = jax.jit(jax.vmap(minatar_freeway.advance))
    action, speed = (jnp.asarray(table[c], jnp.int32) for c in ("action", "drawn_speed"))
    after, reward, terminated = step(state, action, speed)
    obs = jax.jit(jax.vmap(minatar_freeway.planes))(after)
    assert_same_as_recorded(table, after, reward, terminated, obs)
    assert table["terminated"].sum() > 4 and table["reward"].sum() > 10


def test_space_invaders_does_what_the_package_does():
    table, state = recorded("space_invaders", MinAtarSpaceInvaders())
    step = jax.jit(jax.vmap(minatar_space_invaders.advance))
    after, reward, terminated = step(state, jnp.asarray(table["action"], jnp.int32))
    obs = jax.jit(jax.vmap(minatar_space_invaders.planes))(after)
    assert_same_as_recorded(table, after, reward, terminated, obs)
    assert table["terminated"].sum() > 10 and table["reward"].sum() > 50


def members(group):
    """The swimmers of a group [steps, n], each as one number, in order and without their birth."""
    shot = np.where(group.kind == minatar_seaquest.SUB, group.shot, 0)
    digits = [group.x, group.y, group.right + 1, group.timer, shot, group.kind]
    code = sum(digit.astype(np.int64) * 100**i for i, digit in enumerate(digits))
    return np.sort(np.where(group.kind > 0, code, 0), axis=1)


def test_seaquest_does_what_the_package_does():
    table, state = recorded("seaquest", MinAtarSeaquest())
    names = ("right", "sub", "row", "diver_right", "diver_row")
    spawn = minatar_seaquest.SeaquestSpawn(*(jnp.asarray(table[f"spawn_{name}"]) for name in names))
    spawn = replace(
        spawn, right=spawn.right > 0, sub=spawn.sub > 0, diver_right=spawn.diver_right > 0
    )
    step = jax.jit(jax.vmap(minatar_seaquest.advance))
    after, reward, terminated = step(state, jnp.asarray(table["action"], jnp.int32), spawn)
    obs = jax.jit(jax.vmap(minatar_seaquest.planes))(after)
    plain = {c: v for c, v in table.items() if "." not in c}
    assert_same_as_recorded(plain, after, reward, terminated, obs)
    went_on = ~table["first"][1:].astype(bool)
    before, after = jax.tree.map(np.asarray, (state, after))
    for group in ("enemies", "divers", "bullets"):
        ours, theirs = members(getattr(after, group)), members(getattr(before, group))
        np.testing.assert_array_equal(ours[:-1][went_on], theirs[1:][went_on])
    assert table["terminated"].sum() > 20 and table["reward"].max() > 1  # a rescue among them


@named
def test_observations_are_zeros_and_ones_of_the_declared_shape_and_kind(env):
    _, obs, reward, terminated, truncated = short_games(env)
    assert obs.shape[2:] == env.spec.obs.shape and obs.dtype == env.spec.obs.dtype == "uint8"
    assert set(np.unique(obs)) == {0, 1}
    assert reward.dtype == np.float32 and terminated.dtype == truncated.dtype == bool


@named
def test_sticky_actions_repeat_the_previous_one_with_their_probability(env):
    state, _ = start(env, jax.random.key(0))
    state, last = replace(state, previous=jnp.int32(99)), env.spec.action.n - 1
    after = steps(
        replace(env, sticky=0.25), state, jnp.full(4000, last, jnp.int32), jax.random.key(1)
    )
    previous = np.asarray(after[0].previous)
    assert set(np.unique(previous)) == {env.actions[last], 99}
    assert abs((previous == 99).mean() - 0.25) < 0.025  # 3.6 standard deviations


@named
def test_without_minimal_actions_a_step_takes_all_six_as_numbered_by_minatar(env):
    state, _ = start(env, jax.random.key(0))
    index = jnp.arange(4000, dtype=jnp.int32) % env.spec.action.n
    action = jnp.asarray(env.actions)[index]
    one = steps(replace(env, sticky=0.0), state, index, jax.random.key(1))
    np.testing.assert_array_equal(one[0].previous, action)
    full = replace(env, sticky=0.0, minimal=False)
    assert full.actions == tuple(range(6)) and full.spec.action.n == 6
    if env.actions == full.actions:
        return  # the very same program
    jax.tree.map(np.testing.assert_array_equal, one, steps(full, state, action, jax.random.key(1)))


@named
def test_the_limit_truncates_and_never_together_with_an_end(env):
    _, _, _, terminated, truncated = short_games(env)
    assert not truncated[:39].any()
    np.testing.assert_array_equal(truncated[39:], ~terminated[39:])
    assert truncated[39].any()


@named
def test_picture_shows_a_colour_where_a_plane_is_set_and_the_night_elsewhere(env):
    state, obs = start(env, jax.random.key(3))
    pixels = env.render(state)
    assert pixels.shape == (320, 320, 3) and pixels.dtype == np.uint8
    lit = (pixels[16::32, 16::32] != pixels[0, 0]).any(-1)
    np.testing.assert_array_equal(lit, np.asarray(obs).any(-1))


def test_breakout_starts_in_either_upper_corner_and_breaks_one_brick_in_a_row():
    states, *_ = jax.jit(jax.vmap(MinAtarBreakout().reset))(
        jax.random.split(jax.random.key(0), 400)
    )
    right = np.asarray(states.right)
    np.testing.assert_array_equal(states.x, np.where(right > 0, 0, 9))
    assert 160 < (right > 0).sum() < 240
    state = jax.tree.map(lambda leaf: leaf[0], states)
    state = replace(state, x=jnp.int32(4), y=jnp.int32(4), right=jnp.int32(1), down=jnp.int32(-1))
    state, reward, _ = jax.jit(minatar_breakout.advance)(state, jnp.int32(0))
    assert reward == 1.0 and not state.bricks[2, 5] and state.down == 1 and state.strike


def test_asterix_spawns_a_third_gold_from_both_sides_in_every_free_lane_alike():
    states, *_ = play(replace(MinAtarAsterix(), sticky=0.0), 11, 3000, action=0)
    assert not states.kind[9].any() and (states.kind[10].astype(bool).sum(1) == 1).all()
    env, lane = states.kind[10].nonzero()
    assert abs((states.kind[10][env, lane] == minatar_asterix.GOLD).mean() - 1 / 3) < 0.035
    assert abs((states.right[10][env, lane] > 0).mean() - 0.5) < 0.037
    np.testing.assert_allclose(np.bincount(lane, minlength=8) / 3000, 1 / 8, atol=0.025)


def test_asterix_spawns_only_in_free_lanes_and_nowhere_if_all_are_taken():
    chance = (jnp.arange(700) + 0.5) / 700
    free = jnp.array([0, 1, 0, 0, 1, 1, 0, 0], bool)
    lane = jax.vmap(minatar_asterix.free_lane, (None, 0))(free, chance)
    np.testing.assert_allclose(np.bincount(lane, minlength=9)[[1, 4, 5]], 700 / 3, atol=1)
    assert minatar_asterix.free_lane(jnp.zeros(8, bool), jnp.float32(0.3)) == 8


@pytest.mark.parametrize("ramping", [True, False])
def test_asterix_gets_faster_each_102_steps_only_if_it_ramps(ramping):
    env = replace(MinAtarAsterix(), ramping=ramping)
    states, *_ = play(env, 2000, 1)
    spawn, move = states.spawn_speed[:, 0], states.move_speed[:, 0]
    times = np.arange(1, 2001) // 102 if ramping else np.zeros(2000, int)
    np.testing.assert_array_equal(spawn, np.maximum(10 - times, 1))
    np.testing.assert_array_equal(move, np.maximum(5 - times // 2, 1))


def test_freeway_draws_ten_speeds_alike_and_independently_for_each_car():
    bits = jax.random.bits(jax.random.key(0), (4000, 2))
    speed = np.asarray(jax.vmap(minatar_freeway.speeds)(bits))
    for car in range(8):
        share = np.bincount(speed[:, car] + 5, minlength=11) / 4000
        np.testing.assert_allclose(share, [0.1] * 5 + [0] + [0.1] * 5, atol=0.02)
    assert np.abs(np.corrcoef(speed.T) - np.eye(8)).max() < 0.07


def test_freeway_ends_by_itself_after_2501_steps_and_a_walk_up_is_rewarded():
    env = replace(MinAtarFreeway(), sticky=0.0)
    states, _, reward, terminated, truncated = play(env, 2501, 4, action=1)
    assert not truncated.any() and not terminated[:-1].any() and terminated[-1].all()
    assert reward.sum() > 20 and (states.row[reward > 0] == 9).all()
    waits = np.diff(np.flatnonzero(np.diff(states.row[:, 0]) == -1))
    assert waits.min() == 3


def test_space_invaders_come_back_faster_when_the_last_is_shot_only_if_it_ramps():
    state, _ = start(MinAtarSpaceInvaders(), jax.random.key(0))
    last = jnp.zeros(10, jnp.int32).at[5].set(0b1)
    state = replace(state, aliens=last, bullets=last << 1)
    advance = jax.jit(minatar_space_invaders.advance, static_argnums=2)
    for ramping, interval in ((True, 11), (False, 12)):
        after, reward, _ = advance(state, jnp.int32(0), ramping)
        assert reward == 1.0 and after.move_interval == interval
        np.testing.assert_array_equal(after.aliens, minatar_space_invaders.wave())
        assert not after.bullets.any()
    slowest = replace(state, move_interval=jnp.int32(6))
    assert advance(slowest, jnp.int32(0), True)[0].move_interval == 6
