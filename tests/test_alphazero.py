"""AlphaZero: its targets by hand, its settings, and that it learns not to lose."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from twin import ALGORITHMS, tiny

import spinward as sw
from spinward.cli.main import main
from spinward.core import MASK, Transition, replace
from spinward.envs.boards import BOARD
from spinward.envs.connect import Connect, tic_tac_toe
from spinward.errors import SettingsError
from spinward.evaluation import tournament
from spinward.evaluation.statistics import wilson
from spinward.evaluation.tournament import Match
from spinward.experiments import alphazero as experiment
from spinward.experiments import connect_four
from spinward.experiments.reproduction import row_of
from spinward.learning.positions import Positions, Ring, outcomes, transformed
from spinward.run.assemble import assemble
from spinward.run.experiment import EnvChoice, Experiment
from spinward.search import opponents

KIND = ALGORITHMS["alphazero"]
GAME = tic_tac_toe()


def steps(reward, ends):
    """A batch [time, 1] of rewards and ends."""
    reward, ends = (jnp.asarray(x)[:, None] for x in (reward, ends))
    flags = ends.astype(bool)
    return Transition((), (), reward.astype(jnp.float32), flags, ~flags & False, (), (), {})


def test_outcomes_change_sign_from_ply_to_ply_and_are_known_where_a_game_ends():
    z, known = outcomes(steps([0, 0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 1, 0, 0]))
    assert z[:, 0].tolist() == [1, -1, 1, 0, 0, 0, 0]
    assert known[:, 0].tolist() == [True] * 5 + [False] * 2


def test_a_ring_keeps_the_newest_positions():
    ring = Ring.init(GAME.spec, 6)
    for i in range(1, 6):
        obs = jax.tree.map(lambda x, i=i: jnp.full_like(x, i), GAME.spec.zeros(2))
        ring = ring.add(Positions(obs, jnp.zeros((2, 9)), jnp.full(2, i), jnp.ones(2)))
        if i == 1:
            assert set(ring.sample(jax.random.key(0), 50).outcome.tolist()) == {1}
    assert ring.rows.outcome.tolist() == [4, 4, 5, 5, 3, 3]
    assert set(ring.sample(jax.random.key(1), 100).outcome.tolist()) == {3, 4, 5}


def test_a_position_and_its_policy_turn_together():
    board = np.zeros((1, 3, 3, 3), np.uint8)
    board[0, 0, 1, 0] = 1  # a stone above the centre
    policy = np.zeros((1, 9), np.float32)
    policy[0, 1] = 1.0  # and the policy points at it
    obs = {BOARD: jnp.asarray(board), MASK: jnp.asarray(policy > 0, jnp.uint8)}
    rows = Positions(obs, jnp.asarray(policy), jnp.ones(1), jnp.ones(1))
    places = set()
    for seed in range(40):
        turned = transformed(rows, GAME.symmetries(), BOARD, MASK, jax.random.key(seed))
        place = int(turned.policy[0].argmax())
        assert int(turned.obs[BOARD][0, :, :, 0].argmax()) == place
        assert int(turned.obs[MASK][0].argmax()) == place
        places.add(place)
    assert places == {1, 3, 5, 7}


def test_the_loss_is_the_sum_of_its_two_terms_in_numbers():
    algorithm = KIND(game=GAME, value_coef=2.0)
    obs = jax.tree.map(lambda x: jnp.asarray(x).at[:].set(1), GAME.spec.zeros(2))
    policy = jnp.zeros((2, 9)).at[:, 0].set(1.0)
    rows = Positions(obs, policy, jnp.array([1.0, -1.0]), jnp.array([1.0, 0.0]))

    def model(obs):
        return jnp.zeros((2, 9)), jnp.array([0.5, 0.5])

    loss, metrics = algorithm.loss(model, rows)
    assert metrics["policy_loss"] == pytest.approx(np.log(9), rel=1e-5)
    assert metrics["value_loss"] == pytest.approx(0.25)  # of the known outcome alone
    assert loss == pytest.approx(np.log(9) + 0.5, rel=1e-5)
    assert replace(algorithm, imitate=False).loss(model, rows)[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    "settings",
    [
        {"search": "puct"},
        {"search": "uct", "bonus": 100.0, "playouts": 0.5},
        {"imitate": False},
        {"play_simulations": 0},
        {"filters": (4,)},
    ],
    ids=str,
)
def test_every_kind_of_search_makes_legal_moves_and_learns(settings):
    algorithm = tiny(KIND, **settings)
    agent = algorithm.init(jax.random.key(0), GAME.spec)
    _, obs = jax.vmap(GAME.reset)(jax.random.split(jax.random.key(1), 4))
    obs = {**obs, MASK: obs[MASK].at[:, :7].set(0)}
    for explore in (True, False):
        act = jax.jit(partial(algorithm.act, explore=explore))
        action, _, _ = act(agent, obs, (), jax.random.key(2))
        assert (action >= 7).all()


def test_openings_are_random_in_half_of_the_games_and_not_in_earnest():
    algorithm = tiny(KIND, openings=1, simulations=2)
    agent = algorithm.init(jax.random.key(0), GAME.spec)
    _, obs = jax.vmap(GAME.reset)(jax.random.split(jax.random.key(1), 200))
    moves = jax.jit(partial(algorithm.act, explore=False))(agent, obs, (), jax.random.key(3))[0]
    assert len(set(moves.tolist())) == 1
    with_random = jax.jit(algorithm.act)(agent, obs, (), jax.random.key(3))[0]
    assert len(set(with_random.tolist())) == 9


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"search": "beam"}, "search='beam' is not one of gumbel, puct, uct"),
        ({"capacity": 100}, "capacity=100 must be a multiple of envs"),
        ({"simulations": 1}, "simulations=1 must be at least 2"),
        ({"hidden": ()}, "hidden is empty"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, said):
    with pytest.raises(SettingsError, match=said):
        KIND(**settings).check(GAME.spec)


@pytest.mark.parametrize(
    ("algorithm", "env", "said"),
    [
        ("alphazero", "CartPole-v1", "no game for two"),
        ("alphazero", "Pendulum-v1", "no game for two"),
        ("ppo", "TicTacToe", "name an opponent with --env.opponent"),
    ],
)
def test_what_is_no_game_for_two_and_who_plays_alone_are_refused(algorithm, env, said):
    with pytest.raises(SettingsError, match=said):
        assert assemble(Experiment(ALGORITHMS[algorithm](), env, 100)).parts


def test_trees_that_do_not_fit_into_memory_are_refused_with_the_numbers():
    with pytest.raises(SettingsError, match=r"envs=1000000 does not fit .* search takes .* GB"):
        algorithm = KIND(envs=1_000_000, rollout=1, capacity=1_000_000, simulations=2000)
        assert assemble(Experiment(algorithm, "ConnectFour", 100)).parts


def test_ratings_are_those_of_the_formula():
    results = np.array([1.0] * 750 + [0.0] * 250)
    rating = tournament.ratings([Match(0, 1, results)], 2)
    assert rating[0].points == 0 and rating[1].points == pytest.approx(-190.85, abs=0.3)
    assert rating[1].low < -190.85 < rating[1].high and rating[1].high - rating[1].low < 60
    assert rating[1].score == 0.25
    draws = tournament.ratings([Match(0, 1, np.full(100, 0.5))], 2)
    assert draws[1].points == pytest.approx(0, abs=1e-6)


def test_a_rating_covers_the_truth():
    random, truth = np.random.default_rng(0), np.array([0.0, 100.0, 250.0])
    hits = 0
    for trial in range(60):
        matches = []
        for i in range(3):
            for j in range(i + 1, 3):
                share = 1 / (1 + 10 ** ((truth[j] - truth[i]) / 400))
                matches.append(Match(i, j, (random.random(100) < share).astype(float)))
        found = tournament.ratings(matches, 3, seed=trial)
        hits += sum(r.low <= t <= r.high for r, t in zip(found[1:], truth[1:], strict=True))
    assert 0.88 <= hits / 120 <= 1.0


def test_matches_of_random_players_have_the_known_shares():
    player = partial(opponents.at_random, GAME)
    match, *rest = tournament.tournament(GAME, [player, player], 4000, opening=0)
    assert not rest and len(match.results) == 4000
    first = np.concatenate([match.results[:2000], 1.0 - match.results[2000:]])
    shares = [(first == x).mean() for x in (1.0, 0.5, 0.0)]
    assert shares == pytest.approx([0.585, 0.127, 0.288], abs=0.025)


def test_exact_play_against_random_has_the_known_shares():
    players = [opponents.named(GAME, "exact"), partial(opponents.at_random, GAME)]
    (match,) = tournament.tournament(GAME, players, 4000, opening=0)
    first, second = match.results[:2000], match.results[2000:]
    assert (first == 1).mean() == pytest.approx(0.968, abs=0.015) and first.min() == 0.5
    assert (second == 1).mean() == pytest.approx(0.777, abs=0.03) and second.min() == 0.5


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    algorithm = KIND(envs=32, rollout=8, simulations=8, play_simulations=16, capacity=2048)
    return sw.train(algorithm, "TicTacToe", steps=6144, out=tmp_path_factory.mktemp("games"))


def test_an_agent_learns_to_beat_random_play_in_seconds(run):
    env = EnvChoice("TicTacToe", {"opponent": "random"})
    assert run.evaluate(100, env=env).returns.mean() > 0.6


def test_a_game_is_scored_against_an_opponent_that_is_named(run, capsys):
    assert main(["evaluate", str(run.path), "--episodes", "20"]) == 0
    assert "return against one_ply" in capsys.readouterr().out
    words = ["--env.opponent", "exact", "--env.side", "second", "--episodes", "20"]
    assert main(["evaluate", str(run.path), *words]) == 0
    assert "mean -" in capsys.readouterr().out
    assert main(["evaluate", str(run.path), "--env.opponent", "rndom"]) == 2
    assert "did you mean random?" in capsys.readouterr().err


def test_a_person_plays_in_the_terminal(run, capsys, monkeypatch):
    words = iter(["zz\n", "?\n", *(f"{c}{r}\n" for r in "123" for c in "abc"), "q\n"])
    monkeypatch.setattr("sys.stdin.readline", lambda: next(words))
    assert main(["play", str(run.path)]) == 0
    out = capsys.readouterr().out
    assert "'zz' is no legal move; there are a3" in out and "to the side to move" in out
    assert "the agent plays" in out and any(w in out for w in ("a draw", "you win", "agent wins"))


def test_a_tournament_rates_runs_and_opponents(run, capsys):
    words = ["--opponents", "random,one_ply", "--games", "20"]
    assert main(["tournament", str(run.path), *words]) == 0
    out = capsys.readouterr().out
    assert "(by definition)" in out and "random - one_ply" in out
    assert main(["tournament", str(run.path), "--games", "3"]) == 2
    assert main(["tournament", str(run.path), "--opponents", ""]) == 2
    assert "nobody to meet" in capsys.readouterr().err


@pytest.mark.slow
def test_other_algorithms_learn_a_game_against_an_opponent(tmp_path):
    env = EnvChoice("ConnectFour", {"rows": 4, "columns": 4, "line": 3, "opponent": "random"})
    run = sw.train(sw.PPO(envs=8, rollout=16), env, steps=1024, out=tmp_path)
    assert run.evaluate(20).returns.shape == (1, 20)
    assert assemble(run.experiment).env.game == Connect(4, 4, 3)


@pytest.mark.parametrize(
    ("first", "second", "gain", "said"),
    [
        (0.0, 0.02, [100, 120, 90, 110, 95], "reproduced"),
        (0.001, 0.0, [100, 120, 90, 110, 95], "not reproduced"),
        (0.0, 0.03, [100, 120, 90, 110, 95], "not reproduced"),
        (0.0, 0.0, [100, -120, 90, 10, 5], "cannot tell"),
        (0.0, 0.0, [-100, -120, -90, -110, -95], "not reproduced"),
    ],
)
def test_the_verdict_of_the_experiment_can_go_each_way(first, second, gain, said):
    lost = np.array([[0.0, 0.0]] * 4 + [[first, second]])
    rows = [row_of("gain", gain), row_of("gain", [50, 60, 50, 55, 52])]
    assert experiment.verdict(lost, rows)[0] == said
    assert experiment.verdict(lost[:1], rows)[0] == "cannot tell"


@pytest.mark.parametrize(
    ("worst", "rises", "said"),
    [
        ([(0.995, 0.98), (0.8, 0.76), (0.6, 0.55)], True, "reproduced"),
        ([(0.995, 0.98), (0.8, 0.76), (0.6, 0.55)], False, "not reproduced"),
        ([(0.98, 0.96), (0.8, 0.76), (0.6, 0.55)], True, "not reproduced"),
        ([(0.995, 0.98), (0.8, 0.76), (0.53, 0.48)], True, "cannot tell"),
        ([(0.995, 0.98), (0.8, 0.76), (0.4, 0.35)], True, "not reproduced"),
    ],
)
def test_the_verdict_of_connect_four_can_go_each_way(worst, rises, said):
    assert connect_four.verdict(worst, rises)[0] == said


def test_the_interval_of_a_share_is_wilsons():
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-3)
    assert wilson(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-3)
