"""Pgx's games against ours, against the law of games, and as they are read."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.algorithms.alphazero import AlphaZero
from spinward.core import MASK
from spinward.envs import ids
from spinward.envs.boards import BOARD
from spinward.envs.check import check
from spinward.envs.connect import Connect, tic_tac_toe
from spinward.envs.othello import Othello
from spinward.errors import SettingsError
from spinward.search import opponents, trees
from spinward.spaces import GAME_STATE

KEY = jax.random.PRNGKey(0)


def pgx(name, settings=None):
    pytest.importorskip("pgx", exc_type=ImportError)
    return ids.make(f"pgx:{name}", settings)


def side_by_side(theirs, ours, games, plies):
    """Random games played by both rules: for each ply [games, plies] both sides' observations,
    rewards and ends, and which of them has ended before. What has ended stands still."""

    def ply(carry, key):
        states, seen, over = carry
        action = jax.random.categorical(key, jnp.where(seen[1][MASK] != 0, 0.0, -jnp.inf))
        one, other = ours.step(states[0], action, key), theirs.step(states[1], action, key)
        later = (one[0], other[0]), (one[1], other[1])
        now = [
            jax.tree.map(lambda a, b, over=over[i]: jnp.where(over, a, b), (states[i], seen[i]), x)
            for i, x in enumerate(zip(*later, strict=True))
        ]
        ends = jnp.stack([one[3], other[3]])
        row = (seen, (one[2], other[2]), ends, over, one[4] | other[4])
        return (*zip(*now, strict=True), over | ends), row

    def game(key):
        pairs = zip(ours.reset(key), theirs.reset(key), strict=True)
        start = (*pairs, jnp.zeros(2, bool))
        return jax.lax.scan(ply, start, jax.random.split(key, plies))[1]

    rows = jax.jit(jax.vmap(game))(jax.random.split(jax.random.key(0), games))
    return jax.tree.map(np.asarray, rows)


@pytest.mark.parametrize(
    ("name", "ours", "games", "plies"),
    [
        ("tic_tac_toe", tic_tac_toe(), 1000, 10),
        ("connect_four", Connect(), 200, 43),
        ("othello", Othello(8), 200, 80),
    ],
    ids=("tic_tac_toe", "connect_four", "othello"),
)
def test_games_of_pgx_are_those_of_ours(name, ours, games, plies):
    (one, other), rewards, ends, before, cut = side_by_side(pgx(name), ours, games, plies)
    on = ~before[..., 0]
    assert (one[BOARD][on][..., :2] == other[BOARD][on]).all()
    assert (one[MASK][on] == other[MASK][on]).all()
    assert not cut.any() and before[:, -1].all()
    by_first = 1 - 2 * (np.arange(plies) % 2)  # the mover's reward as the first player's
    results, lengths = [], []
    for i, reward in enumerate(rewards):
        last = ends[..., i] & ~before[..., i]
        assert (last.sum(1) == 1).all() and not reward[~last & ~before[..., i]].any()
        results.append((reward * by_first)[last])
        lengths.append(last.argmax(1))
    assert (results[0] == results[1]).all() and set(results[0]) >= {-1, 1}
    later = set(lengths[1] - lengths[0])
    # Pgx ends a game of Othello that cannot go on after both have passed.
    assert later == ({0, 2} if name == "othello" else {0})


@pytest.mark.parametrize("name", ["tic_tac_toe", "connect_four", "othello", "hex"])
def test_the_law_of_games_is_kept(name):
    assert [f for f in check(pgx(name), 130) if not f.ok] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["go_9x9", "gardner_chess", "animal_shogi", "chess", "shogi"])
def test_the_law_of_larger_games_is_kept(name):
    # Long enough for Go to be counted: games that end early end by a repetition, which loses.
    assert [f for f in check(pgx(name), 200 if name == "go_9x9" else 60) if not f.ok] == []


@pytest.mark.parametrize("name", ["tic_tac_toe", "connect_four", "othello", "hex", "go_9x9"])
def test_both_sides_move_in_turn_and_symmetries_change_nothing(name):
    game = pgx(name)
    step, key = jax.jit(game.step), jax.random.PRNGKey(1)
    start = np.asarray(game.reset(key)[1][BOARD])
    for cells, moves in zip(*(x[1:] for x in game.symmetries()), strict=True):
        if (start.reshape(len(cells), -1)[cells] != start.reshape(len(cells), -1)).any():
            continue  # Othello begins with a board that only half of them leave as it is
        random = np.random.default_rng(0)
        (state, obs), (other, _) = game.reset(key), game.reset(key)
        for ply in range(12):
            legal = np.flatnonzero(obs[MASK])
            action = int(random.choice(legal if name != "hex" or ply != 1 else legal[-1:]))
            mirrored = int(np.flatnonzero(moves == action)[0])
            first = int(state.current_player)
            state, obs, reward, over, _ = step(state, action, key)
            other, seen, same_reward, same_over, _ = step(other, mirrored, key)
            planes = obs[BOARD].reshape(len(cells), -1)[cells]
            assert (planes == seen[BOARD].reshape(len(cells), -1)).all()
            assert (obs[MASK][moves] == seen[MASK]).all()
            assert (reward, over) == (same_reward, same_over)
            if over:
                break
            assert int(state.current_player) == 1 - first
            assert int(game.plies(jax.tree.map(lambda x: x[None], obs))[0]) == ply + 1


def test_an_observation_holds_the_state_and_a_network_reads_the_board():
    game = pgx("go_9x9")
    state, obs = game.reset(KEY)
    for action in (3, 40, 12, 81):
        state, obs, *_ = jax.jit(game.step)(state, action, KEY)
    back = jax.jit(game.state_of)(obs)
    for one, other in zip(*map(jax.tree.leaves, (back, state)), strict=True):
        assert one.dtype == other.dtype and (one == other).all()
    algorithm = AlphaZero(envs=2, rollout=2, capacity=8, game=game)
    agent = algorithm.init(KEY, game.spec)
    assert set(agent.ring.rows.obs) == {BOARD, MASK}
    batch = jax.tree.map(lambda x: x[None], obs)
    changed = {**batch, GAME_STATE: batch[GAME_STATE] + 1}
    one, other = agent.learner.model(batch), agent.learner.model(changed)
    assert all((a == b).all() for a, b in zip(one, other, strict=True))


def test_a_search_wins_at_once_by_the_rules_of_pgx():
    game = pgx("connect_four")
    state, obs = game.reset(KEY)
    for action in (0, 6, 1, 6, 2, 5):
        state, obs, *_ = jax.jit(game.step)(state, action, KEY)
    batch = jax.tree.map(lambda x: x[None], obs)
    even = lambda obs, key: (jnp.zeros((1, 7)), jnp.zeros(1))  # noqa: E731
    result = jax.jit(lambda obs: trees.gumbel(game, even, obs, KEY, 32, scale=0.0))(batch)
    assert int(result.action[0]) == 3 and float(result.value[0]) > 0
    assert int(jax.jit(opponents.named(game, "one_ply"))(batch, KEY)[0]) == 3


def test_a_game_is_a_task_against_an_opponent_and_the_state_is_not_shown():
    task = pgx("tic_tac_toe", {"opponent": "random", "side": "second"})
    assert task.spec.players == 1 and set(dict(task.spec.obs.items)) == {BOARD, MASK}
    assert [f for f in check(task, 50) if not f.ok] == []
    with pytest.raises(SettingsError, match="not of Pgx"):
        pgx("tic_tac_toe", {"opponent": "exact"})


def test_boards_are_written_and_drawn():
    game = pgx("tic_tac_toe")
    state, _ = game.reset(KEY)
    for action in (0, 4):
        state, *_ = game.step(state, action, KEY)
    assert game.text(state) == " 3 x . .\n 2 . o .\n 1 . . .\n   a b c"
    assert game.render(state).shape == (160, 160, 3)
    names = [
        pgx(n).move_name(a, True) for n, a in (("connect_four", 6), ("othello", 64), ("hex", 121))
    ]
    assert names == ["g", "pass", "swap"] and game.move_name(2, False) == "c3"


@pytest.mark.slow
def test_chess_is_written_from_the_first_players_side():
    game = pgx("gardner_chess")
    state, obs = game.reset(KEY)
    assert game.text(state).splitlines()[0] == " 5 r n b q k"
    step = jax.jit(game.step)
    for wanted in ("b2b3", "c4b3"):
        second = bool(game.second(state))
        moves = {game.move_name(int(a), second): int(a) for a in np.flatnonzero(obs[MASK])}
        state, obs, *_ = step(state, moves[wanted], KEY)
    assert game.text(state).splitlines() == [
        " 5 r n b q k", " 4 p p . p p", " 3 . p . . .", " 2 P . P P P", " 1 R N B Q K",
        "   a b c d e",
    ]  # fmt: skip
    assert set(moves) >= {"c4b3", "a4b3"} and game.stones(state).sum() == 9 + 20


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("2048", "is for 1 players"),
        ("backgammon", "deals cards or throws dice"),
        ("kuhn_poker", "deals cards or throws dice"),
        ("minatar-breakout", "Spinward has MinAtar's own"),
        ("go_9", "the nearest are go_9x9"),
    ],
)
def test_what_search_cannot_follow_is_refused_by_one_line(name, error):
    with pytest.raises(SettingsError, match=error):
        pgx(name).spec  # noqa: B018


def test_a_game_that_is_not_drawn_says_so():
    with pytest.raises(SettingsError, match="pgx:shogi is not drawn"):
        pgx("shogi").require_drawn()


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    from spinward.envs import pgx as adapter

    adapter.made.cache_clear()
    monkeypatch.setitem(sys.modules, "pgx", None)
    with pytest.raises(SettingsError, match=r"pip install -e '.\[pgx\]'"):
        adapter.made("chess")
