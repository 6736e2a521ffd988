"""The verbs of an update: the optimiser, passes over a batch, means, and shuffling."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from spinward.learning.minibatches import flatten, mean, means, run_epochs, shuffled, standardise
from spinward.learning.steps import Learner, adam, descend, descend_on_sum, linear_schedule


@pytest.mark.parametrize("limit", [0.5, 3.0, np.inf])
def test_adam_moves_as_optax_does_with_clipped_gradients(limit):
    start = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array([0.1, -0.7])}
    ours, theirs = adam(1e-2, limit, eps=1e-5), optax.adam(1e-2, eps=1e-5)
    theirs = optax.chain(optax.clip_by_global_norm(limit), theirs)

    def run(optimiser):
        def step(x, t):
            model, state = x
            grads = jax.tree.map(lambda p: jnp.sin(3.0 * p + t) + p, model)
            updates, state = optimiser.update(grads, state, model)
            return (optax.apply_updates(model, updates), state), optax.global_norm(grads)

        (model, state), norms = jax.lax.scan(step, (start, optimiser.init(start)), jnp.arange(20.0))
        return model, state, norms

    found, state, norms = run(ours)
    expected, _, _ = run(theirs)
    assert norms.min() < 3.0 < norms.max()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-7), found, expected)
    norm = optax.tree_utils.tree_get(state, "grad_norm")
    np.testing.assert_allclose(norm, norms[-1], rtol=1e-6)


def test_descending_on_a_sum_is_one_step_along_all_slopes():
    optimiser = adam(0.1, max_grad_norm=1.0)
    learner = Learner.init(jnp.array([3.0, 4.0]), optimiser)
    many = jnp.array([0.5, 1.0, -0.25]), jnp.array([[1.0, 2.0], [0.0, 1.0], [3.0, 1.0]])

    def loss(model, k, x):
        return k * jnp.square(model @ x), {"k": k}

    def whole(model):
        return jax.vmap(loss, (None, 0, 0))(model, *many)[0].sum(), {"k": many[0].sum()}

    expected = descend(whole, optimiser, learner)
    found = jax.jit(lambda learner: descend_on_sum(loss, optimiser, learner, *many))(learner)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)
    assert found[1]["k"] == 1.25 and found[1]["grad_norm"] > 1.0


def test_descend_reports_the_loss_and_the_norm_before_clipping():
    optimiser = adam(0.1, 1.0)
    learner = Learner.init(jnp.array([3.0, 4.0]), optimiser)
    after, metrics = descend(lambda m, k: (k * m @ m, {"k": k}), optimiser, learner, 2.0)
    assert metrics == {"k": 2.0, "loss": 50.0, "grad_norm": pytest.approx(20.0)}
    np.testing.assert_allclose(after.model, [2.9, 3.9], atol=1e-5)


def test_passes_read_every_row_once_in_each_epoch_in_a_new_order():
    data = jnp.arange(24).reshape(4, 6)

    def step(seen, rows):
        return seen.at[rows].add(1), {"rows": rows}

    seen, metrics = run_epochs(step, jnp.zeros(24, int), data, jax.random.key(0), 3, 2)
    np.testing.assert_array_equal(seen, np.full(24, 3))
    epochs = metrics["rows"].reshape(3, 24)
    np.testing.assert_array_equal(np.sort(epochs, 1), np.tile(np.arange(24), (3, 1)))
    assert (epochs[0] != epochs[1]).any() and (epochs[1] != epochs[2]).any()


def test_sequential_passes_keep_the_time_of_each_env_whole():
    data = jnp.arange(24).reshape(4, 6)

    def step(state, part):
        return state, {"part": part}

    _, metrics = run_epochs(step, (), data, jax.random.key(0), 2, 3, sequential=True)
    parts = np.asarray(metrics["part"])
    assert parts.shape == (6, 4, 2)
    np.testing.assert_array_equal(np.diff(parts, axis=1), np.full((6, 3, 2), 6))
    np.testing.assert_array_equal(np.sort(parts[:, 0].reshape(2, 6), 1), [range(6)] * 2)


def test_flatten_merges_time_and_env():
    found = flatten({"a": jnp.arange(24).reshape(2, 3, 4), "b": jnp.arange(6).reshape(2, 3)})
    np.testing.assert_array_equal(found["a"], np.arange(24).reshape(6, 4))
    np.testing.assert_array_equal(found["b"], np.arange(6))


@pytest.mark.parametrize("n", [1, 2, 3, 100, 127, 128, 129, 255, 256, 257, 1000, 4096, 5003])
def test_shuffled_is_a_permutation(n):
    for seed in range(4):
        found = shuffled(jax.random.key(seed), n)
        assert found.dtype == jnp.int32
        np.testing.assert_array_equal(np.sort(found), np.arange(n))


@pytest.mark.parametrize("n", [100, 128, 200])
def test_shuffled_puts_every_number_everywhere_equally_often(n):
    draws = 20 * n
    found = jax.vmap(lambda k: shuffled(k, n))(jax.random.split(jax.random.key(1), draws))
    found = np.asarray(found)
    places = np.bincount((np.arange(n) * n + found).reshape(-1), minlength=n * n)
    assert probability(places) > 1e-3
    gaps = np.bincount(((found[:, 1:] - found[:, :-1]) % n).reshape(-1), minlength=n)
    assert gaps[0] == 0
    assert probability(gaps[1:]) > 1e-3  # neighbours before are no neighbours after


def probability(counts):
    """Of counts as uneven as these, where all are equally likely."""
    return stats.chisquare(counts).pvalue


def test_means_are_those_of_the_steps_that_count():
    values = {"a": jnp.array([[1.0, 2.0], [3.0, 4.0]]), "b": jnp.float32(5.0)}
    weight = jnp.array([[1.0, 0.0], [1.0, 1.0]])
    found = means(values, weight)
    np.testing.assert_allclose(found["a"], 8 / 3, rtol=1e-6)
    np.testing.assert_allclose(found["b"], 5.0, rtol=1e-6)
    np.testing.assert_allclose(mean(values["a"], weight), 8 / 3, rtol=1e-6)
    assert float(means(values, jnp.zeros((2, 2)))["a"]) == 0.0


def test_standardise_gives_mean_0_and_deviation_1_over_the_steps_that_count():
    random = np.random.default_rng(0)
    values = random.normal(5.0, 3.0, 1000).astype(np.float32)
    weight = (random.random(1000) < 0.7).astype(np.float32)
    found = np.asarray(standardise(values, weight))[weight > 0]
    counted = values[weight > 0]
    np.testing.assert_allclose(found, (counted - counted.mean()) / counted.std(), atol=1e-4)


def test_linear_falls_to_zero_and_stays_there():
    found = [float(linear_schedule(0.5, jnp.float32(at), 100)) for at in (0, 25, 100, 150)]
    assert found == [0.5, 0.375, 0.0, 0.0]
    assert linear_schedule(0.5, jnp.float32(10), 0) == 0.5
