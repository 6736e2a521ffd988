"""Natural gradients in a trust region: against explicit matrices, and never beyond the limit."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from twin import ALGORITHMS, tiny

from spinward.core import Box, Discrete, MultiDiscrete, Spec, Transition, replace
from spinward.losses.policy import doubled_or_halved, dual_ascent, policy_gradient, surrogate
from spinward.losses.trust_region import conjugate_gradient, fisher_product, line_search, longest
from spinward.networks.distributions import (
    Categorical,
    Gaussian,
    MultiCategorical,
    of_each_step,
)
from spinward.networks.heads import PolicyNetwork
from spinward.networks.towers import Separate, joined, one_trunk, parted

ACTIONS = [Discrete(3), MultiDiscrete((2, 3)), Box((2,))]
PAIRS = [
    (Categorical(jnp.array([0.3, -1.0, 0.8])), Categorical(jnp.array([-0.2, 0.4, 0.1]))),
    (
        MultiCategorical(jnp.array([0.5, -0.5, 0.2, 0.1, -1.0]), (2, 3)),
        MultiCategorical(jnp.array([-1.5, 1.3, 0.0, 2.5, 0.4]), (2, 3)),
    ),
    (
        Gaussian(jnp.array([0.5, -1.0]), jnp.array([0.2, -0.3])),
        Gaussian(jnp.array([0.1, 0.4]), jnp.array([-0.4, 0.1])),
    ),
]


@pytest.mark.parametrize(("old", "new"), PAIRS, ids=["one", "several", "continuous"])
def test_divergence_is_the_mean_of_the_log_ratio_of_its_own_samples(old, new):
    draws = jax.vmap(old.sample)(jax.random.split(jax.random.key(0), 40_000))
    ratios = np.asarray(jax.vmap(lambda a: old.log_prob(a) - new.log_prob(a))(draws), float)
    error = ratios.std() / len(ratios) ** 0.5
    assert float(new.kl_from(old)) == pytest.approx(ratios.mean(), abs=4 * error)
    assert abs(float(new.kl_from(old) - old.kl_from(new))) > 4 * error  # its direction matters
    assert float(old.kl_from(old)) == pytest.approx(0.0, abs=1e-7)


def test_divergence_of_a_forbidden_choice_is_finite():
    old, new = Categorical(jnp.array([0.3, -1e9, 0.8])), Categorical(jnp.array([-0.2, -1e9, 0.1]))
    both = (Categorical(x.logits[jnp.array([0, 2])]) for x in (old, new))
    plain_old, plain_new = both
    assert float(new.kl_from(old)) == pytest.approx(float(plain_new.kl_from(plain_old)), rel=1e-5)
    slope = jax.grad(lambda x: Categorical(x).kl_from(old))(new.logits)
    assert np.isfinite(slope).all() and slope[1] == 0.0


def test_rows_of_a_policy_have_the_divergence_of_those_rows():
    mean = jax.random.normal(jax.random.key(0), (2, 6, 4, 2))
    old, new = Gaussian(mean[0], jnp.array([0.1, 0.2])), Gaussian(mean[1], jnp.array([-0.3, 0.0]))
    some = jax.tree.map(lambda x: x.reshape(24, 2)[::5], of_each_step(old))
    found = Gaussian(mean[1].reshape(24, 2)[::5], new.log_std).kl_from(some)
    np.testing.assert_allclose(found, new.kl_from(old).reshape(-1)[::5], rtol=1e-6)


def tiny_policy(action, rows=7):
    spec = Spec(Box((2,)), action)
    network = PolicyNetwork.init(jax.random.key(1), spec, (2,), "tanh")
    at, shaped = ravel_pytree(network)
    at = at + 0.3 * jax.random.normal(jax.random.key(2), at.shape)
    obs = jax.random.normal(jax.random.key(3), (rows, 2))
    return at, lambda x: shaped(x)(obs)


@pytest.mark.parametrize("action", ACTIONS, ids=str)
def test_fisher_products_are_those_of_the_explicit_second_derivative(action):
    at, policy = tiny_policy(action)

    @jax.jit
    def both(at):
        old = policy(at)
        product = fisher_product(policy, at, jnp.mean)
        explicit = jax.hessian(lambda x: policy(x).kl_from(old).mean())(at)
        return jax.vmap(product)(jnp.eye(len(at))), explicit

    matrix, explicit = both(at)
    np.testing.assert_allclose(matrix, explicit, atol=2e-6)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)
    assert np.linalg.eigvalsh(np.asarray(matrix, float)).min() > -1e-6
    assert np.abs(matrix).max() > 0.01


@pytest.mark.parametrize("dim", [1, 5, 20])
def test_conjugate_gradients_solve_in_as_many_steps_as_there_are_dimensions(dim):
    random = np.random.default_rng(dim)
    root = random.normal(size=(dim, dim))
    matrix = jnp.asarray(root @ root.T + np.eye(dim), jnp.float32)
    x = jnp.asarray(random.normal(size=dim), jnp.float32)
    found = conjugate_gradient(lambda v: matrix @ v, matrix @ x, dim + 2)
    np.testing.assert_allclose(found, x, atol=1e-3)
    assert (conjugate_gradient(lambda v: matrix @ v, jnp.zeros(dim), 3) == 0).all()


@pytest.mark.parametrize(
    ("damping", "step", "kl"), [(0.0, 0.141421, 0.0099668), (0.1, 0.129099, 0.0083103)]
)
def test_a_step_on_the_bandit_is_what_was_worked_out_by_hand(damping, step, kl):
    """Logits (0, 0), gradient (1/4, -1/4), limit 0.01."""
    at, gradient = jnp.zeros(2), jnp.array([0.25, -0.25])
    fisher = fisher_product(Categorical, at, lambda x: x)
    product = lambda v: fisher(v) + damping * v  # noqa: E731
    direction = conjugate_gradient(product, gradient, 10)
    found = longest(product, direction, 0.01) * direction
    np.testing.assert_allclose(found, [step, -step], rtol=1e-4)
    assert float(Categorical(found).kl_from(Categorical(at))) == pytest.approx(kl, rel=1e-3)


def test_line_search_takes_the_first_try_that_is_better_and_within_the_limit():
    def judge(x):  # best at 1, and as far away as it is long
        return -jnp.square(x[0] - 1.0), jnp.abs(x[0])

    look = partial(line_search, judge, jnp.zeros(1), shrink=0.5, tries=5)
    found = look(step=jnp.array([8.0]), limit=10.0)  # 8, 4 and 2 are no better than 0
    assert (found.x[0], found.accepted, found.backtracks) == (1.0, True, 3)
    found = look(step=jnp.array([8.0]), limit=0.6)
    assert (found.x[0], found.kl, found.gain) == (0.5, 0.5, 0.75)
    none = look(step=jnp.array([-8.0]), limit=10.0)
    assert (none.x[0], none.accepted, none.kl, none.backtracks) == (0.0, False, 0.0, 4)
    broken = look(step=jnp.array([np.nan]), limit=10.0)
    assert (broken.x[0], broken.accepted) == (0.0, False)


def batches_of(spec, count, time=6, envs=4):
    """So many batches [count, time, env] of steps taken by nobody."""
    k_obs, k_next, k_reward, k_ends = jax.random.split(jax.random.key(4), 4)
    shape = (count, time, envs)
    ends = jax.random.uniform(k_ends, (2, *shape)) < 0.2
    obs, after = (jax.random.normal(k, (*shape, *spec.obs.shape)) for k in (k_obs, k_next))
    reward = 10.0 * jax.random.normal(k_reward, shape)
    weight = (jax.random.uniform(k_ends, shape) < 0.9).astype(jnp.float32)
    flags = ends[0], ends[1] & ~ends[0]
    action = jnp.zeros(shape)
    return Transition(obs, action, reward, *flags, after, weight, {})


@pytest.mark.parametrize("action", [Discrete(3), Box((2,))], ids=str)
def test_no_update_of_trpo_leaves_the_trust_region_and_each_is_better_or_none(action):
    """On 60 random batches each for a near and a far limit, whose steps often overshoot."""
    spec = Spec(Box((3,)), action, 4)
    trpo = tiny(ALGORITHMS["trpo"], minibatches=1, epochs=1, damping=1e-3, tries=1)
    batches = batches_of(spec, 60)

    def one(batch, key, limit):
        """An update of a policy far from linear, its one step as long as it can be."""
        algorithm = replace(trpo, kl_limit=limit)
        k_init, k_act, k_update = jax.random.split(key, 3)
        agent = algorithm.init(k_init, spec)
        wide = jax.tree.map(lambda x: 3.0 * x, agent.policy)
        agent = replace(agent, policy=wide)
        act, _, extras = algorithm.act(agent, batch.obs, (), k_act)
        batch = replace(batch, action=act, extras=extras)
        after, metrics = algorithm.update(agent, batch, k_update)
        old, new = (a.model.unroll(batch)[0] for a in (agent, after))
        kl = (batch.weight * new.kl_from(old)).sum() / batch.weight.sum()
        pairs = zip(jax.tree.leaves(agent.policy), jax.tree.leaves(after.policy), strict=True)
        moved = jnp.stack([(a != b).any() for a, b in pairs]).any()
        return kl, moved, metrics["gain"], metrics["kl"], metrics["accepted"]

    run = jax.jit(jax.vmap(jax.vmap(one, (0, 0, None)), (None, None, 0)))
    limits = jnp.array([0.01, 3.0])
    kl, moved, gain, told, accepted = map(
        np.asarray, run(batches, jax.random.split(jax.random.key(5), 60), limits)
    )
    assert (kl <= limits[:, None] * (1 + 1e-4)).all(), kl.max(1)
    np.testing.assert_allclose(kl, told, atol=1e-5, rtol=1e-3)
    assert (moved == (accepted > 0)).all() and (gain[moved] > 0).all() and (gain[~moved] == 0).all()
    assert moved.mean() > 0.3 and not moved.all()
    assert kl[moved & (limits[:, None] < 1)].max() > 0.005  # or it would not be used


def test_the_coefficient_of_the_penalty_doubles_and_halves_as_in_the_paper():
    coef, seen = jnp.float32(1.0), []
    for kl in (0.02, 0.02, 0.001, 0.01):
        coef = doubled_or_halved(coef, jnp.float32(kl), 0.01)
        seen.append(float(coef))
    assert seen == [2.0, 4.0, 2.0, 2.0]
    assert float(doubled_or_halved(jnp.float32(1e6), jnp.float32(1.0), 0.01)) == pytest.approx(1e6)


def test_dual_ascent_rises_above_the_target_falls_below_and_rests_at_it():
    move = partial(dual_ascent, jnp.float32(2.0), target=0.01, lr=0.5)
    assert float(move(kl=jnp.float32(0.01))) == pytest.approx(2.0, rel=1e-6)
    assert float(move(kl=jnp.float32(0.03))) == pytest.approx(2.0 * np.e, rel=1e-5)
    assert float(move(kl=jnp.float32(0.0))) == pytest.approx(2.0 * np.exp(-0.5), rel=1e-5)
    assert np.isfinite(move(kl=jnp.float32(1e9)))


def test_score_and_surrogate_have_one_slope_where_policies_meet_and_none_in_the_advantage():
    """The bandit with logits (0, 0): the first arm's score is (1/2, -1/2)."""
    log_prob = lambda x: Categorical(x).log_prob(jnp.int32(0))  # noqa: E731
    at = jnp.zeros(2)
    score = jax.grad(lambda x: policy_gradient(log_prob(x), 3.0))(at)
    ratio = jax.grad(lambda x: surrogate(log_prob(x) - log_prob(at), 3.0))(at)
    np.testing.assert_allclose(score, [-1.5, 1.5], rtol=1e-6)
    np.testing.assert_allclose(ratio, score, rtol=1e-6)
    for loss in (policy_gradient, surrogate):
        assert float(jax.grad(loss, 1)(jnp.float32(-0.3), jnp.float32(2.0))) == 0.0


@pytest.mark.parametrize("network", [Separate.init, one_trunk], ids=["separate", "one trunk"])
def test_a_network_in_two_is_the_same_network(network):
    spec = Spec(Box((3,)), Discrete(2), 2)
    model = network(jax.random.key(0), spec, (8,), "tanh")
    policy, critic = parted(model)
    whole = joined(policy, critic)
    assert jax.tree.structure(whole) == jax.tree.structure(model)
    sizes = [sum(x.size for x in jax.tree.leaves(part)) for part in (policy, critic, model)]
    assert sizes[0] + sizes[1] == sizes[2] and min(sizes) > 0
    obs = jax.random.normal(jax.random.key(1), (4, 2, 3))
    batch = replace(batches_of(spec, 1), obs=obs, next_obs=obs)

    def value(model):
        return model.unroll(batch)[1].sum()

    def entropy(model):
        return model.unroll(batch)[0].log_prob(jnp.zeros((4, 2), jnp.int32)).sum()

    slopes = [jax.tree.leaves(parted(jax.grad(f)(model))[0]) for f in (value, entropy)]
    by_value = any((x != 0).any() for x in slopes[0])
    assert by_value == (network is one_trunk) and all((x != 0).any() for x in slopes[1][-2:-1])
