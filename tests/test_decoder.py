"""The decoder: its cache against reading all at once, padding, positions, and its pieces."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.errors import SettingsError
from spinward.networks.attention import FORBIDDEN, Scaling, attention, frequencies, rotation, turned
from spinward.networks.decoder import FEW, Decoder, Shape, cast
from spinward.networks.lora import Lora, merged
from spinward.networks.sampling import Sampling
from spinward.networks.transformer import Norm, gated

VOCAB, TIME = 13, 8
TOKENS = jax.random.randint(jax.random.key(1), (3, TIME), 0, VOCAB)
MASK = jnp.arange(TIME) >= jnp.array([0, 2, 5])[:, None]


def made(family="qwen3", layers=2):
    """A decoder with numbers large enough for each of them to matter."""
    shape = Shape.small(VOCAB, 16, layers, heads=4, context=16, family=family)
    shape = dataclasses.replace(shape, kv_heads=4 if family == "gpt2" else 2, norm_eps=1e-5)
    like = jax.eval_shape(lambda: Decoder.init(jax.random.key(0), shape))
    random = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(0.3 * random.normal(size=x.shape), x.dtype), like)


@pytest.fixture(scope="module")
def decoder():
    return made()


hidden = jax.jit(lambda decoder, tokens, mask: decoder.hidden(tokens, mask))


@pytest.mark.parametrize(("family", "layers"), [("gpt2", 2), ("qwen3", 2), ("qwen3", FEW + 1)])
def test_a_prompt_then_single_steps_give_what_reading_all_at_once_gives(family, layers):
    decoder = made(family, layers)

    @jax.jit
    def bit_by_bit(decoder):
        first, cache = decoder.extend(TOKENS[:, :5], MASK[:, :5], decoder.cache(3, TIME + 2))

        def step(cache, column):
            out, cache = decoder.extend(*(x[:, None] for x in column), cache)
            return cache, out[:, 0]

        cache, rest = jax.lax.scan(step, cache, (TOKENS[:, 5:].T, MASK[:, 5:].T))
        return jnp.concatenate([first, rest.swapaxes(0, 1)], 1), cache.length

    found, length = bit_by_bit(decoder)
    np.testing.assert_allclose(found[MASK], hidden(decoder, TOKENS, MASK)[MASK], atol=2e-5)
    assert length == TIME


@pytest.mark.parametrize(
    ("family", "layers", "remat"),
    [("gpt2", 2, False), ("qwen3", 2, False), ("qwen3", 2, True), ("qwen3", FEW + 1, True)],
)
def test_texts_after_a_prompt_read_once_have_the_numbers_and_slopes_of_reading_each(
    family, layers, remat
):
    prompt, masked = jnp.where(MASK, TOKENS, -1)[:, :5], MASK[:, :5]  # the last is all padding
    tokens = jax.random.randint(jax.random.key(2), (6, 4), 0, VOCAB)
    mask = jnp.arange(4) < jnp.array([4, 1, 3, 4, 2, 4])[:, None]
    along = jax.random.normal(jax.random.key(3), (6, 4, 16)) * mask[..., None]

    def apart(decoder):
        return decoder.after(prompt, tokens, (masked, mask), remat)

    def joined(decoder):
        whole = jnp.concatenate([jnp.repeat(prompt, 2, 0), tokens], 1)
        read = jnp.concatenate([jnp.repeat(masked, 2, 0), mask], 1)
        return decoder.hidden(whole, read)[:, 5:]

    found, expected = (
        jax.jit(jax.value_and_grad(lambda d, f=f: (f(d) * along).sum()))(made(family, layers))
        for f in (apart, joined)
    )
    slopes = jax.tree.leaves(expected[1].layers.k.w)  # a bias of keys has none
    assert all(jnp.abs(x).max() > 1e-3 for x in slopes)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), found, expected)


@pytest.mark.slow
def test_a_cache_repeated_goes_on_as_that_of_each_text(decoder):
    for model in (decoder, made(layers=FEW + 1)):
        _, cache = model.extend(TOKENS[:, :5], MASK[:, :5], model.cache(3, 6))
        token, read = jnp.arange(6)[:, None], jnp.ones((6, 1), bool)
        found, _ = model.extend(token, read, cache.repeated(2))
        for at in range(2):
            alone, _ = model.extend(token[at::2], read[at::2], cache)
            np.testing.assert_allclose(found[at::2], alone, atol=2e-5)


def test_a_sequence_is_read_alike_among_others_and_padded_on_either_side(decoder):
    among = hidden(decoder, TOKENS, MASK)[2, 5:]
    tokens, mask = jnp.zeros((3, TIME), int), jnp.zeros((3, TIME), bool)
    for row, start in enumerate((0, 2, 5)):
        tokens = tokens.at[row, start : start + 3].set(TOKENS[2, 5:])
        mask = mask.at[row, start : start + 3].set(True)
    for row, start in enumerate((0, 2, 5)):
        found = hidden(decoder, tokens, mask)[row, start : start + 3]
        np.testing.assert_allclose(found, among, atol=2e-5)


def test_what_stands_at_padding_has_no_slope_and_rematerialised_slopes_are_the_same(decoder):
    @partial(jax.jit, static_argnums=1)
    def slope(tokens, remat):
        def loss(decoder):
            scores = decoder.logits(decoder.hidden(tokens, MASK, remat))
            return (jax.nn.log_softmax(scores)[..., 3] * MASK).sum()

        return jax.value_and_grad(loss)(decoder)

    expected = slope(jnp.where(MASK, TOKENS, 7), False)
    assert all(jnp.abs(x).max() > 1e-6 for x in jax.tree.leaves(expected))
    for other, remat in ((-1, False), (5, False), (-1, True)):
        found = slope(jnp.where(MASK, TOKENS, other), remat)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), found, expected)


def test_no_token_sees_what_follows_it(decoder):
    changed = TOKENS.at[:, 6].add(1) % VOCAB
    one, two = (hidden(decoder, x, MASK) for x in (TOKENS, changed))
    before = MASK & (jnp.arange(TIME) < 6)
    np.testing.assert_array_equal(one[before], two[before])
    assert (jnp.abs(one[:, 6:] - two[:, 6:]).max((1, 2)) > 1e-3).all()


def test_bfloat16_parameters_give_float32_logits_near_the_exact_ones(decoder):
    small = cast(decoder, jnp.bfloat16)
    near = hidden(small, TOKENS, MASK)
    exact = decoder.logits(hidden(decoder, TOKENS, MASK))
    assert near.dtype == jnp.bfloat16 and small.logits(near).dtype == jnp.float32
    error = jnp.abs(small.logits(near) - exact)[MASK]
    assert error.max() < 0.06 * jnp.abs(exact).max()


def test_attention_is_a_softmax_by_hand_with_heads_that_share_keys():
    random = np.random.default_rng(3)
    sizes = (2, 3, 4, 5), (2, 2, 6, 5), (2, 2, 6, 5)
    q, k, v = (random.normal(size=size).astype(np.float32) for size in sizes)
    allowed = np.arange(6) <= np.arange(3)[:, None] + 1
    allowed = np.stack([allowed, np.zeros((3, 6), bool)])  # the second sees nothing
    found = np.asarray(jax.jit(attention)(q, k, v, allowed))
    for t, h in np.ndindex(3, 4):
        seen = t + 2
        scores = k[0, h // 2, :seen] @ q[0, t, h] / 5**0.5
        weights = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(found[0, t, h], weights @ v[0, h // 2, :seen], atol=1e-5)
        assert (found[1, t, h] == 0).all()


def test_slopes_of_attention_are_those_of_a_softmax_written_out():
    random = np.random.default_rng(4)
    sizes = (2, 3, 4, 5), (2, 2, 6, 5), (2, 2, 6, 5), (2, 3, 4, 5)
    *heads, along = (jnp.float32(random.normal(size=size)) for size in sizes)
    allowed = jnp.stack([jnp.arange(6) <= jnp.arange(3)[:, None] + 1, jnp.zeros((3, 6), bool)])

    def plain(q, k, v):
        k, v = (jnp.repeat(x, 2, 1) for x in (k, v))
        scores = jnp.einsum("bthd,bhsd->bhts", q, k) / 5**0.5
        weights = jax.nn.softmax(jnp.where(allowed[:, None], scores, FORBIDDEN))
        weights = jnp.where(allowed[:, None], weights, 0.0)  # where nothing is allowed
        return (jnp.einsum("bhts,bhsd->bthd", weights, v) * along).sum()

    found = jax.jit(jax.grad(lambda *x: (attention(*x, allowed) * along).sum(), (0, 1, 2)))(*heads)
    expected = jax.jit(jax.grad(plain, (0, 1, 2)))(*heads)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)
    assert all(jnp.abs(x[0]).max() > 0.1 for x in found)


def test_turned_heads_have_products_that_depend_on_the_distance_alone():
    q, k = jax.random.normal(jax.random.key(4), (2, 1, 1, 1, 6))

    def product(at, other):
        a, b = (rotation(jnp.array([[p]]), 6, 100.0, Scaling()) for p in (at, other))
        return float((turned(q, a) * turned(k, b)).sum())

    assert product(3, 1) == pytest.approx(product(9, 7), abs=1e-5)
    assert abs(product(3, 1) - product(3, 2)) > 1e-3
    angles = jnp.array([[[0.5, 2.0]]])
    by = jnp.cos(angles), jnp.sin(angles)
    literal = turned(jnp.array([1.0, 0.0, 0.0, 0.0])[None, None, None], by)
    np.testing.assert_allclose(literal[0, 0, 0], [np.cos(0.5), 0, np.sin(0.5), 0], atol=1e-6)


def test_llama3_slows_low_frequencies_alone():
    plain = frequencies(8, 1e4, Scaling())
    slowed = frequencies(8, 1e4, Scaling("llama3", 8.0, 1.0, 4.0, 64))
    turns = 64 * plain / (2 * np.pi)  # 10.2, 1.02, 0.10, 0.01: fast, between, slow, slow
    share = (turns[1] - 1.0) / 3.0
    expected = plain * [1.0, share + (1.0 - share) / 8.0, 1 / 8, 1 / 8]
    np.testing.assert_allclose(slowed, expected, rtol=1e-12)
    np.testing.assert_allclose(plain, [1.0, 0.1, 0.01, 0.001])


def test_projections_as_one_product_are_each_of_them_with_biases_and_low_rank_changes():
    plain = made("qwen2")
    lora = Lora.init(jax.random.key(0), plain, 2)
    lora = jax.tree.map(lambda x: x + 0.1, lora)  # or its second half would be 0
    for decoder in (plain, lora.attached(plain)):
        layer = decoder.layer(1)
        assert layer.joined and (layer.k.delta is None) == (decoder is plain)
        x = jax.random.normal(jax.random.key(1), (2, TIME, 16))
        found = layer.projected(x, layer.q, layer.k, layer.v)
        for y, by in zip(found, (layer.q, layer.k, layer.v), strict=True):
            expected = x @ by.w + by.b + (0.0 if by.delta is None else by.delta(x))
            np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-5)


def test_norms_by_hand():
    x = np.array([[3.0, -1.0, 4.0]], np.float32)
    scale, b = np.array([1.0, 2.0, 0.5], np.float32), np.array([0.1, 0.0, -1.0], np.float32)
    root = x / np.sqrt(np.square(x).mean() + 1e-3) * scale
    np.testing.assert_allclose(Norm(scale, None, 1e-3)(jnp.asarray(x)), root, rtol=1e-6)
    centred = (x - x.mean()) / np.sqrt(x.var() + 1e-3) * scale + b
    np.testing.assert_allclose(Norm(scale, b, 1e-3)(jnp.asarray(x)), centred, rtol=1e-5)


def test_the_slope_of_a_gated_layer_is_that_of_its_formula():
    gate, up, along = 3.0 * jax.random.normal(jax.random.key(6), (3, 40))

    def plain(gate, up):
        return (gate / (1.0 + jnp.exp(-gate)) * up * along).sum()

    found = jax.grad(lambda *x: (gated(*x) * along).sum(), (0, 1))(gate, up)
    np.testing.assert_allclose(found, jax.grad(plain, (0, 1))(gate, up), atol=1e-5)
    assert gated(gate, up) @ along == pytest.approx(float(plain(gate, up)), rel=1e-5)


LOGITS = jnp.log(jnp.array([0.5, 0.2, 0.15, 0.1, 0.05]))


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), [0.5, 0.2, 0.15, 0.1, 0.05]),
        (Sampling(top_k=2), [5 / 7, 2 / 7, 0, 0, 0]),
        (Sampling(top_k=9), [0.5, 0.2, 0.15, 0.1, 0.05]),
        (Sampling(top_p=0.5), [1, 0, 0, 0, 0]),
        (Sampling(top_p=0.6), [5 / 7, 2 / 7, 0, 0, 0]),
        (Sampling(top_p=0.01), [1, 0, 0, 0, 0]),
        (Sampling(top_k=4, top_p=0.8), [10 / 17, 4 / 17, 3 / 17, 0, 0]),
        (Sampling(temperature=0.0), [1, 0, 0, 0, 0]),
        (Sampling(temperature=0.5), [0.7692308, 0.1230769, 0.0692308, 0.0307692, 0.0076923]),
    ],
)
def test_what_is_drawn_from_has_these_odds(sampling, expected):
    order = jnp.array([3, 0, 4, 1, 2])
    odds = jnp.exp(sampling(LOGITS[order][None]).log_probs())[0]
    np.testing.assert_allclose(odds, np.array(expected)[order], atol=1e-6)
    assert FORBIDDEN < -1e9  # lower than any real logit


def test_a_temperature_of_0_takes_the_first_of_the_largest_logits_however_near_the_others_are():
    rows = jnp.array([[1.0, 1.0001, 0.0], [2.0, 3.0, 3.0], [-1e30, 0.0, -5.0]])
    found = Sampling(temperature=0.0)(rows)
    assert found.log_probs().argmax(-1).tolist() == [1, 1, 1]
    np.testing.assert_array_equal(found.log_prob(jnp.array([1, 1, 1])), [0.0, 0.0, 0.0])
    drawn = jax.vmap(found.sample)(jax.random.split(jax.random.key(0), 200))
    assert (drawn == 1).all()
    top = Sampling(temperature=0.0, top_k=2, top_p=0.5)(rows)
    assert (jax.vmap(top.sample)(jax.random.split(jax.random.key(1), 200)) == 1).all()


def test_a_temperature_near_0_divides_the_logits_and_gives_no_nan():
    near = Sampling(temperature=1e-4)(jnp.array([1.0, 1.0001]))
    expected = 1.0 / (1.0 + np.exp(-1.0))  # the gap is one temperature
    assert float(jnp.exp(near.log_prob(jnp.int32(1)))) == pytest.approx(expected, abs=1e-3)
    least = Sampling(temperature=1e-38)(jnp.array([-50.0, 3.0, 1.0]))
    assert np.isfinite(least.log_probs()).all() and int(least.log_probs().argmax()) == 1


def test_temperature_and_mass_may_be_traced_and_have_a_slope():
    def value(temperature):
        return Sampling(temperature, 0, 0.9)(LOGITS).log_prob(jnp.int32(1))

    step = (value(1.01) - value(0.99)) / 0.02
    assert jax.jit(jax.grad(value))(1.0) == pytest.approx(float(step), rel=1e-3)


def test_a_low_rank_change_attached_is_the_same_as_one_merged(decoder):
    lora = Lora.init(jax.random.key(5), decoder, 2, scale=1.5)
    assert set(lora.deltas) == {"q", "k", "v", "out", "gate", "up", "down"}
    plain = hidden(decoder, TOKENS, MASK)
    np.testing.assert_array_equal(hidden(lora.attached(decoder), TOKENS, MASK), plain)
    random = np.random.default_rng(1)
    lora = jax.tree.map(lambda x: jnp.float32(0.3 * random.normal(size=x.shape)), lora)
    found = hidden(lora.attached(decoder), TOKENS, MASK)
    assert jnp.abs(found - plain)[MASK].max() > 0.1
    whole = merged(lora.attached(decoder))
    assert jax.tree.structure(whole) == jax.tree.structure(decoder)
    np.testing.assert_allclose(hidden(whole, TOKENS, MASK)[MASK], found[MASK], atol=1e-4)
    up, delta = decoder.layers.up.w[1], lora.deltas["up"]
    np.testing.assert_allclose(whole.layers.up.w[1], up + 1.5 * delta.a[1] @ delta.b[1], atol=1e-6)
    with pytest.raises(SettingsError, match="rank of 8 must be above 0 and below 8"):
        Lora.init(jax.random.key(5), decoder, 8)


def test_a_low_rank_change_in_float32_learns_beside_weights_in_bfloat16(decoder):
    lora = Lora.init(jax.random.key(5), decoder, 2)

    def loss(lora):
        out = lora.attached(cast(decoder, jnp.bfloat16)).hidden(TOKENS, MASK)
        assert out.dtype == jnp.bfloat16
        return jnp.float32(out).sum()

    slopes = jax.eval_shape(jax.grad(loss), lora)
    assert {x.dtype.name for x in jax.tree.leaves(slopes)} == {"float32"}
