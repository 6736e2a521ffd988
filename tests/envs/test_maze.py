"""The maze: how mazes are made, what can be done in them, and what is seen of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.core import replace
from spinward.envs import maze
from spinward.envs.maze import APPLE, COLOURS, FLOOR, HIDDEN, PORTAL, WALL, Maze, State

ENV = Maze()
RESET, STEP, SEEN = jax.jit(jax.vmap(ENV.reset)), jax.jit(ENV.step), jax.jit(maze.seen)
KEYS = jax.random.split(jax.random.key(0), 200)
LEFT, RIGHT, AHEAD = range(3)


def reachable(walls):
    """The cells that can be reached from the first free one."""
    todo, found = [tuple(np.argwhere(~walls)[0])], set()
    while todo:
        y, x = todo.pop()
        if not walls[y, x] and (y, x) not in found:
            found.add((y, x))
            todo += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    return len(found)


def test_mazes_are_different_whole_and_closed_and_none_is_held_out_as_well():
    learned, held_out = (maze.mazes(9, held) for held in (False, True))
    assert len(learned) == len(held_out) == maze.MAZES
    assert len({m.tobytes() for m in (*learned, *held_out)}) == 2 * maze.MAZES
    for walls in (*learned[:50], *held_out[:50]):
        edge = (walls[0], walls[-1], walls[:, 0], walls[:, -1])
        assert all(side.all() for side in edge) and not walls[1::2, 1::2].any()
        assert reachable(walls) == (~walls).sum() >= 16 + 15  # a tree's passages at the least


def test_an_episode_starts_in_any_maze_with_everything_in_a_free_place_of_its_own():
    state, obs = jax.tree.map(np.asarray, RESET(KEYS))
    assert obs.shape == (200, 28, 28, 3) and obs.dtype == np.uint8
    rows = np.arange(200)
    grids = [state.orchard.copy() for _ in range(3)]
    grids[1][:], grids[2][:] = False, False
    grids[1][rows, state.portal[:, 0], state.portal[:, 1]] = True
    grids[2][rows, state.at[:, 0], state.at[:, 1]] = True
    assert [g.sum((1, 2)).tolist() for g in grids] == [[4] * 200, [1] * 200, [1] * 200]
    taken = state.walls.astype(int) + sum(grids)
    assert taken.max() == 1
    assert len({w.tobytes() for w in state.walls}) > 150
    assert np.bincount(state.facing, minlength=4).min() > 25


@pytest.fixture(scope="module")
def hall():
    """A hall of one row, and its agent at the left end, facing east."""
    walls = jnp.ones((9, 9), bool).at[4, 1:8].set(False)
    apples = jnp.zeros((9, 9), bool).at[4, 3].set(True)
    at, portal = jnp.array([4, 1]), jnp.array([4, 6])
    return State(walls, apples, apples, portal, at, jnp.int32(1), jnp.int32(0))


def walked(state, *actions):
    rewards = []
    for action in actions:
        state, obs, reward, terminated, truncated = STEP(state, action, jax.random.key(1))
        assert not terminated and not truncated
        rewards.append(float(reward))
    np.testing.assert_array_equal(obs, SEEN(state))
    return state, rewards


def test_walls_stop_turns_turn_and_an_apple_is_eaten_once(hall):
    state, rewards = walked(hall, LEFT, AHEAD, RIGHT, AHEAD, AHEAD, RIGHT, RIGHT, AHEAD)
    assert rewards == [0, 0, 0, 0, 1, 0, 0, 0]
    assert state.at.tolist() == [4, 2] and int(state.facing) == 3
    assert not state.apples.any() and int(state.time) == 8
    _, rewards = walked(state, LEFT, LEFT, AHEAD)
    assert rewards == [0, 0, 0]


def test_the_portal_pays_ten_takes_one_away_and_brings_the_apples_back(hall):
    state, rewards = walked(hall, *[AHEAD] * 5)
    assert rewards == [0, 1, 0, 0, 10]
    assert (state.apples == hall.orchard).all() and (state.portal == hall.portal).all()
    places = set()
    for key in KEYS[:60]:
        after, *_ = STEP(replace(hall, at=jnp.array([4, 5])), AHEAD, key)
        places.add(tuple(after.at.tolist()))
    assert places == {(4, x) for x in (1, 2, 3, 4, 5, 7)}  # any free cell but the portal's own


def test_an_episode_is_cut_off_and_never_ends_by_itself():
    state = jax.tree.map(lambda x: x[0], RESET(KEYS)[0])
    last = replace(state, time=jnp.int32(299))
    _, _, _, terminated, truncated = STEP(last, LEFT, KEYS[0])
    assert truncated and not terminated


def cells_seen(state):
    """What is in each cell that is seen, the farthest row first."""
    picture = np.asarray(SEEN(state)).reshape(7, 4, 7, 4, 3)
    assert (picture == picture[:, :1, :, :1]).all()
    return (picture[:, 0, :, 0, None] == COLOURS).all(-1).argmax(-1)


def test_what_is_seen_lies_ahead_as_far_as_walls_let_one_look(hall):
    found = cells_seen(hall)
    assert found[::-1, 3].tolist() == [FLOOR, FLOOR, APPLE, FLOOR, FLOOR, PORTAL, FLOOR]
    assert found[6].tolist() == [HIDDEN, HIDDEN, WALL, FLOOR, WALL, HIDDEN, HIDDEN]
    away = cells_seen(replace(hall, facing=jnp.int32(3)))
    assert away[5, 3] == WALL and (away[:5, 3] == HIDDEN).all()
    open_hall = replace(hall, walls=hall.walls.at[3, 1:8].set(False))
    beside = cells_seen(open_hall)
    assert beside[6].tolist() == [HIDDEN, WALL, FLOOR, FLOOR, WALL, HIDDEN, HIDDEN]
    assert (beside[:, 2] != HIDDEN).all()  # left of one who faces east lies north


def test_one_sees_the_same_when_the_world_is_turned_with_one():
    state = jax.tree.map(lambda x: x[3], RESET(KEYS)[0])

    def turned(state):
        """The world after a quarter turn clockwise."""
        grids = {k: jnp.rot90(getattr(state, k), -1) for k in ("walls", "apples", "orchard")}
        places = {k: jnp.stack([getattr(state, k)[1], 8 - getattr(state, k)[0]])
                  for k in ("portal", "at")}  # fmt: skip
        return replace(state, **grids, **places, facing=(state.facing + 1) % 4)

    before = np.asarray(SEEN(state))
    assert len(np.unique(before.reshape(-1, 3), axis=0)) >= 3
    for _ in range(3):
        state = turned(state)
        np.testing.assert_array_equal(SEEN(state), before)
