"""Board games against independent rules in plain Python, and against what is known of them."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.core import MASK, replace
from spinward.envs import game_law
from spinward.envs.boards import BOARD
from spinward.envs.check import check
from spinward.envs.connect import Connect, has_line, tic_tac_toe
from spinward.envs.hex import Hex
from spinward.envs.othello import Othello
from spinward.search import exact as exact_play
from spinward.search.exact import exact, number, solved

GAMES = (tic_tac_toe(), Connect(), Connect(4, 5, 3), Hex(4), Othello(6))
named = pytest.mark.parametrize("game", GAMES, ids=str)


def random_games(game, plies, games=16, seed=0):
    """Boards as people see them before each ply, actions, rewards and ends: [plies, games]."""

    def ply(carry, key):
        state, obs = carry
        k_act, k_reset = jax.random.split(key)
        action = jax.random.categorical(k_act, jnp.where(obs[MASK] != 0, 0.0, -jnp.inf))
        after, seen, reward, over, _ = game.step(state, action, key)
        fresh = game.reset(k_reset)
        nxt = jax.tree.map(lambda a, b: jnp.where(over, a, b), fresh, (after, seen))
        return nxt, (state, obs, action, reward, over, after)

    def run(key):
        return jax.lax.scan(ply, game.reset(key), jax.random.split(key, plies))[1]

    keys = jax.random.split(jax.random.key(seed), games)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(run))(keys))


def rows_of(game, plies=60):
    """Single plies of random games: (state, obs, action, reward, over, after)."""
    columns = random_games(game, plies)
    for i, t in product(range(len(columns[2])), range(plies)):
        yield jax.tree.map(lambda x: x[i, t], columns)  # noqa: B023


def lines(board, side, line):
    """Whether `side` has a line on a board, by looking along every way from every cell."""
    rows, columns = board.shape
    for r, c, (down, right) in product(
        range(rows), range(columns), ((0, 1), (1, 0), (1, 1), (1, -1))
    ):
        cells = [(r + i * down, c + i * right) for i in range(line)]
        if all(0 <= a < rows and 0 <= b < columns and board[a, b] == side for a, b in cells):
            return True
    return False


@pytest.mark.parametrize("game", [tic_tac_toe(), Connect(), Connect(4, 5, 3)], ids=str)
def test_connect_does_what_its_rules_say(game):
    for state, obs, action, reward, over, after in rows_of(game):
        before, now = game.stones(state).copy(), game.stones(after)
        side = 2 if state.second else 1
        if game.gravity:
            empty = np.flatnonzero(before[:, action] == 0)
            assert list(np.flatnonzero(obs[MASK])) == list(np.flatnonzero(before[0] == 0))
            before[empty.max(), action] = side
        else:
            assert (obs[MASK] == (before == 0).ravel()).all()
            before.ravel()[action] = side
        assert (now == before).all()
        won = lines(now, side, game.line)
        assert reward == won and over == (won or (now != 0).all())


def test_a_line_is_found_in_each_direction_and_not_around_the_edge():
    empty = np.zeros((4, 5), bool)
    for cells in ([(0, 0), (1, 1), (2, 2)], [(1, 4), (2, 3), (3, 2)], [(3, 2), (3, 3), (3, 4)]):
        stones = empty.copy()
        stones[tuple(zip(*cells, strict=True))] = True
        assert has_line(jnp.asarray(stones), 3)
    stones = empty.copy()
    stones[[0, 0, 1], [3, 4, 0]] = True
    assert not has_line(jnp.asarray(stones), 3)
    assert not has_line(jnp.ones((2, 2), bool), 3)


def reaches(board, side):
    """Whether the first player (1) joins top and bottom, or the second (2) left and right."""
    size = len(board)
    ends = (lambda r, c: r == size - 1) if side == 1 else (lambda r, c: c == size - 1)
    stack = [(0, i) if side == 1 else (i, 0) for i in range(size)]
    stack = [cell for cell in stack if board[cell] == side]
    seen = set(stack)
    while stack:
        r, c = stack.pop()
        if ends(r, c):
            return True
        for a, b in ((r-1, c), (r-1, c+1), (r, c-1), (r, c+1), (r+1, c-1), (r+1, c)):  # fmt: skip
            inside = 0 <= a < size and 0 <= b < size
            if inside and (a, b) not in seen and board[a, b] == side:
                seen.add((a, b))
                stack.append((a, b))
    return False


def test_hex_is_won_by_a_chain_from_side_to_side():
    game = Hex(4)
    ends = 0
    for state, _, action, reward, over, after in rows_of(game):
        side = 2 if state.second else 1
        row, column = divmod(int(action), 4)
        before = game.stones(state).copy()
        before[(column, row) if side == 2 else (row, column)] = side
        assert (game.stones(after) == before).all()
        assert reward == over == reaches(before, side)
        ends += int(over)
    assert ends > 20


def flips(board, side, row, column):
    """The discs that a disc of `side` turns over."""
    size, found = len(board), []
    for down, right in product((-1, 0, 1), repeat=2):
        if (down, right) == (0, 0):
            continue
        line, r, c = [], row + down, column + right
        while 0 <= r < size and 0 <= c < size and board[r, c] == 3 - side:
            line.append((r, c))
            r, c = r + down, c + right
        if 0 <= r < size and 0 <= c < size and board[r, c] == side:
            found += line
    return found


def places(board, side):
    """Where `side` may place a disc."""
    return [tuple(at) for at in np.argwhere(board == 0) if flips(board, side, *at)]


def test_othello_turns_discs_passes_and_ends_as_its_rules_say():
    game, passes, ends = Othello(6), 0, 0
    for state, obs, action, reward, over, after in rows_of(game, 80):
        board, side = game.stones(state).copy(), 2 if state.second else 1
        legal = places(board, side)
        assert [divmod(i, 6) for i in np.flatnonzero(obs[MASK][:-1])] == legal
        assert obs[MASK][-1] == (not legal)
        if action < 36:
            at = divmod(int(action), 6)
            for cell in [at, *flips(board, side, *at)]:
                board[cell] = side
        passes += int(action == 36)
        assert (game.stones(after) == board).all()
        assert over == (not places(board, 1) and not places(board, 2))
        ahead = np.sign((board == side).sum() - (board == 3 - side).sum())
        assert reward == (ahead if over else 0)
        ends += int(over)
    assert passes and ends


@named
def test_the_law_of_games_is_kept(game):
    assert [finding for finding in check(game, 120) if not finding.ok] == []


class Generous(Connect):
    """A full column takes stones, and the winner is told that it has lost."""

    def step(self, state, action, key):
        after, obs, reward, over, cut = super().step(state, action, key)
        allowed = self.legal(state)[action]
        return after, obs, -reward, over & allowed, cut

    def state_of(self, obs):
        return replace(super().state_of(obs), mine=obs[BOARD][..., 1] != 0)


def test_a_game_that_breaks_the_law_is_told_how():
    bad = {row[1]: row for row in game_law.findings(Generous(3, 3, 3), 60) if not row[0]}
    assert set(bad) == {"illegal moves", "observation", "side of the result"}
    assert "mover" in bad["side of the result"][2]


@named
def test_symmetries_change_nothing_about_a_game(game):
    cells, actions = game.symmetries()
    assert (cells[0] == np.arange(cells.shape[1])).all()
    rows = [row for _, row in zip(range(40), rows_of(game), strict=False)]
    key = jax.random.key(0)
    for order, moves in zip(cells[1:], actions[1:], strict=True):
        for _, obs, action, reward, over, after in rows[::3]:
            planes = obs[BOARD].reshape(-1, 3)[order].reshape(obs[BOARD].shape)
            assert (np.sort(moves) == np.arange(len(moves))).all()
            moved = int(np.flatnonzero(moves == action)[0])
            _, seen, r, o, _ = game.step(game.state_of({BOARD: jnp.asarray(planes)}), moved, key)
            expected = game.seen(after)[BOARD].reshape(-1, 3)
            assert (np.asarray(seen[BOARD]).reshape(-1, 3) == expected[order]).all()
            assert r == reward and o == over


def reachable(game):
    """All positions that play can reach, by their number, and those where the game is over."""
    start, _ = game.reset(jax.random.key(0))
    step = jax.jit(jax.vmap(game.step, (0, 0, None)))
    index = jax.jit(jax.vmap(lambda p: number(p.mine, p.theirs)))
    layer, found, ended = jax.tree.map(lambda x: jnp.asarray(x)[None], start), {0}, set()
    while layer.mine.shape[0]:
        pairs = np.argwhere(np.asarray(jax.vmap(game.legal)(layer)))
        parents = jax.tree.map(lambda x: x[pairs[:, 0]], layer)  # noqa: B023
        after, _, _, over, _ = step(parents, jnp.asarray(pairs[:, 1]), jax.random.key(0))
        numbers, over = np.asarray(index(after)), np.asarray(over)
        found |= set(numbers.tolist())
        ended |= set(numbers[over].tolist())
        _, first = np.unique(np.where(over, -1, numbers), return_index=True)
        first = first[~over[first]]
        layer = jax.tree.map(lambda x: x[first], after)  # noqa: B023
    return found, ended


def test_tic_tac_toe_has_5478_positions_and_is_a_draw():
    found, ended = reachable(tic_tac_toe())
    assert len(found) == 5478 and len(found) - len(ended) == 4520
    assert solved(tic_tac_toe())[0] == 0


@pytest.mark.parametrize(
    ("game", "value"), [(Connect(3, 3, 3), 0), (Hex(2), 1), (Hex(3), 1), (Connect(3, 3, 2), 1)]
)
def test_small_games_have_their_known_values(game, value):
    assert solved(game)[0] == value


@pytest.mark.parametrize(
    ("size", "wins"), [(2, {(0, 1), (1, 0)}), (3, {(0, 2), (1, 0), (1, 1), (1, 2), (2, 0)})]
)
def test_hex_is_won_by_the_known_first_moves(size, wins):
    game = Hex(size)
    state, _ = game.reset(jax.random.key(0))
    value, found = solved(game), set()
    for action in range(size**2):
        after, *_ = game.step(state, action, jax.random.key(0))
        if value[int(number(after.mine, after.theirs))] == -1:
            found.add(divmod(action, size))
    assert found == wins


def test_exact_play_is_refused_on_larger_boards():
    with pytest.raises(exact_play.SettingsError, match="9 cells at most; this board has 42"):
        solved(Connect())


def test_exact_play_takes_a_win_and_stops_one():
    game = tic_tac_toe()
    mine = jnp.array([[1, 1, 0], [0, 0, 0], [0, 0, 0]], bool)
    theirs = jnp.array([[0, 0, 0], [1, 1, 0], [0, 0, 0]], bool)
    position = replace(game.start(), mine=mine, theirs=theirs)
    obs = jax.tree.map(lambda x: x[None], game.seen(position))
    assert int(exact(game, obs, jax.random.key(0))[0]) == 2
    lone = replace(position, mine=mine.at[0, 1].set(False).at[2, 2].set(True))
    obs = jax.tree.map(lambda x: x[None], game.seen(lone))
    assert int(exact(game, obs, jax.random.key(0))[0]) == 5


@named
def test_a_board_is_written_and_drawn(game):
    state, obs = game.reset(jax.random.key(0))
    action = int(np.flatnonzero(obs[MASK])[0])
    after, obs, *_ = game.step(state, action, jax.random.key(0))
    assert game.text(after).count("x") - game.text(state).count("x") >= 1
    assert game.text(after) != game.text(state)
    assert game.render(after).shape == game.render(state).shape
    assert int(game.plies(jax.tree.map(lambda x: x[None], obs))[0]) == 1
    names = [game.move_name(a, second=True) for a in range(game.spec.action.n)]
    assert len(set(names)) == len(names)
