"""Layers, distributions, heads and running statistics against published twins and literals."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from spinward.core import MASK, Box, Dict, Discrete, MultiDiscrete, Spec, Transition
from spinward.errors import SettingsError
from spinward.networks.distributions import (
    Categorical,
    Gaussian,
    MultiCategorical,
    forbid,
    pick,
)
from spinward.networks.heads import ActorCritic, PolicyNetwork, Q
from spinward.networks.layers import MLP, Conv, Linear, count, fold, outputs
from spinward.networks.normaliser import Moments, ObsNormaliser, RewardScaler
from spinward.networks.torso import CHUNK, Images

KEY = jax.random.key(0)
LAYOUT = ("NHWC", "HWIO", "NHWC")


def kernel(layer, channels):
    """The weights of a `Conv` as [height, width, inputs, outputs]."""
    size, stride = layer.size, layer.stride
    if stride == 1 or size % stride:
        return layer.w.reshape(size, size, channels, -1)
    blocks = size // stride
    w = layer.w.reshape(blocks, blocks, stride, stride, channels, -1)
    return w.transpose(0, 2, 1, 3, 4, 5).reshape(size, size, channels, -1)


@pytest.mark.parametrize(
    ("size", "stride", "channels", "filters"),
    [(8, 4, 3, 5), (4, 2, 3, 5), (3, 1, 3, 5), (3, 2, 3, 5), (3, 1, 33, 40), (2, 2, 9, 4)],
)
def test_conv_and_its_slopes_are_those_of_xla(size, stride, channels, filters):
    layer = Conv.init(KEY, channels, filters, size, stride)
    image = jax.random.normal(jax.random.key(1), (2, 21, 18, channels))

    def ours(layer, image):
        return layer(image)

    def theirs(layer, image):
        x = jax.lax.conv_general_dilated(
            image, kernel(layer, channels), (stride, stride), "VALID", dimension_numbers=LAYOUT
        )
        return x + layer.b

    def slopes(f, *at):
        """The output, its slope along a direction, that of a loss, and the loss's curvature."""
        along = jax.tree.map(jnp.cos, at)
        slope = jax.grad(lambda *at: jnp.sin(f(*at)).mean(), (0, 1))
        return *jax.jvp(f, at, along), *jax.jvp(slope, at, along)

    found, expected = (jax.jit(partial(slopes, f))(layer, image) for f in (ours, theirs))
    assert found[0].shape == (2, *outputs(layer, 21, 18), filters)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), found[:2], expected[:2])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found[2:], expected[2:])


def test_large_images_read_in_parts_give_what_the_whole_gives():
    images = Images.init(KEY, Box((36, 36, 4), 0, 255, "uint8"))
    seen = jax.random.randint(KEY, (2, CHUNK, 36, 36, 4), 0, 255).astype(jnp.uint8)

    def slope(read):
        return jax.jit(jax.value_and_grad(lambda x: jnp.sin(read(x, seen)).mean()))(images)

    found, expected = slope(Images.__call__), slope(Images.whole)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)


@pytest.mark.parametrize(("width", "channels", "block"), [(84, 4, 4), (18, 3, 4), (9, 1, 2)])
def test_bytes_fold_as_numbers_do(width, channels, block):
    image = jax.random.randint(KEY, (2, 21, width, channels), 0, 255)
    found = fold(image.astype(jnp.uint8), block)
    assert found.dtype == jnp.uint8
    np.testing.assert_array_equal(found, fold(image, block))
    np.testing.assert_array_equal(
        found[1, 2, 1].reshape(block, block, channels),
        image[1, 2 * block : 3 * block, block : 2 * block],
    )


def test_conv_reads_images_with_any_leading_axes():
    layer = Conv.init(KEY, 3, 5, 4, 2)
    images = jax.random.normal(KEY, (2, 3, 9, 9, 3))
    np.testing.assert_allclose(layer(images)[1, 2], layer(images[1, 2]), atol=1e-6)


@pytest.mark.parametrize(("inputs", "outputs"), [(6, 4), (4, 6), (5, 5)])
def test_linear_layers_start_orthogonal_with_their_gain_and_no_bias(inputs, outputs):
    layer = Linear.init(KEY, inputs, outputs, 0.5)
    w = np.asarray(layer.w)
    product = w.T @ w if inputs >= outputs else w @ w.T
    np.testing.assert_allclose(product, 0.25 * np.eye(min(inputs, outputs)), atol=1e-6)
    np.testing.assert_array_equal(layer.b, np.zeros(outputs))


def test_mlp_has_gain_root_two_inside_and_its_own_at_the_end():
    mlp = MLP.init(KEY, (4, 8, 3), "relu", 0.01)
    gains = [float(jnp.linalg.svd(layer.w, compute_uv=False)[0]) for layer in mlp.layers]
    np.testing.assert_allclose(gains, (2**0.5, 0.01), rtol=1e-5)
    x = np.ones(4, np.float32)
    inside = np.maximum(x @ np.asarray(mlp.layers[0].w), 0)
    np.testing.assert_allclose(mlp(x), inside @ np.asarray(mlp.layers[1].w), atol=1e-6)
    assert count(mlp) == 4 * 8 + 8 + 8 * 3 + 3


def test_pick_and_its_slope_are_those_of_an_index():
    values = jax.random.normal(KEY, (7, 4))
    index = jnp.array([0, 3, 1, 2, 2, 0, 3])
    rows = jnp.arange(7)
    np.testing.assert_array_equal(pick(values, index), values[rows, index])
    slope = jax.grad(lambda v: jnp.sin(pick(v, index)).sum())(values)
    expected = jax.grad(lambda v: jnp.sin(v[rows, index]).sum())(values)
    np.testing.assert_allclose(slope, expected, atol=1e-6)


def test_categorical_is_that_of_scipy():
    logits = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32) * 3
    share = np.exp(logits, dtype=np.float64)
    share /= share.sum(1, keepdims=True)
    policy, action = Categorical(jnp.asarray(logits)), jnp.array([0, 1, 2, 3, 0, 1])
    np.testing.assert_allclose(policy.log_prob(action), np.log(share[range(6), action]), rtol=1e-4)
    np.testing.assert_allclose(policy.entropy(), stats.entropy(share, axis=1), rtol=1e-4)
    np.testing.assert_array_equal(policy.mode(), share.argmax(1))
    draws = jax.vmap(policy.sample)(jax.random.split(KEY, 5000))
    for row in range(6):
        counts = np.bincount(draws[:, row], minlength=4)
        assert stats.chisquare(counts, share[row] * 5000).pvalue > 1e-3


def test_a_forbidden_action_is_never_sampled_and_the_entropy_stays_finite():
    mask = jnp.array([[1, 0, 1, 0], [0, 0, 0, 1]])
    logits = jnp.array([[0.0, 9.0, 1.0, 9.0], [5.0, 5.0, 5.0, -5.0]])

    def entropy(logits):
        return Categorical(forbid(logits, mask)).entropy()

    policy = Categorical(forbid(logits, mask))
    draws = np.asarray(jax.vmap(policy.sample)(jax.random.split(KEY, 2000)))
    assert set(draws[:, 0]) == {0, 2} and set(draws[:, 1]) == {3}
    two = stats.entropy([1 / (1 + np.e), np.e / (1 + np.e)])
    np.testing.assert_allclose(entropy(logits), (two, 0.0), atol=1e-6)
    slope = np.asarray(jax.jacobian(lambda x: entropy(x).sum())(logits))
    assert np.isfinite(slope).all() and (slope[mask == 0] == 0).all()
    np.testing.assert_array_equal(policy.mode(), (2, 3))
    np.testing.assert_array_equal(forbid(logits, None), logits)


def test_multicategorical_is_the_product_of_its_choices():
    logits = np.random.default_rng(0).normal(size=(5, 5)).astype(np.float32)
    policy, one, two = (
        MultiCategorical(jnp.asarray(logits), (2, 3)),
        Categorical(jnp.asarray(logits[:, :2])),
        Categorical(jnp.asarray(logits[:, 2:])),
    )
    action = jnp.array([[0, 2], [1, 1], [1, 0], [0, 0], [1, 2]])
    expected = one.log_prob(action[:, 0]) + two.log_prob(action[:, 1])
    np.testing.assert_allclose(policy.log_prob(action), expected, rtol=1e-6)
    np.testing.assert_allclose(policy.entropy(), one.entropy() + two.entropy(), rtol=1e-6)
    np.testing.assert_array_equal(policy.mode(), np.stack([one.mode(), two.mode()], 1))
    draws = np.asarray(jax.vmap(policy.sample)(jax.random.split(KEY, 500)))
    assert draws.max((0, 1)).tolist() == [1, 2] and draws.min() == 0
    counts = stats.contingency.crosstab(draws[:, 0, 0], draws[:, 0, 1]).count
    assert stats.chi2_contingency(counts).pvalue > 1e-3  # the choices are independent


def test_gaussian_is_that_of_scipy():
    random = np.random.default_rng(0)
    mean, action = random.normal(size=(2, 6, 3)).astype(np.float32)
    log_std = np.array([-1.0, 0.0, 0.7], np.float32)
    policy = Gaussian(jnp.asarray(mean), jnp.asarray(log_std))
    normal = stats.norm(mean, np.exp(log_std))
    np.testing.assert_allclose(policy.log_prob(action), normal.logpdf(action).sum(1), rtol=1e-4)
    np.testing.assert_allclose(policy.entropy(), normal.entropy().sum(1), rtol=1e-5)
    np.testing.assert_array_equal(policy.mode(), mean)
    draws = np.asarray(jax.vmap(policy.sample)(jax.random.split(KEY, 4000)))
    assert stats.kstest(((draws - mean) / np.exp(log_std)).reshape(-1), "norm").pvalue > 1e-3


def test_a_policy_reads_numbers_vectors_images_and_masks_from_one_observation():
    image, vector = Box((10, 10, 4), 0.0, 1.0, "uint8"), Box((3,))
    mask = Box((2,), 0.0, 1.0, "int8")
    parts = ("board", image), ("fuel", Box(())), ("inventory", vector), (MASK, mask)
    spec = Spec(Dict(parts), Discrete(2))
    model = ActorCritic.init(KEY, spec, (8,), "relu")
    obs = jax.tree.map(jnp.asarray, spec.zeros(5))
    obs[MASK] = obs[MASK].at[:, 1].set(1)
    policy, _, _ = model.step(obs, model.memory(5))
    assert policy.sample(KEY).tolist() == [1] * 5
    before = model.value(obs)
    for name in ("board", "fuel", "inventory"):  # each part is read
        assert (model.value({**obs, name: obs[name] + 1}) != before).all()
    np.testing.assert_array_equal(model.value({**obs, MASK: 1 - obs[MASK]}), before)
    q = Q.init(KEY, spec, (8,), "relu")(obs)
    assert (q[:, 0] < -1e8).all() and (q[:, 1] > -1e3).all()


@pytest.mark.parametrize(
    ("action", "shape", "kind"),
    [
        (Discrete(3), (4,), Categorical),
        (MultiDiscrete((2, 3)), (4, 2), MultiCategorical),
        (Box((2,), -1.0, 1.0), (4, 2), Gaussian),
        (Box((2, 3), -1.0, 1.0), (4, 2, 3), Gaussian),
    ],
    ids=["discrete", "several", "box", "matrix"],
)
def test_a_policy_acts_in_every_space(action, shape, kind):
    policy = PolicyNetwork.init(KEY, Spec(Box((3,)), action), (8,), "tanh")(jnp.ones((4, 3)))
    assert isinstance(policy, kind)
    chosen = policy.sample(KEY)
    assert chosen.shape == policy.mode().shape == shape
    assert policy.log_prob(chosen).shape == policy.entropy().shape == (4,)


def test_an_observation_that_is_neither_vector_nor_image_is_refused():
    with pytest.raises(SettingsError, match=r"shape \(3, 4\)"):
        Q.init(KEY, Spec(Box((3, 4)), Discrete(2)), (8,), "tanh")


def test_values_of_successors_are_those_of_their_observations():
    model = ActorCritic.init(KEY, Spec(Box((3,)), Discrete(2)), (8,), "tanh")
    obs, after = jax.random.normal(KEY, (2, 5, 4, 3))
    rest = jnp.zeros((5, 4))
    batch = Transition(obs, rest, rest, rest, rest, after, rest, {})
    policy, value, next_value = model.unroll(batch)
    np.testing.assert_allclose(value, model.value(obs), atol=1e-6)
    np.testing.assert_allclose(next_value, model.value(after), atol=1e-6)
    acted, _, _ = model.step(obs, ())
    np.testing.assert_allclose(policy.logits, acted.logits, atol=1e-6)


def test_moments_are_mean_and_variance_of_all_rows_that_count():
    random = np.random.default_rng(0)
    moments, seen = Moments.init((3,)), []
    for size in (1, 7, 30, 2):
        rows = random.normal(4.0, 2.0, (size, 5, 3)).astype(np.float32)
        weight = (random.random((size, 5)) < 0.8).astype(np.float32)
        moments = moments.add(jnp.asarray(rows), jnp.asarray(weight))
        seen.append(rows[weight > 0])
    seen = np.concatenate(seen)
    np.testing.assert_allclose(moments.mean, seen.mean(0), rtol=1e-4)
    np.testing.assert_allclose(moments.var, seen.var(0), rtol=1e-3)
    np.testing.assert_allclose(moments.count, len(seen), rtol=1e-5)


def test_moments_do_not_move_by_rows_without_weight():
    rows = jax.random.normal(KEY, (3, 4, 2))
    moments = Moments.init((2,)).add(rows, jnp.ones((3, 4)))
    after = moments.add(jnp.full((3, 4, 2), 1e3), jnp.zeros((3, 4)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), moments, after)


def test_observations_are_scaled_and_clipped_but_for_images_and_masks():
    image, mask = Box((4, 4, 1), 0.0, 255.0, "uint8"), Box((2,), 0.0, 1.0, "int8")
    spec = Spec(Dict((("place", Box((2,))), ("screen", image), (MASK, mask))), Discrete(2))
    rows = np.random.default_rng(0).normal(3.0, 2.0, (50, 8, 2)).astype(np.float32)
    obs = {**jax.tree.map(jnp.asarray, spec.zeros(50, 8)), "place": jnp.asarray(rows)}
    obs = {**obs, "screen": obs["screen"] + 7, MASK: obs[MASK] + 1}
    normaliser = ObsNormaliser.init(spec).add(obs, jnp.ones((50, 8)))
    found = normaliser(obs)
    flat = rows.reshape(-1, 2)
    expected = (rows - flat.mean(0)) / flat.std(0)
    np.testing.assert_allclose(found["place"], expected, atol=1e-3)
    for name in ("screen", MASK):
        np.testing.assert_array_equal(found[name], obs[name])
    assert float(normaliser({**obs, "place": obs["place"] + 1e6})["place"].max()) == 10.0


def test_rewards_are_scaled_as_vecnormalize_does():
    random = np.random.default_rng(0)
    gamma, envs = 0.9, 3
    scaler = RewardScaler.init(Spec(Box((1,)), Discrete(2), envs))
    returns, seen = np.zeros(envs), []
    for _ in range(4):
        reward = random.normal(2.0, 3.0, (10, envs)).astype(np.float32)
        done = random.random((10, envs)) < 0.2
        for t in range(10):  # baselines: ret = ret * gamma + reward; update(ret); ret[done] = 0
            returns = returns * gamma + reward[t]
            seen.append(returns.copy())
            returns[done[t]] = 0.0
        rest = jnp.zeros((10, envs))
        over = jnp.asarray(done)
        batch = Transition(rest, rest, jnp.asarray(reward), over, ~over & False, rest, rest + 1, {})
        scaler = scaler.add(batch, gamma)
    np.testing.assert_allclose(scaler.total, returns, atol=1e-4)
    deviation = np.concatenate(seen).std()
    np.testing.assert_allclose(scaler.moments.var, deviation**2, rtol=1e-3)
    np.testing.assert_allclose(scaler(jnp.array([1.0, -2.0])), [1 / deviation, -2 / deviation],
                               rtol=1e-3)  # fmt: skip
    assert scaler(jnp.array([1e6, -1e6])).tolist() == [10.0, -10.0]
