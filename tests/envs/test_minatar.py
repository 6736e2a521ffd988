"""MinAtar's games against what the `minatar` package did, and against their published rules."""

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
    """What the package did: all columns, and the states before its steps; 0 in fields of our own."""
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


def test_breakout_does_what_the_package_does():
    table, state = recorded("breakout", MinAtarBreakout())
    step = jax.jit(jax.vmap(minatar_breakout.advance))
    after, reward, terminated = step(state, jnp.asarray(table["action"], jnp.int32))
    obs = jax.vmap(minatar_breakout.planes)(after)
    assert_same_as_recorded(table, after, reward, terminated, obs)
    assert table["terminated"].sum() > 20 and table["reward"].sum() > 80
    bricks = table["before_bricks"].sum((1, 2))
    assert (np.diff(bricks) > 25).sum() > 3  # walls were built anew while a game went on


def test_asterix_does_what_the_package_does():
    table, state = recorded("asterix", MinAtarAsterix())
    spawn = minatar_asterix.Spawn(
        *(jnp.asarray(table[f"spawn_{name}"]) for name in ("lane", "right", "gold"))
    )
    step = jax.jit(jax.vmap(minatar_asterix.advance))
    after, reward, terminated = step(state, jnp.asarray(table["action"], jnp.int32), spawn)
    obs = jax.vmap(minatar_asterix.planes)(after)
    assert_same_as_recorded(table, after, reward, terminated, obs, live="kind")
    assert table["terminated"].sum() > 10 and table["reward"].sum() > 10


def test_freeway_does_what_the_package_does():
    table, state = recorded("freeway", MinAtarFreeway())
    step = jax.jit(jax.vmap(minatar_freeway.advance))
    action, speed = (jnp.asarray(table[c], jnp.int32) for c in ("action", "drawn_speed"))
    after, reward, terminated = step(state, action, speed)
    obs = jax.vmap(minatar_freeway.planes)(after)
    assert_same_as_recorded(table, after, reward, terminated, obs)
    assert table["terminated"].sum() > 4 and table["reward"].sum() > 10


def test_space_invaders_does_what_the_package_does():
    table, state = recorded("space_invaders", MinAtarSpaceInvaders())
    step = jax.jit(jax.vmap(minatar_space_invaders.advance))
    after, reward, terminated = step(state, jnp.asarray(table["action"], jnp.int32))
    obs = jax.vmap(minatar_space_invaders.planes)(after)
    assert_same_as_recorded(table, after, reward, terminated, obs)
    assert table["terminated"].sum() > 10 and table["reward"].sum() > 50


def members(group):
    """The swimmers of a group [steps, n], each as one number, in order and without their birth."""
    digits = [getattr(group, f).astype(np.int64) + 1 for f in ("x", "y", "right", "timer", "shot")]
    code = sum(digit * 100**i for i, digit in enumerate([*digits, group.kind.astype(np.int64)]))
    return np.sort(np.where(group.kind > 0, code, 0), axis=1)


def test_seaquest_does_what_the_package_does():
    table, state = recorded("seaquest", MinAtarSeaquest())
    names = ("right", "sub", "row", "diver_right", "diver_row")
    spawn = minatar_seaquest.Spawn(*(jnp.asarray(table[f"spawn_{name}"]) for name in names))
    spawn = replace(
        spawn, right=spawn.right > 0, sub=spawn.sub > 0, diver_right=spawn.diver_right > 0
    )
    step = jax.jit(jax.vmap(minatar_seaquest.advance))
    after, reward, terminated = step(state, jnp.asarray(table["action"], jnp.int32), spawn)
    obs = jax.vmap(minatar_seaquest.planes)(after)
    plain = {c: v for c, v in table.items() if "." not in c}
    assert_same_as_recorded(plain, after, reward, terminated, obs)
    went_on = ~table["first"][1:].astype(bool)
    before, after = jax.tree.map(np.asarray, (state, after))
    for group in ("enemies", "divers"):
        ours, theirs = members(getattr(after, group)), members(getattr(before, group))
        np.testing.assert_array_equal(ours[:-1][went_on], theirs[1:][went_on])
    assert table["terminated"].sum() > 20 and table["reward"].max() > 1  # a rescue among them


@named
def test_observations_are_zeros_and_ones_of_the_declared_shape_and_kind(env):
    state, obs = env.reset(jax.random.key(0))
    assert obs.shape == env.spec.obs.shape and obs.dtype == env.spec.obs.dtype == "uint8"
    _, obs, *_ = play(env, 300, 8)
    assert obs.shape[2:] == env.spec.obs.shape and obs.dtype == np.uint8
    seen = obs.reshape(-1, obs.shape[-1])
    assert set(np.unique(seen)) == {0, 1}
    _, reward, terminated, truncated = env.step(state, jnp.int32(0), jax.random.key(1))[1:]
    assert reward.dtype == jnp.float32 and terminated.dtype == truncated.dtype == bool


@named
def test_sticky_actions_repeat_the_previous_one_with_their_probability(env):
    env = replace(env, sticky=0.25)
    state, _ = env.reset(jax.random.key(0))
    last = env.spec.action.n - 1
    state = replace(state, previous=jnp.int32(99))
    keys = jax.random.split(jax.random.key(1), 4000)
    after = jax.vmap(lambda key: env.step(state, jnp.int32(last), key)[0].previous)(keys)
    assert set(np.unique(after)) == {env.actions[last], 99}
    assert abs((after == 99).mean() - 0.25) < 0.025  # 3.6 standard deviations


@named
def test_without_minimal_actions_a_step_takes_all_six_as_numbered_by_minatar(env):
    state, _ = env.reset(jax.random.key(0))
    small, full = replace(env, sticky=0.0), replace(env, sticky=0.0, minimal=False)
    assert full.spec.action.n == 6
    for index, action in enumerate(small.actions):
        one = small.step(state, jnp.int32(index), jax.random.key(1))
        other = full.step(state, jnp.int32(action), jax.random.key(1))
        jax.tree.map(np.testing.assert_array_equal, one, other)


@named
def test_the_limit_truncates_and_never_together_with_an_end(env):
    env = replace(env, limit=7)
    _, _, _, terminated, truncated = play(env, 12, 256)
    assert not (terminated & truncated).any()
    assert not truncated[:6].any() and (truncated | terminated)[6:].all(axis=0).any()
    np.testing.assert_array_equal(truncated[6:], ~terminated[6:])


@named
def test_picture_shows_a_colour_where_a_plane_is_set_and_the_night_elsewhere(env):
    state, obs = env.reset(jax.random.key(3))
    pixels = env.render(state)
    assert pixels.shape == (320, 320, 3) and pixels.dtype == np.uint8
    lit = (pixels[16::32, 16::32] != pixels[0, 0]).any(-1)
    np.testing.assert_array_equal(lit, np.asarray(obs).any(-1))


def test_breakout_starts_in_either_upper_corner_and_breaks_one_brick_in_a_row():
    states, *_ = jax.vmap(MinAtarBreakout().reset)(jax.random.split(jax.random.key(0), 400))
    right = np.asarray(states.right)
    np.testing.assert_array_equal(states.x, np.where(right > 0, 0, 9))
    assert 160 < (right > 0).sum() < 240
    state = jax.tree.map(lambda leaf: leaf[0], states)
    state = replace(state, x=jnp.int32(4), y=jnp.int32(4), right=jnp.int32(1), down=jnp.int32(-1))
    state, reward, _ = minatar_breakout.advance(state, jnp.int32(0))
    assert reward == 1.0 and not state.bricks[2, 5] and state.down == 1 and state.strike
