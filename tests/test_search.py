"""Search on boards with a right answer, and its promises on any."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.core import MASK, replace
from spinward.envs.connect import Connect, tic_tac_toe
from spinward.errors import SettingsError
from spinward.search import opponents, trees

GAME = tic_tac_toe()
SEARCHES = {"gumbel": trees.gumbel, "puct": trees.puct, "uct": trees.uct}


def even(obs, key):
    """Knows nothing."""
    return jnp.zeros(obs[MASK].shape), jnp.zeros(obs[MASK].shape[0])


def position(rows, game=GAME):
    """The observation [1] of a board in signs, in which x is to move."""
    signs = np.array([list(row) for row in rows])
    state = replace(game.start(), mine=jnp.asarray(signs == "x"), theirs=jnp.asarray(signs == "o"))
    return jax.tree.map(lambda x: x[None], game.seen(state))


WIN = position(["xx.", "oo.", "..."])
BLOCK = position(["x..", "oo.", "..x"])
KEY = jax.random.key(0)


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize(("obs", "move"), [(WIN, 2), (BLOCK, 5)])
def test_search_without_knowledge_finds_the_win_and_the_block(name, obs, move):
    evaluate = partial(opponents.playout, GAME)
    found = jax.jit(partial(SEARCHES[name], GAME, evaluate, simulations=400))(obs, KEY)
    assert int(found.visits[0].argmax()) == move


@pytest.mark.parametrize("name", SEARCHES)
def test_visits_sum_to_the_simulations_and_no_illegal_move_has_any(name):
    obs = position(["x.o", ".x.", "..o"])
    found = jax.jit(partial(SEARCHES[name], GAME, even, simulations=30))(obs, KEY)
    legal = np.asarray(obs[MASK][0]) != 0
    assert int(found.visits.sum()) == 30
    assert (np.asarray(found.visits[0])[~legal] == 0).all()
    assert (np.asarray(found.policy[0])[~legal] == 0).all()
    assert float(found.policy.sum()) == pytest.approx(1.0, abs=1e-5)
    assert legal[int(found.action[0])]


def test_the_value_of_a_position_is_that_of_the_side_to_move():
    search = jax.jit(partial(trees.puct, GAME, even, simulations=200))
    assert float(search(WIN, KEY).value[0]) > 0.5
    lost = position(["oo.", "x.o", ".x."])  # o wins by the top row or the right column
    assert float(search(lost, KEY).value[0]) < 0.0


def test_the_search_prefers_the_side_that_a_value_favours():
    def fond(obs, key):  # of positions in which the other side holds the centre
        return jnp.zeros(obs[MASK].shape), -obs["board"][:, 1, 1, 1].astype(jnp.float32) * 0.9

    obs = position(["...", "...", "..."])
    found = jax.jit(partial(trees.puct, GAME, fond, simulations=60))(obs, KEY)
    assert int(found.visits[0].argmax()) == 4  # the centre is bad for who moves next


def test_gumbel_with_one_simulation_takes_the_best_of_noise_and_prior():
    logits = jnp.array([[0.5, -1.0, 2.0, 0.0, 1.0, 0.3, -0.2, 0.8, 1.5]])

    def prior(obs, key):
        return jnp.broadcast_to(logits, obs[MASK].shape), jnp.zeros(obs[MASK].shape[0])

    obs = position(["...", "...", "..."])
    search = jax.jit(partial(trees.gumbel, GAME, prior, simulations=1))
    for seed in range(5):
        key = jax.random.key(seed)
        noise = jax.random.gumbel(jax.random.split(jax.random.split(key)[1])[1], logits.shape)
        assert int(search(obs, key).action[0]) == int((noise + logits).argmax())
    plain = jax.jit(partial(trees.gumbel, GAME, prior, simulations=1, scale=0.0))
    assert int(plain(obs, KEY).action[0]) == 2


def test_expert_iterations_bonus_draws_visits_to_what_the_network_likes():
    def likes(obs, key):
        logits = jnp.zeros(obs[MASK].shape).at[:, 7].set(3.0)
        return logits, jnp.zeros(obs[MASK].shape[0])

    obs = position(["...", "...", "..."])
    plain = jax.jit(partial(trees.uct, GAME, likes, simulations=40))(obs, KEY)
    drawn = jax.jit(partial(trees.uct, GAME, likes, simulations=40, bonus=100.0))(obs, KEY)
    assert int(drawn.visits[0, 7]) > 2 * int(plain.visits[0, 7])


def test_noise_is_on_legal_moves_alone():
    legal = jnp.array([[True, True, False, True]])
    logits = jnp.where(legal, 0.0, trees.FORBIDDEN)
    noisy = trees.noisy(logits, legal, KEY, trees.PUCT(noise=0.5))
    prior = jax.nn.softmax(noisy)
    assert float(prior[0, 2]) == 0.0 and float(prior.sum()) == pytest.approx(1.0, abs=1e-5)
    same = jax.nn.softmax(trees.noisy(logits, legal, KEY, trees.PUCT(noise=0.0)))
    assert np.asarray(same[0]) == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3], abs=1e-5)


def test_moves_by_visits_have_odds_of_their_power():
    visits = jnp.broadcast_to(jnp.array([0, 30, 10]), (20_000, 3))
    drawn = np.bincount(trees.by_visits(visits, 1.0, KEY), minlength=3) / 20_000
    assert drawn == pytest.approx([0, 0.75, 0.25], abs=0.01)
    sharp = np.bincount(trees.by_visits(visits, 0.5, KEY), minlength=3) / 20_000
    assert sharp == pytest.approx([0, 0.9, 0.1], abs=0.01)
    assert (trees.by_visits(visits, 0.0, KEY) == 1).all()


def test_the_opponents_see_as_far_as_they_say():
    three = position(["x..", "...", "..o"])
    for obs, move in ((WIN, 2), (BLOCK, 5)):
        assert int(opponents.one_ply(GAME, obs, KEY)[0]) == move
    values = opponents.action_values(
        GAME, GAME.state_of(jax.tree.map(lambda x: x[0], three)), three[MASK][0] != 0, 5
    )
    best = np.flatnonzero(np.asarray(values) == values.max())
    assert values.max() == 1.0 and set(best) == {2, 6}  # a corner forks


def test_playouts_of_a_won_position_are_won():
    full = position(["xx.", "oox", "oxo"])  # one cell is left, and it wins
    assert float(opponents.playout(GAME, full, KEY)[1][0]) == 1.0


@pytest.mark.parametrize(
    ("name", "said"),
    [("uct", "uctN"), ("random1", "mean random"), ("uct1", "no opponent"), ("", "no")],
)
def test_an_unknown_opponent_is_refused_by_name(name, said):
    with pytest.raises(SettingsError, match=said):
        opponents.named(GAME, name)


def test_trees_are_as_large_as_is_said():
    spec = Connect().spec
    obs = position(["......." for _ in range(6)], Connect())
    made = jax.eval_shape(
        lambda obs: partial(trees.gumbel, Connect(), even)(obs, KEY, 8), obs
    )  # compiles nothing
    assert made.visits.shape == (1, 7)
    assert trees.tree_bytes(spec, 64, 15) == 64 * 16 * (24 * 7 + 20 + 6 * 7 * 3 + 7)
