"""Rooms with a television, and the random disco maze: what can be done there, and what is seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.core import replace
from spinward.envs.check import check
from spinward.envs.disco_maze import DISCO, DiscoMaze, small
from spinward.envs.rooms import FLOORS, GOAL, PRESS, VIEW, WALL, Rooms

ROOMS, DISCO_MAZE = Rooms(), DiscoMaze(limit=30)
KEYS = jax.random.split(jax.random.key(0), 64)
NORTH, EAST, SOUTH, WEST = range(4)


@pytest.fixture(scope="module")
def rooms():
    return jax.jit(jax.vmap(ROOMS.reset))(KEYS), jax.jit(ROOMS.step)


@pytest.fixture(scope="module")
def disco():
    return jax.jit(jax.vmap(DISCO_MAZE.reset))(KEYS), jax.jit(DISCO_MAZE.step)


def of(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


def distances(walls, start):
    """Steps from one cell to every other that can be reached."""
    found, todo = {tuple(start.tolist()): 0}, [tuple(start.tolist())]
    for y, x in todo:
        for place in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
            if not walls[place] and place not in found:
                found[place] = found[y, x] + 1
                todo.append(place)
    return found


def test_rooms_are_closed_but_for_one_door_between_each_two(rooms):
    (states, obs), _ = rooms
    assert obs.shape == (64, 7, 10, 3) and obs.dtype == np.uint8 and not obs[..., 7:, :].any()
    doors = set()
    for i in range(64):
        state = of(states, i)
        walls = np.asarray(state.walls)
        found = distances(walls, np.asarray(state.at))
        assert len(found) == ROOMS.cells == (~walls).sum() == 103
        assert state.at[1] <= 5 and state.goal[1] >= 19 and tuple(state.goal.tolist()) in found
        doors.add(tuple(np.flatnonzero(~walls[:, c])[0] for c in (6, 12, 18)))
    assert len(doors) > 30


def test_walls_stop_and_the_goal_pays_one_and_ends_the_episode(rooms):
    (states, _), step = rooms
    state = of(states, 0)
    west = replace(state, at=jnp.array([1, 1]))
    for action in (NORTH, WEST):
        after, _, reward, terminated, _ = step(west, action, KEYS[0])
        assert after.at.tolist() == [1, 1] and reward == 0 and not terminated
    assert step(west, SOUTH, KEYS[0])[0].at.tolist() == [2, 1]
    beside = replace(state, goal=jnp.array([2, 20]), at=jnp.array([2, 19]), time=jnp.int32(159))
    _, obs, reward, terminated, truncated = step(beside, EAST, KEYS[0])
    assert reward == 1 and terminated and not truncated
    assert obs[3, 3].tolist() == list(GOAL)
    *_, terminated, truncated = step(replace(beside, at=jnp.array([2, 21])), EAST, KEYS[0])
    assert truncated and not terminated


def test_the_television_shows_noise_when_pressed_and_goes_dark_when_one_walks_on(rooms):
    (states, _), step = rooms
    state = replace(of(states, 1), at=jnp.array([3, 3]))
    screens = set()
    for key in KEYS[:20]:
        after, obs, *_ = step(state, PRESS, key)
        assert after.at.tolist() == [3, 3]
        np.testing.assert_array_equal(obs[:, VIEW:], after.screen)
        screens.add(np.asarray(after.screen).tobytes())
    assert len(screens) == 20
    assert not step(after, EAST, KEYS[0])[1][:, VIEW:].any()
    assert Rooms(tv=False).spec.action.n == 4


def test_what_is_seen_are_the_cells_around_in_the_colour_of_their_room(rooms):
    (states, _), _ = rooms
    state = replace(of(states, 2), at=jnp.array([3, 6]))  # in the first wall, as in a door
    view = np.asarray(ROOMS.seen(state))[:, :VIEW]
    assert (view[1:6, 2] == FLOORS[0]).all() and (view[1:6, 4] == FLOORS[1]).all()
    assert (view[0] == WALL).all() and (view[6] == WALL).all()
    assert ROOMS.render(state).shape == (7 * 24, 29 * 24, 3)


def test_disco_walls_take_new_colours_and_nothing_else_moves(disco):
    (states, obs), step = disco
    state = of(states, 0)
    walls, seen = np.asarray(state.walls), np.asarray(obs[0])
    assert {tuple(c) for c in seen[walls]} == set(DISCO)
    assert seen[tuple(np.asarray(state.at))].tolist() == [255] * 3 and seen[~walls].sum() == 3 * 255
    free = [
        a
        for a in range(4)
        if not walls[tuple(np.asarray(state.at) + ((-1, 0), (0, 1), (1, 0), (0, -1))[a])]
    ]
    after, later, reward, terminated, _ = step(state, free[0], KEYS[0])
    assert reward == 0 and not terminated and (after.walls == state.walls).all()
    changed = (np.asarray(later) != seen).any(-1)
    assert changed[walls].mean() == pytest.approx(0.8, abs=0.12) and changed[~walls].sum() == 2


def test_touching_a_wall_ends_an_episode_of_the_disco_maze(disco):
    (states, _), step = disco
    for i in range(20):
        state = of(states, i)
        at, walls = np.asarray(state.at), np.asarray(state.walls)
        for action, ahead in enumerate(((-1, 0), (0, 1), (1, 0), (0, -1))):
            after, _, _, terminated, truncated = step(state, action, KEYS[i])
            hit = walls[tuple(at + ahead)]
            assert terminated == hit and not truncated
            assert after.at.tolist() == (at if hit else at + ahead).tolist()
    late = replace(state, time=jnp.int32(29))
    ends = [step(late, action, KEYS[0])[3:] for action in range(4)]
    assert all(bool(over) != bool(cut) for over, cut in ends)


def test_a_small_disco_maze_has_nine_places_and_the_passages_between_them():
    state, obs = small().reset(KEYS[0])
    free = ~np.asarray(state.walls)
    assert obs.shape == (7, 7, 3) and free[1::2, 1::2].all() and 17 <= free.sum() <= 21


@pytest.mark.parametrize("env", [ROOMS, DISCO_MAZE], ids=["rooms", "disco"])
def test_the_check_of_environments_finds_nothing_wrong(env):
    assert [f.what for f in check(env, steps=60) if not f.ok] == []
