"""Targets and losses of action values: against RLax, closed forms and hand-computed tables."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from spinward.core import Transition
from spinward.losses.values import cross_entropy, huber, midpoints, quantile_huber
from spinward.targets.distributional import mixture, project
from spinward.targets.values import bootstrap, expected, n_step, unrolled

STORED = json.loads((Path(__file__).parent / "literals" / "rlax_values.json").read_text())
X = {name: jnp.asarray(np.array(value)) for name, value in STORED["inputs"].items()}
RLAX = {name: np.array(value) for name, value in STORED["outputs"].items()}
X["action"] = X["action"].astype(int)
ROWS = jnp.arange(len(X["reward"]))


def close(found, expected, atol=2e-5):
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max", lambda: bootstrap(X["selector"], X["next_q"], double=False)),
        ("double", lambda: bootstrap(X["selector"], X["next_q"], double=True)),
        ("expected", lambda: expected(X["next_q"], jax.nn.softmax(X["selector"]))),
    ],
)
def test_one_step_errors_are_those_of_rlax(name, value):
    error = X["reward"] + X["discount"] * value() - X["q"][ROWS, X["action"]]
    close(error, RLAX[name])


def test_projection_is_that_of_rlax():
    probs = jax.nn.softmax(X["next_logits"][:, 0])
    assert (jnp.abs(X["values"]) > 2.0).any()  # some lie beyond the atoms
    close(project(X["values"], probs, X["atoms"]), RLAX["project"])


def test_loss_of_c51_is_that_of_rlax():
    probs = jax.nn.softmax(X["next_logits"])
    best = (probs * X["atoms"]).sum(-1).argmax(-1)
    values = X["reward"][:, None] + X["discount"][:, None] * X["atoms"]
    goal = project(values, probs[ROWS, best], X["atoms"])
    close(cross_entropy(X["logits"][ROWS, X["action"]], goal), RLAX["c51"])


@pytest.mark.parametrize("kappa", [0, 1])
def test_loss_of_qr_dqn_is_that_of_rlax(kappa):
    after = jnp.moveaxis(X["next_quantiles"], 1, 2)  # [batch, actions, quantiles]
    best = after.mean(-1).argmax(-1)
    samples = X["reward"][:, None] + X["discount"][:, None] * after[ROWS, best]
    now = jnp.moveaxis(X["quantiles"], 1, 2)[ROWS, X["action"]]
    close(quantile_huber(now, samples, float(kappa)), RLAX[f"quantile_{kappa}"])


def test_the_four_targets_of_a_table():
    online, target = jnp.array([1.0, 3.0, 2.0]), jnp.array([30.0, 10.0, 20.0])
    table = {(False, False): 3, (True, False): 30, (False, True): 1, (True, True): 10}
    for (lagged, double), value in table.items():
        assert bootstrap(online, target, double, lagged) == value


def test_the_four_targets_agree_where_the_networks_do():
    q = jax.random.normal(jax.random.key(0), (50, 4))
    for lagged in (False, True):
        for double in (False, True):
            close(bootstrap(q, q, double, lagged), q.max(-1), 0)


def test_the_maximum_of_noise_is_overrated_and_that_of_two_networks_is_not():
    online, target = jax.random.normal(jax.random.key(0), (2, 100_000, 10))
    found = jax.jit(bootstrap, static_argnums=(2, 3))
    close(found(online, target, False, True).mean(), 1.5388, 0.01)
    for lagged in (False, True):
        close(found(online, target, True, lagged).mean(), 0.0, 0.01)


def random_windows(seed, window, batch=300):
    random = np.random.default_rng(seed)
    reward, obs = random.normal(size=(2, window, batch)).astype(np.float32)
    terminated = random.random((window, batch)) < 0.15
    truncated = (random.random((window, batch)) < 0.15) & ~terminated
    return jax.tree.map(
        jnp.asarray,
        Transition(obs, obs, reward, terminated, truncated, {"x": obs[..., None]}, obs, {}),
    )


@pytest.mark.parametrize("window", [1, 3, 10])
def test_an_unrolled_window_is_the_n_step_target(window):
    batch = random_windows(window, window)
    value = 3.0 * batch.next_obs["x"][..., 0]
    reward, discount, obs = jax.jit(unrolled)(batch, 0.9)
    close(reward + discount * 3.0 * obs["x"][:, 0], jax.jit(n_step)(batch, value, 0.9))


def test_an_unrolled_window_that_is_truncated_keeps_the_value_of_its_last_state():
    flags = jnp.array([[False, False], [True, False], [False, False]])
    obs = jnp.array([[1.0, 1], [2, 2], [3, 3]])
    batch = Transition(obs, obs, obs, jnp.zeros_like(flags), flags, obs, obs, {})
    reward, discount, state = jax.jit(unrolled)(batch, 0.5)
    close(reward, (1 + 0.5 * 2, 1 + 0.5 * 2 + 0.25 * 3))
    close(discount, (0.25, 0.125))
    close(state, (2, 3))


FIVE = jnp.arange(-2.0, 3.0)
PROBS = jnp.array([0.1, 0.2, 0.4, 0.2, 0.1])


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("low, high, atoms", [(-10, 10, 51), (-10, 10, 101), (-2, 20, 51)])
def test_a_value_on_an_atom_keeps_its_mass_there_to_the_last_atom(
    low, high, atoms, backend, monkeypatch
):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    support = jnp.linspace(low, high, atoms)
    values = jnp.broadcast_to(support, (atoms, atoms))
    masses = project(values, jnp.eye(atoms), support)
    assert (masses >= 0.0).all()
    np.testing.assert_allclose(masses, np.eye(atoms), atol=2e-5)


@pytest.mark.parametrize(
    ("reward", "discount", "masses"),
    [
        (0.3, 0.9, (0.05, 0.17, 0.36, 0.28, 0.14)),
        (1.0, 1.0, (0.0, 0.1, 0.2, 0.4, 0.3)),
        (0.3, 0.0, (0.0, 0.0, 0.7, 0.3, 0.0)),
        (9.0, 0.0, (0.0, 0.0, 0.0, 0.0, 1.0)),
        (0.0, 1.0, (0.1, 0.2, 0.4, 0.2, 0.1)),
    ],
    ids=["between atoms", "onto atoms", "terminated", "beyond them", "unmoved"],
)
@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_projections_worked_out_by_hand(reward, discount, masses, backend, monkeypatch):
    monkeypatch.setattr("jax.default_backend", lambda: backend)
    close(project(reward + discount * FIVE, PROBS, FIVE), masses, 1e-6)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_a_projection_within_the_atoms_keeps_mass_and_mean(backend, monkeypatch):
    monkeypatch.setattr("jax.default_backend", lambda: backend)
    random = np.random.default_rng(0)
    values = random.uniform(-2, 2, (100, 9)).astype(np.float32)
    probs = random.dirichlet(np.ones(9), 100).astype(np.float32)
    masses = project(jnp.asarray(values), jnp.asarray(probs), jnp.linspace(-2.0, 2.0, 6))
    close(masses.sum(-1), np.ones(100))
    close(masses @ jnp.linspace(-2.0, 2.0, 6), (values * probs).sum(-1))


def test_the_slope_of_a_cross_entropy_is_what_is_said_less_what_is_so():
    logits = jnp.array([0.5, -1.0, 2.0, 0.0, 0.3])
    slope = jax.grad(lambda x: cross_entropy(x, PROBS))(logits)
    close(slope, jax.nn.softmax(logits) - PROBS)


def test_quantile_loss_worked_out_by_hand():
    quantiles, samples = jnp.array([0.0, 1.0]), jnp.array([0.5, 2.0])
    # |tau - 1{u<0}| huber(u): (0.25 * 0.125, 0.25 * 1.5), (0.25 * 0.125, 0.75 * 0.5)
    close(quantile_huber(quantiles, samples), 0.5 * (0.03125 + 0.375 + 0.03125 + 0.375))
    assert not np.isclose(quantile_huber(samples, quantiles), quantile_huber(quantiles, samples))


def test_one_quantile_is_half_of_huber():
    error = jnp.linspace(-3.0, 3.0, 13)
    close(quantile_huber(jnp.zeros((13, 1)), error[:, None]), 0.5 * huber(error))


@pytest.mark.parametrize(("kappa", "tail"), [(0.0, (-1.69, -1.60)), (1.0, (-1.59, -1.0))])
def test_quantiles_are_found_by_descent_and_kappa_draws_the_outer_ones_in(kappa, tail):
    samples = jnp.asarray(stats.norm.ppf((np.arange(400) + 0.5) / 400), jnp.float32)
    slope = jax.grad(lambda x: quantile_huber(x, samples, kappa))

    def step(x, i):
        return x - 0.5 / (1 + i / 100) * slope(x), None

    found, _ = jax.lax.scan(step, jnp.zeros(10), jnp.arange(2000.0))
    exact = stats.norm.ppf(midpoints(10))
    assert tail[0] < found[0] < tail[1] and (np.diff(found) > 0).all()  # exact: -1.645
    if kappa == 0.0:
        close(found, exact, 0.03)


def test_mixtures_are_uniform_numbers_over_their_sum():
    weights = np.asarray(mixture(jax.random.key(0), 4, (50_000,)))
    close(weights.sum(-1), np.ones(50_000))
    assert weights.min() >= 0
    close(weights.mean(0), np.full(4, 0.25), 0.003)
    close(weights.std(0), np.full(4, 0.137), 0.005)
    close(np.asarray(mixture(jax.random.key(1), 200, (500,))).std(), 0.0029, 0.0003)


@pytest.mark.parametrize(
    "target",
    [
        lambda x: bootstrap(x, x).sum(),
        lambda x: bootstrap(x, x, False, False).sum(),
        lambda x: expected(x, x).sum(),
        lambda x: project(x, x, FIVE)[..., 0].sum(),
    ],
)
def test_no_gradient_flows_through_a_target(target):
    x = jax.random.uniform(jax.random.key(0), (3, 4))
    np.testing.assert_array_equal(jax.grad(target)(x), np.zeros((3, 4)))
