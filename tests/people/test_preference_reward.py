"""The learned reward: its loss, its ensemble, and what it never sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.core import Box, Context, Discrete, MultiDiscrete, Spec, Transition, replace
from spinward.errors import SettingsError
from spinward.losses.preference import noisy_comparison
from spinward.networks.predictor import numbers
from spinward.rewards.preferences import Comparisons, Preferences

SPEC = Spec(Box((2,)), Box((1,), -1.0, 1.0), 3)
TINY = Preferences(hidden=(16,), segment=4, labels=64, updates=50, batch=16, lr=3e-3)
KEY = jax.random.key(0)


def test_the_gradient_of_the_loss_is_that_of_the_closed_form():
    margin = jnp.linspace(-6.0, 6.0, 25)
    for error in (0.0, 0.1, 0.3):
        for share in (0.0, 0.5, 1.0):
            gradient = jax.vmap(jax.grad(lambda d, s=share, e=error: noisy_comparison(d, s, e)))
            s = jax.nn.sigmoid(margin)
            p = (1 - error) * s + error / 2
            wanted = -(share / p - (1 - share) / (1 - p)) * (1 - error) * s * (1 - s)
            np.testing.assert_allclose(gradient(margin), wanted, atol=1e-6)
            if error == 0.0:
                np.testing.assert_allclose(gradient(margin), s - share, atol=1e-6)


def test_the_loss_has_its_floor_and_is_the_same_from_either_side():
    def loss(margin, share, error=0.1):
        return float(noisy_comparison(jnp.float32(margin), share, error))

    assert loss(50.0, 1.0) == pytest.approx(-np.log(0.95), abs=1e-6)
    assert loss(0.0, 0.5) == pytest.approx(np.log(2.0), abs=1e-6)
    for share in (0.0, 0.3, 1.0):
        assert loss(1.7, share) == pytest.approx(loss(-1.7, 1 - share), abs=1e-6)
    assert np.isfinite(loss(-500.0, 1.0, 0.0))


def comparisons(count=64, size=64, seed=0, members=3):
    """Clips whose better one has the larger sum of the first entry of the observation."""
    random = np.random.default_rng(seed)
    obs = random.normal(size=(size, 2, 4, 2)).astype(np.float32)
    action = random.uniform(-1, 1, (size, 2, 4, 1)).astype(np.float32)
    total = obs[..., 0].sum(-1)
    share = (total[:, 0] > total[:, 1]).astype(np.float32)
    weight = (np.arange(size) < count).astype(np.float32)
    counts = random.poisson(1.0, (members, size)).astype(np.float32) * weight
    return Comparisons(*map(jnp.asarray, (obs, action, share, weight, counts)))


def drawn(data, steps=50, seed=1):
    random = np.random.default_rng(seed)
    return np.stack(
        [random.choice(len(c), (steps, 16), p=c / c.sum()) for c in np.float64(data.counts)], 1
    )


FIT = jax.jit(Preferences.fit)


@pytest.fixture(scope="module")
def learned():
    data, state = comparisons(), TINY.init(KEY, SPEC)
    for seed in range(6):
        state = FIT(TINY, state, data, drawn(data, seed=seed))
    return state, data


def batch_of(reward, shape=(5, 3), seed=3):
    random = np.random.default_rng(seed)
    obs = jnp.asarray(random.normal(size=(*shape, 2)), jnp.float32)
    action = jnp.asarray(random.uniform(-1, 1, (*shape, 1)), jnp.float32)
    flag = jnp.zeros(shape, bool)
    reward = jnp.full(shape, reward)
    return Transition(obs, action, reward, flag, flag, obs, jnp.ones(shape), {})


def test_the_ensemble_learns_what_is_better_and_says_how_well(learned):
    state, _ = learned
    obs = comparisons(seed=9).obs
    action = comparisons(seed=9).action
    total = TINY.each(state, obs, action).mean(0).sum(-1)
    right = (total[:, 0] > total[:, 1]) == (obs[..., 0].sum(-1)[:, 0] > obs[..., 0].sum(-1)[:, 1])
    assert right.mean() > 0.85 and 0.7 < float(state.accuracy) <= 1.0 and int(state.fits) == 6


def test_no_part_of_the_environments_reward_passes(learned):
    state, _ = learned
    for context in (Context(False), Context(True)):
        found = [TINY.label(state, batch_of(r), KEY, context)[1].reward for r in (-7.0, 5e3)]
        np.testing.assert_array_equal(*found)
    extra = replace(batch_of(2.0), extras={"env_reward": jnp.full((5, 3), 2.0)})
    _, batch, _ = TINY.label(state, extra, KEY)
    np.testing.assert_array_equal(batch.extras["env_reward"], batch.reward)


def test_replayed_steps_get_the_reward_of_today(learned):
    """The same steps, sampled again after a fit, have other rewards."""
    state, data = learned
    replayed = batch_of(0.0, (2, 1, 3))
    later = FIT(TINY, state, data, drawn(data, seed=77))
    before, after = (TINY.label(s, replayed, KEY, Context(True))[1].reward for s in (state, later))
    assert before.shape == (2, 1, 3) and not np.allclose(before, after)


def test_there_is_no_reward_before_the_first_fit():
    state = TINY.init(KEY, SPEC)
    assert not TINY.label(state, batch_of(3.0), KEY)[1].reward.any()


def test_each_member_is_normalised_by_itself_and_only_by_a_fit(learned):
    state, data = learned
    each = TINY.each(state, data.obs, data.action)
    np.testing.assert_allclose(each.mean((1, 2, 3)), state.mean, atol=1e-4)
    np.testing.assert_allclose(each.std((1, 2, 3)), state.std, rtol=1e-3)
    after, batch, _ = TINY.label(state, batch_of(0.0), KEY)
    assert after is state
    raw = TINY.each(state, batch.obs, batch.action)
    mean, std = (x[:, None, None] for x in (state.mean, state.std))
    np.testing.assert_allclose(batch.reward, ((raw - mean) / std).mean(0), rtol=1e-4, atol=1e-5)
    double = replace(TINY, scale=2.0).label(state, batch_of(0.0), KEY)[1].reward
    np.testing.assert_allclose(double, 2.0 * batch.reward, rtol=1e-5)


def test_a_member_learns_from_its_own_labels_alone():
    data, state = comparisons(), TINY.init(KEY, SPEC)
    index = drawn(data)
    other = data._replace(share=jnp.where(data.counts[0] == 0, 1.0 - data.share, data.share))
    one, two = FIT(TINY, state, data, index), FIT(TINY, state, other, index)
    first, second = (jax.tree.map(lambda x: x[0], s.members.model) for s in (one, two))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), first, second))
    others = (jax.tree.map(lambda x: x[1], s.members.model) for s in (one, two))
    assert not jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), *others))
    assert float(one.accuracy) != float(two.accuracy)  # held-out labels are what is measured by


def test_rows_without_a_label_change_nothing():
    data, state = comparisons(40), TINY.init(KEY, SPEC)
    noise = data._replace(obs=data.obs.at[40:].set(99.0), share=data.share.at[40:].set(0.0))
    one, two = (FIT(TINY, state, d, drawn(data)) for d in (data, noise))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weight_decay_rises_where_held_out_labels_are_missed():
    data = comparisons()
    chance = np.random.default_rng(5).integers(2, size=64).astype(np.float32)
    wrong = data._replace(share=jnp.where((data.counts == 0).any(0), chance, data.share))
    decays = []
    for labels in (wrong, data):
        state = TINY.init(KEY, SPEC)
        for seed in range(8):
            state = FIT(TINY, state, labels, drawn(data, seed=seed))
        decays.append(np.asarray(state.decay))
    assert decays[0].max() > TINY.weight_decay and decays[0].sum() > decays[1].sum()


def test_actions_of_every_kind_are_numbers():
    np.testing.assert_array_equal(numbers(Discrete(3), jnp.array([2, 0])), [[0, 0, 1], [1, 0, 0]])
    both = numbers(MultiDiscrete((2, 3)), jnp.array([[1, 2]]))
    np.testing.assert_array_equal(both, [[0, 1, 0, 0, 1]])
    assert numbers(Box((2, 2)), jnp.ones((5, 2, 2))).shape == (5, 4)


@pytest.mark.parametrize("name", ["teacher", "queries", "show"])
def test_a_word_that_means_nothing_is_refused(name):
    with pytest.raises(SettingsError, match=rf"reward.{name}='x' must be one of"):
        replace(TINY, **{name: "x"}).check()
