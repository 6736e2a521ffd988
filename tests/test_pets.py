"""The cross-entropy method against closed forms, and planning with it in learned models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_mbpo import shifting
from test_me_trpo import A, B, Members
from twin import ALGORITHMS, tiny

from spinward.core import Box, Spec, replace
from spinward.envs.cartpole import CartPole
from spinward.errors import SettingsError
from spinward.models.branched import EnsembleWorld
from spinward.presets.choice import preset
from spinward.run.run import train
from spinward.search.cem import cem

PETS = ALGORITHMS["pets"]
SPEC = Spec(Box((2,)), Box((1,), -1.0, 1.0))


def test_cem_finds_the_minimum_of_a_quadratic_in_five_iterations():
    best = jnp.array([0.5, -0.3, 0.1])
    find = jax.jit(
        lambda key: cem(
            lambda plans, key: -jnp.square(plans - best).sum(-1), jnp.zeros(3), key, -1.0, 1.0,
            400, 40, 5, 0.1,
        )
    )  # fmt: skip
    for seed in range(3):
        np.testing.assert_allclose(find(jax.random.key(seed)), best, atol=1e-2)


def test_cem_samples_inside_the_bounds_and_puts_no_mass_on_them():
    seen = []

    def score(plans, key):
        seen.append(np.asarray(plans))
        return plans[:, 0]

    with jax.disable_jit():
        found = cem(score, jnp.array([0.8, 0.0]), jax.random.key(0), -1.0, 1.0, 300, 30, 4, 0.0)
    first = seen[0][:, 0]
    assert first.min() >= 0.6 and first.max() <= 1.0 and (first == 1.0).mean() < 0.01
    assert np.std(first) == pytest.approx(0.88 * 0.1, rel=0.15)  # cut off at two deviations
    assert np.abs(seen[0][:, 1]).max() <= 1.0 and np.std(seen[0][:, 1]) > 0.4
    assert 0.95 < float(found[0]) <= 1.0 and len(seen) == 4


@pytest.mark.parametrize("odd", [jnp.nan, jnp.inf])
def test_cem_ends_where_nothing_varies_and_takes_no_such_score_for_a_good_one(odd):
    def score(plans, key):
        return jnp.where(plans[:, 0] > 0.2, odd, plans[:, 0])

    found = cem(score, jnp.zeros(1), jax.random.key(0), -1.0, 1.0, 400, 40, 8, 0.1)
    assert 0.1 < float(found[0]) <= 0.2


HORIZON = 8


def riccati(start, horizon):
    """The least cost of a finite horizon: of next states, and a tenth of the squared action."""
    b, p = np.asarray(B)[:, None], np.zeros((2, 2))
    for _ in range(horizon):
        q = np.eye(2) + p  # of the next state
        gain = np.linalg.solve(0.1 + b.T @ q @ b, b.T @ q @ A)
        p = A.T @ q @ (A - b @ gain)
    return start @ p @ start


def test_in_a_linear_system_it_costs_what_the_optimal_controller_does():
    """The optimal actions from there are inside the bounds."""
    pets = PETS(models=2, particles=2, horizon=HORIZON, plans=2000, elites=200, iterations=12)
    exact = EnsembleWorld(Members(jnp.zeros((2, 2))), jnp.arange(2), (), SPEC)
    start = np.array([0.56, -0.42])
    plan = jax.jit(
        lambda key: pets.planned(exact, jnp.asarray(start), jnp.zeros((HORIZON, 1)), key)
    )(jax.random.key(0))
    returns = pets.returns(exact, jnp.asarray(start), plan[None], jax.random.key(1))
    assert returns.shape == (2, 1) and float(returns.std()) < 1e-6
    best = riccati(start, HORIZON)
    assert best * 0.999 < -float(returns.mean()) < best * 1.02
    idle = pets.returns(exact, jnp.asarray(start), jnp.zeros((1, HORIZON, 1)), jax.random.key(1))
    assert -float(idle.mean()) > best * 1.2


@pytest.mark.parametrize("bound", [True, False])
def test_particles_keep_their_model_or_change_it(bound):
    """Member k adds k to what is seen, and that is its reward."""
    pets = PETS(models=2, particles=4, horizon=10, bound=bound)
    world = EnsembleWorld(shifting([0.0, 1.0]), jnp.arange(2), (), SPEC)
    plans = jnp.zeros((30, 10, 1))
    found = np.asarray(pets.returns(world, jnp.zeros(2), plans, jax.random.key(0))).round(3)
    if bound:
        np.testing.assert_array_equal(found, np.repeat([[0.0], [0.0], [10.0], [10.0]], 30, 1))
    else:
        assert found.mean() == pytest.approx(5.0) and 0.9 < found.std() < 2.3
        assert len(np.unique(found)) > 4


def test_each_plan_is_followed_by_its_own_particles_until_an_episode_ends():
    def law(obs, action):
        return obs + action, action[..., 0]

    members = Members(jnp.zeros((2, 2)), law=law)
    pets = PETS(models=2, particles=2, horizon=4)
    plans = jnp.array([[1.0, 1.0, 1.0, 1.0], [0.5, 0.25, 0.0, 0.25]])[..., None]
    world = EnsembleWorld(members, jnp.arange(2), (), SPEC)
    found = pets.returns(world, jnp.zeros(2), plans, jax.random.key(0))
    np.testing.assert_allclose(found, [[4.0, 1.0]] * 2)
    ends = replace(world, terminal=lambda obs: obs[..., 0] > 1.5)
    found = pets.returns(ends, jnp.zeros(2), plans, jax.random.key(0))
    np.testing.assert_allclose(found, [[2.0, 1.0]] * 2)
    known = replace(world, known_reward=lambda obs, action, after: after[..., 0])
    found = pets.returns(known, jnp.zeros(2), plans, jax.random.key(0))
    np.testing.assert_allclose(found, [[10.0, 0.5 + 0.75 + 0.75 + 1.0]] * 2)  # of next states


def test_the_next_search_starts_from_the_rest_of_the_plan():
    pets = tiny(PETS, horizon=3, plans=20, elites=4, particles=2, models=2)
    agent = pets.init(jax.random.key(0), SPEC)
    memory = pets.memory(agent, 2)
    assert memory.shape == (2, 3, 1) and not memory.any()
    obs = jnp.array([[0.5, 0.1], [-0.4, 0.2]])
    act = jax.jit(pets.act, static_argnames="explore")
    action, after, _ = act(agent, obs, memory, jax.random.key(1), explore=False)
    plan = pets.planned(agent.model.world(pets), obs[1], memory[1], jnp.zeros((2,), jnp.uint32))
    np.testing.assert_allclose(action[1], plan[0], atol=1e-5)
    np.testing.assert_allclose(after[1], [*plan[1:], [0.0]], atol=1e-5)
    again, _, _ = act(agent, obs, memory, jax.random.key(2), explore=False)
    np.testing.assert_array_equal(action, again)  # a search that depends on what is seen alone
    for row in range(2):
        alone, _, _ = act(agent, obs[row : row + 1], memory[:1], jax.random.key(2), explore=False)
        np.testing.assert_allclose(alone[0], action[row], atol=1e-5)


def test_first_steps_are_random_and_later_ones_planned():
    pets = tiny(PETS, horizon=2, plans=20, elites=4, particles=2, models=2, iterations=8)
    agent = pets.init(jax.random.key(0), SPEC)
    obs, act = jnp.zeros((200, 2)), jax.jit(pets.act)
    first, _, _ = act(agent, obs, pets.memory(agent, 200), jax.random.key(1))
    assert np.std(first) == pytest.approx(1 / np.sqrt(3), rel=0.1)
    fitted = replace(agent.model, steps=replace(agent.model.steps, count=jnp.int32(8)))
    later, _, _ = act(replace(agent, model=fitted), obs, pets.memory(agent, 200), jax.random.key(1))
    assert float(jnp.abs(first - later).min()) > 0.0 and float(jnp.abs(later).max()) <= 1.0


@pytest.mark.parametrize(
    ("settings", "spec", "said"),
    [
        ({}, CartPole().spec, "needs continuous actions"),
        ({}, Spec(Box((2,)), Box((1,))), "with finite bounds"),
        ({}, Spec(Box((8, 8, 3)), SPEC.action), "models vectors"),
        ({"particles": 5}, SPEC, "particles=5 is no multiple of models=2"),
        ({"elites": 500}, SPEC, "elites=500 must be from 1 to plans"),
        ({"window": 5}, SPEC, "window=5 is more than the steps"),
    ],
)
def test_what_cannot_work_is_refused(settings, spec, said):
    with pytest.raises(SettingsError, match=said):
        tiny(PETS, **settings).check(spec)


@pytest.mark.slow
def test_pendulum_is_swung_up_after_four_thousand_steps(tmp_path):
    settings, _ = preset(PETS, "Pendulum-v1", 4000)
    run = train(PETS(**settings), "Pendulum-v1", 4000, 2, out=tmp_path, name="pendulum")
    assert run.evaluate(10).returns.mean(1).min() > -300.0
