"""Exact and sampled solutions of finite processes against closed forms and linear algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.algorithms.dqn import DQN
from spinward.envs import ids
from spinward.envs.finite import Finite, chain, garnet, grid, mdp_of
from spinward.experience.material import source_for
from spinward.loop import Parts
from spinward.programs.choose import program
from spinward.rewards.environment import Environment
from spinward.targets import dynamic_programming as dp
from spinward.targets import tabular

PROCESSES = {"chain": chain(), "grid": grid(4), "garnet": garnet()}
GAMMA = 0.9


@pytest.fixture(scope="module")
def solved():
    """The optimal action values of each process, by policy iteration."""
    return {name: dp.policy_iteration(env.mdp, GAMMA) for name, env in PROCESSES.items()}


def loop():
    """One state that may earn 1 and stay, or 3 and end."""
    moves = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    return mdp_of(moves, [[1.0, 3.0], [9.0, 9.0]], [1.0, 0.0], [False, True])


@pytest.mark.parametrize(("gamma", "stay", "leave"), [(0.5, 2.5, 3.0), (0.9, 10.0, 3.0)])
def test_values_of_one_state_are_the_geometric_series(gamma, stay, leave):
    action, q, _ = dp.policy_iteration(loop(), gamma)
    np.testing.assert_allclose(q[0], (stay, leave), rtol=1e-5)
    np.testing.assert_array_equal(q[1], (0.0, 0.0))
    assert int(action[0]) == int(leave > stay)
    trace = dp.value_iteration(loop(), jnp.zeros((2, 2)), gamma, 200)
    np.testing.assert_allclose(trace[-1], q, rtol=1e-5)
    np.testing.assert_allclose(trace[1, 0], (1.0, 3.0))
    np.testing.assert_allclose(trace[2, 0], (1.0 + 3.0 * gamma, 3.0), rtol=1e-6)


def test_a_sure_chain_is_worth_powers_of_the_discount():
    _, q, _ = dp.policy_iteration(chain(6, slip=0.0).mdp, GAMMA)
    np.testing.assert_allclose(q[:5, 1], [GAMMA ** (4 - at) for at in range(5)], rtol=1e-5)


@pytest.mark.parametrize("name", PROCESSES)
def test_the_value_of_a_random_policy_is_that_of_repeated_backups_in_double_precision(name):
    mdp = PROCESSES[name].mdp
    moves, reward = np.asarray(mdp.transition, float), np.asarray(mdp.reward, float)
    policy = np.random.default_rng(0).dirichlet(np.ones(reward.shape[1]), len(reward))
    q = np.zeros(reward.shape)
    for _ in range(400):
        value = np.where(mdp.terminal, 0.0, (policy * q).sum(1))
        q = reward + GAMMA * moves @ value
    found = dp.policy_value(mdp, jnp.asarray(policy, jnp.float32), GAMMA)
    np.testing.assert_allclose(found, q, atol=1e-4)


@pytest.mark.parametrize("name", PROCESSES)
def test_value_iteration_contracts_by_gamma_to_what_policy_iteration_finds(name, solved):
    mdp, (action, q, count) = PROCESSES[name].mdp, solved[name]
    trace = dp.value_iteration(mdp, jnp.zeros(mdp.reward.shape), GAMMA, 200)
    np.testing.assert_allclose(trace[-1], q, atol=1e-4)
    rates = dp.contraction(dp.distance(trace, q), 1e-2)
    known = rates[np.isfinite(rates)]
    assert len(known) > 10 and known.max() <= GAMMA * 1.001
    assert int(count) <= 12  # policies; there are 4 ** 16 of the grid
    held = jnp.take_along_axis(q, action[:, None], -1)[:, 0]
    np.testing.assert_allclose(held, q.max(-1), atol=1e-4)  # of two equal ones, either


def test_any_two_functions_come_nearer_by_gamma_and_none_by_less_than_it_must():
    mdp = garnet(30, 3, 30).mdp
    q, other = jax.random.normal(jax.random.PRNGKey(0), (2, 200, 30, 3))
    after = jax.vmap(lambda q: dp.optimality(mdp, q, GAMMA))
    rates = dp.distance(after(q), after(other)) / dp.distance(q, other)
    assert rates.max() <= GAMMA
    # A constant shift keeps all of its distance, so gamma is the best bound there is.
    np.testing.assert_allclose(dp.distance(after(q), after(q + 1.0)), GAMMA, rtol=1e-4)


def test_q_learning_comes_to_the_optimal_values():
    mdp = garnet(5, 2, 2).mdp
    _, best, _ = dp.policy_iteration(mdp, 0.6)
    points = tabular.q_learning(mdp, jax.random.PRNGKey(0), 0.6, 60_000, 3)
    errors = dp.distance(points, best)
    assert errors[-1] < 0.02 < 0.5 < dp.distance(best, jnp.zeros(best.shape))


def test_fitted_q_on_what_was_observed_is_value_iteration_there_and_nears_the_truth():
    mdp = garnet(5, 2, 2).mdp
    _, best, _ = dp.policy_iteration(mdp, GAMMA)
    random = np.random.default_rng(0)
    rows, moves = 20_000, np.asarray(mdp.transition).cumsum(-1)
    state, action = random.integers(0, (5, 2), (rows, 2)).T
    following = (random.random((rows, 1)) > moves[state, action]).sum(1)
    reward = np.asarray(mdp.reward)[state, action]
    seen, visits = tabular.empirical(mdp, (state, action, reward, following))
    assert visits.sum() == rows
    np.testing.assert_allclose(seen.transition.sum(-1), 1.0, atol=1e-6)
    table = jnp.eye(10).reshape(5, 2, 10)
    _, q = tabular.fitted_q(seen, table, visits / rows, GAMMA, 150)
    trace = dp.value_iteration(seen, jnp.ones((5, 2)), GAMMA, 150)
    np.testing.assert_allclose(q[-1], trace[-1], atol=1e-4)
    assert dp.distance(q[-1], best) < 0.3


@pytest.mark.parametrize(("gamma", "grows"), [(0.4, False), (0.5, False), (0.9, True)])
def test_fitted_q_of_two_states_with_one_feature_grows_by_twice_gamma(gamma, grows):
    """Tsitsiklis and Van Roy's example: features 1 and 2, the first leads to the second."""
    mdp = mdp_of([[[0.0, 1.0]], [[0.0, 1.0]]], [[0.0], [0.0]], [1.0, 0.0], [False, False])
    features, weight = jnp.array([[[1.0]], [[2.0]]]), jnp.array([[1.0], [0.0]])
    w, _ = tabular.fitted_q(mdp, features, weight, gamma, 8)
    np.testing.assert_allclose(w[:, 0], (2 * gamma) ** np.arange(9), rtol=1e-4)
    assert (w[-1, 0] > 1.01) == grows


@pytest.mark.parametrize("name", ["Finite-Chain", "Finite-Grid", "Finite-Garnet"])
def test_an_environment_walks_as_its_table_says(name):
    env = ids.make(name)
    assert isinstance(env, Finite)
    mdp, rows = env.mdp, 4000
    np.testing.assert_allclose(mdp.transition.sum(-1), 1.0, atol=1e-6)
    state, obs = jax.vmap(env.reset)(jax.random.split(jax.random.PRNGKey(0), rows))
    assert (obs.sum(-1) == 1).all() and (obs.argmax(-1) == state.at).all()
    action = jnp.ones(rows, jnp.int32)
    at = jnp.full(rows, 4, jnp.int32)
    state = type(state)(at, jnp.full(rows, env.limit - 1))
    after, _, reward, terminated, truncated = jax.vmap(env.step)(
        state, action, jax.random.split(jax.random.PRNGKey(1), rows)
    )
    share = np.bincount(after.at, minlength=mdp.reward.shape[0]) / rows
    np.testing.assert_allclose(share, mdp.transition[4, 1], atol=0.04)
    np.testing.assert_allclose(reward, mdp.reward[4, 1])
    assert (truncated == ~terminated).all()


def test_deep_q_learning_with_a_table_for_a_network_comes_to_the_optimal_values():
    env = Finite(chain(5, slip=0.1).mdp, limit=20)
    _, best, _ = dp.policy_iteration(env.mdp, GAMMA)
    algorithm = DQN(
        hidden=(), envs=16, updates=2, batch=64, lr=3e-3, gamma=GAMMA, target_every=20,
        epsilon=0.5, explore_steps=1, capacity=20_000, warmup=2_000, huber=100.0,
    )  # fmt: skip
    run = program(Parts(algorithm, source_for(algorithm.wants(env.spec), env), Environment()))
    state, _ = run.advance(run.start(jax.random.PRNGKey(0)[None]), 2000)
    q = jax.vmap(lambda model: model(jnp.eye(5)))(state.agent.learner.model)[0]
    np.testing.assert_allclose(q[:4], best[:4], atol=0.03)
