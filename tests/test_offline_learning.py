"""Learning from data of known quality: what copies, what improves, what fails on narrow data."""

import pytest
from twin import ALGORITHMS, keys

from spinward.core import replace
from spinward.envs.cartpole import CartPole
from spinward.envs.pendulum import Pendulum
from spinward.evaluation.episodes import Agents, evaluate
from spinward.experience.material import source_for
from spinward.experiments.controllers import balance, both, data_of, mean_return, swing_up
from spinward.loop import Parts
from spinward.programs.choose import program
from spinward.rewards.environment import Environment

SEEDS, UPDATES = 2, 6000
NETWORKS = {"hidden": (64, 64), "batch": 128}
AGENTS = {
    "td3": ALGORITHMS["td3"](**NETWORKS, rollout=100, updates=100, warmup=1_000),
    "td3_bc": ALGORITHMS["td3_bc"](**NETWORKS),
    "iql": ALGORITHMS["iql"](**NETWORKS, beta=0.3),
}
COPY = ALGORITHMS["bc"](**NETWORKS, activation="relu")


def learned(algorithm, env, data, updates=UPDATES):
    """The mean greedy return [seed] after so many updates."""
    source = source_for(algorithm.wants(env.spec), None, data)
    run = program(Parts(algorithm, source, Environment()))
    state, _ = run.advance(run.start(keys(SEEDS)), updates // algorithm.updates)
    return evaluate(Agents(algorithm, state.agent, env, SEEDS), 20).per_seed


@pytest.fixture(scope="module")
def narrow():
    return data_of(Pendulum(), swing_up, 20_000, 0.1)


@pytest.fixture(scope="module")
def mixed():
    env = Pendulum()
    return both(
        data_of(env, swing_up, 10_000, 0.3), data_of(env, swing_up, 10_000, 0.0, 1.0, seed=1)
    )


@pytest.fixture(scope="module")
def copied(narrow):
    return learned(COPY, Pendulum(), narrow)


@pytest.mark.slow
def test_a_copy_of_narrow_data_returns_what_they_do(narrow, copied):
    assert mean_return(narrow) == pytest.approx(-174.1, abs=1.0)
    assert copied.min() > 1.5 * mean_return(narrow)


@pytest.mark.slow
def test_an_off_policy_algorithm_fails_on_narrow_data(narrow, copied):
    assert learned(AGENTS["td3"], Pendulum(), narrow).max() < copied.min() - 500.0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["td3_bc", "iql"])
def test_an_algorithm_for_data_does_not(name, narrow, copied):
    assert learned(AGENTS[name], Pendulum(), narrow).min() > copied.mean() - 100.0


@pytest.mark.slow
def test_a_copy_of_mixed_data_is_worse_than_they_are_and_one_of_the_best_is_better(mixed):
    best = replace(COPY, best_share=0.3)  # which is of the controller
    plain, filtered = (learned(algorithm, Pendulum(), mixed) for algorithm in (COPY, best))
    assert plain.max() < mean_return(mixed) < filtered.min()
    assert filtered.min() > -300.0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["awac", "bcq_discrete", "cql_discrete", "iql"])
def test_choices_in_mixed_data_are_improved_on(name):
    env = CartPole()
    data = both(
        data_of(env, balance, 5_000, 0.0, 0.3), data_of(env, balance, 5_000, 0.0, 1.0, seed=1)
    )
    assert mean_return(data) < 60.0
    returns = learned(ALGORITHMS[name](hidden=(64, 64)), env, data, 4000)
    assert returns.min() > 400.0
