"""Grid worlds, delayed chains, and several environments as one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.core import Box, replace
from spinward.envs import grids, ids
from spinward.envs.delayed_chain import ChainLevel as Chain
from spinward.envs.delayed_chain import DelayedChain
from spinward.envs.grids import Grid, Level
from spinward.envs.pendulum import Pendulum
from spinward.envs.several import Several, toys, toys_in_features
from spinward.errors import SettingsError

STAY, UP, RIGHT, DOWN, LEFT = range(5)
KEYS = jax.random.split(jax.random.key(0), 400)


def hall(**more):
    """Three cells in a row between walls, the agent in the middle, an object at each end."""
    walls = jnp.ones((3, 5), bool).at[1, 1:4].set(False)
    level = Level(walls, jnp.int32(7), jnp.array([6, 8]), jnp.array([0.5, -1.0]),
                  jnp.array([0.0, 1.0]), jnp.array([0.0, 0.0]), jnp.int32(9))  # fmt: skip
    return Grid(3, 5, 2, level=replace(level, **more))


def walked(env, *actions, key=KEYS[0]):
    state, obs = env.reset(key)
    told = []
    for action in actions:
        state, obs, *rest = env.step(state, action, key)
        told.append(tuple(x.item() for x in rest))
    return state, obs, told


def test_walls_stop_and_an_object_pays_once_and_may_end_the_episode():
    state, obs, told = walked(hall(), UP, DOWN, STAY, LEFT, STAY, LEFT, RIGHT, RIGHT)
    assert [r for r, *_ in told] == [0, 0, 0, 0.5, 0, 0, 0, -1]
    assert [ends for _, *ends in told] == [[False, False]] * 7 + [[True, False]]
    assert int(state.at) == 8 and not state.present.any()
    assert obs.tolist() == [8]  # of the cells, with no object there


def test_an_episode_is_cut_off_at_its_limit_and_not_when_it_terminates_there():
    assert walked(hall(limit=jnp.int32(2)), STAY, STAY)[2][-1] == (0, False, True)
    assert walked(hall(limit=jnp.int32(1)), RIGHT)[2][-1] == (-1, True, False)


def test_objects_end_episodes_and_come_back_as_often_as_they_should():
    env = hall(end=jnp.array([0.3, 0.0]), back=jnp.array([0.2, 0.0]))

    def life(key):
        k_reset, k_hit, k_back = jax.random.split(key, 3)
        state, *_, ended, _ = env.step(env.reset(k_reset)[0], LEFT, k_hit)
        return ended, env.step(state, STAY, k_back)[0].present[0]

    ended, back = (np.asarray(x).mean() for x in jax.jit(jax.vmap(life))(KEYS))
    assert ended == pytest.approx(0.3, abs=0.08) and back == pytest.approx(0.2, abs=0.07)


def test_states_have_numbers_of_their_own_below_the_bound_of_the_space():
    env = hall(back=jnp.array([0.5, 0.5]), end=jnp.zeros(2))

    def life(key):
        def step(state, key):
            k_act, k_step = jax.random.split(key)
            state, obs, *_ = env.step(state, jax.random.randint(k_act, (), 0, 5), k_step)
            return state, (obs[0], state.at, state.present)

        return jax.lax.scan(step, env.reset(key)[0], jax.random.split(key, 50))[1]

    seen, at, there = (np.asarray(x) for x in jax.jit(jax.vmap(life))(KEYS[:40]))
    states = {(int(a), *t.tolist()) for a, t in zip(at.ravel(), there.reshape(-1, 2), strict=True)}
    numbers = np.unique(seen)
    assert len(numbers) == len(states) == 12  # 3 cells, and 4 for what is there
    assert numbers.max() < 3 * 5 * 4 == np.max(env.spec.obs.high) + 1


def test_a_level_is_kept_once_it_is_drawn_and_otherwise_new_in_each_episode():
    reset = jax.jit(jax.vmap(Grid().reset))
    fresh = reset(KEYS[:50])[0]
    assert len(np.unique(fresh.level.reward[:, 0])) == 50
    kept = jax.jit(jax.vmap(Grid().sample_task(KEYS[0]).reset))(KEYS[:50])[0]
    assert len(np.unique(kept.level.reward[:, 0])) == 1
    assert (np.asarray(kept.cell) == kept.cell[0]).all()
    assert len(np.unique(kept.at)) > 10 and not (kept.at[:, None] == kept.cell).any()


def test_scattered_objects_lie_elsewhere_in_each_episode_in_cells_of_their_own():
    env = grids.random_features()
    state, obs = jax.jit(jax.vmap(env.sample_task(KEYS[0]).reset))(KEYS[:100])
    assert len(np.unique(state.cell[:, 0])) > 15
    assert (state.cell[:, 0] != state.cell[:, 1]).all()
    planes = np.asarray(obs).reshape(100, 3, 25)
    assert (planes.sum(2) == 1).all()
    assert (planes.argmax(2) == np.column_stack([state.at, state.cell])).all()


def test_the_general_distribution_keeps_to_its_bounds():
    env = grids.random_general()
    state, obs = jax.jit(jax.vmap(env.reset))(KEYS)
    level = state.level
    limits = np.asarray(level.limit)
    assert (
        limits.min() >= 20
        and limits.max() <= 750
        and np.median(limits) == pytest.approx(122, rel=0.3)
    )
    assert (level.reward[:, 0] > 0).all() and (level.end >= 0.01 - 1e-6).all()
    inside = ~np.asarray(level.walls)
    assert not np.take_along_axis(level.walls.reshape(400, -1), state.at[:, None], 1).any()
    sides = inside.any(2).sum(1)
    assert set(np.unique(sides)) <= set(range(2, 11)) and sides.max() == 10
    present = np.asarray(state.cell >= 0).sum(1)
    assert np.bincount(present, minlength=6)[1:].min() > 40 and obs.max() < 100 * 32


@pytest.mark.parametrize(
    "name", [n for n in ids.own_names() if n.startswith("Grid-") or "Toys" in n]
)
def test_named_worlds_step(name):
    env = ids.make(name)

    def life(key):
        state, obs = env.reset(key)
        state, after, reward, terminated, truncated = env.step(state, 2, key)
        return obs, after, reward, terminated & truncated

    obs, after, reward, both = jax.jit(jax.vmap(life))(KEYS[:20])
    assert obs.shape == after.shape == (20, *env.spec.obs.shape) and obs.dtype == env.spec.obs.dtype
    assert not both.any() and (np.abs(reward) <= 2).all()
    assert np.min(obs) >= np.min(env.spec.obs.low) and np.max(obs) <= np.max(env.spec.obs.high)


@pytest.mark.parametrize(("choice", "end"), [(0, -1.0), (1, 1.0)])
def test_the_first_choice_decides_the_end_of_a_chain(choice, end):
    env = DelayedChain(level=Chain(jnp.int32(6), jnp.int32(1), jnp.float32(0.0)))
    _, obs, told = walked(env, choice, *[1 - choice] * 5)
    assert [r for r, *_ in told] == [0] * 5 + [end]
    assert [t for _, t, _ in told] == [False] * 5 + [True]
    assert obs.tolist() == [2 * 6 + choice]


def test_chains_differ_in_length_and_half_have_noise_on_the_way():
    level = jax.jit(jax.vmap(DelayedChain().reset))(KEYS)[0].level
    assert np.unique(level.length).tolist() == list(range(5, 31))
    assert np.asarray(level.noise).mean() == pytest.approx(0.5, abs=0.1)
    noisy = DelayedChain(level=Chain(jnp.int32(30), jnp.int32(1), jnp.float32(1.0)))
    rewards = [r for key in KEYS[:8] for r, *_ in walked(noisy, 0, key=key)[2]]
    assert set(rewards) == {-1.0, 1.0}


def test_one_of_several_environments_is_drawn_and_answers_as_it_would_alone():
    both = toys()
    which = np.asarray(jax.vmap(lambda k: both.sample_task(k).which)(KEYS))
    assert which.mean() == pytest.approx(0.5, abs=0.1)
    env = both.sample_task(KEYS[int(which.argmax())])
    alone = env.envs[1]
    before, _ = env.reset(KEYS[5])
    state, after, *told = env.step(before, 4, KEYS[6])
    _, seen, *expected = alone.step(before.states[1], 1, jax.random.split(KEYS[6], 2)[1])
    assert [x.item() for x in told] == [x.item() for x in expected]
    assert after.tolist() == seen.tolist() and int(state.states[1].choice) == 1
    assert toys_in_features().spec.obs == Box((75,), 0.0, 1.0, "uint8")
    with pytest.raises(SettingsError, match="one type"):
        Several((Grid(), Pendulum())).spec  # noqa: B018
