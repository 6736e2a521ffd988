"""SAC for choices and numbers at once: its sums over choices, its target and its losses against
closed forms, and what it learns."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from twin import GearAndPush, copied, keys

from spinward.algorithms.sac_hybrid import (
    Agent,
    SACHybrid,
    Temperatures,
    soft,
    temperature_loss,
)
from spinward.core import Box, Discrete, Hybrid, Spec, Transition, config, struct
from spinward.errors import SettingsError
from spinward.experience.material import source_for
from spinward.learning.steps import Learner
from spinward.loop import Parts, system
from spinward.networks.distributions import MultiCategorical, SquashedGaussian
from spinward.networks.hybrid import HybridActor, SquashedJoint, combination
from spinward.rewards.environment import Environment

KEY = jax.random.PRNGKey(4)
SIZES = (3, 2)
SPACE = Hybrid(SIZES, Box((1,), -1.0, 1.0))
ALPHA = Temperatures(jnp.float32(0.3), jnp.float32(0.7))
A, B = np.array([1.0, -0.5, 0.2, 0.4, 0.0, 2.0]), np.array([0.5, 1.0, -1.0, 0.0, 0.3, -0.2])


@struct
class Actor:
    """The same policy in every state."""

    logits: jax.Array
    mean: jax.Array
    log_std: jax.Array
    action = SPACE

    def __call__(self, obs):
        wide = obs.shape[:-1]
        parts = (
            jnp.broadcast_to(x, (*wide, x.size)) for x in (self.logits, self.mean, self.log_std)
        )
        logits, mean, log_std = parts
        return SquashedJoint(MultiCategorical(logits, SIZES), SquashedGaussian(mean, log_std, 1))


def critic(obs, numbers):
    """Two critics, of which the second is always the smaller by 0.1."""
    q = A + B * numbers
    return jnp.stack([q + 0.1, q])


ACTOR = Actor(
    jnp.array([0.3, -1.0, 0.8, 0.5, -0.2]), jnp.array([0.4]), jnp.array([-0.6])
)  # fmt: skip


def by_hand(key, wide):
    """Numbers, their log-densities and the soft values of `ACTOR`, by plain NumPy."""
    logits = np.asarray(ACTOR.logits, np.float64)
    one, other = (
        np.exp(logits[:3]) / np.exp(logits[:3]).sum(),
        np.exp(logits[3:]) / np.exp(logits[3:]).sum(),
    )
    p = np.array([a * b for a, b in itertools.product(one, other)])
    noise = np.asarray(jax.random.normal(key, (*wide, 1)), np.float64)
    std = np.exp(-0.6)
    before = 0.4 + std * noise
    x = np.tanh(before)
    density = np.exp(-0.5 * noise**2) / (std * np.sqrt(2 * np.pi)) / (1 - x**2)
    log_prob = np.log(density)[..., 0]
    value = (p * (A + B * x - 0.3 * np.log(p))).sum(-1) - 0.7 * log_prob
    return p, x, log_prob, value


def test_all_combinations_are_counted_in_one_order():
    policy = ACTOR(jnp.zeros((1, 1)))
    p, *_ = by_hand(KEY, (1,))
    np.testing.assert_allclose(np.exp(policy.log_probs()[0]), p, rtol=1e-5)
    pairs = jnp.array(list(itertools.product(range(3), range(2))))
    assert combination(pairs, SIZES).tolist() == list(range(6))
    one = policy.choices.log_prob(pairs[:, None])[:, 0]
    np.testing.assert_allclose(policy.log_probs()[0], one, rtol=1e-5)
    assert float(policy.choices.entropy()[0]) == pytest.approx(-(p * np.log(p)).sum(), rel=1e-5)
    assert float(policy.largest_entropy()[0]) == pytest.approx(np.log(6), rel=1e-6)


def test_forbidden_choices_have_no_probability_and_no_part_in_the_largest_entropy():
    spec = Spec(Box((2,)), SPACE)
    actor = HybridActor.init(KEY, spec, (4,), "relu")
    logits = jnp.array([[0.0, -1e9, 0.0, -1e9, 0.0]])
    policy = SquashedJoint(MultiCategorical(logits, SIZES), actor(jnp.zeros((1, 2))).numbers)
    np.testing.assert_allclose(np.exp(policy.log_probs()[0]), [0, 0.5, 0, 0, 0, 0.5], atol=1e-6)
    assert float(policy.largest_entropy()[0]) == pytest.approx(np.log(2), rel=1e-6)
    value, _ = soft(policy, critic, jnp.zeros((1, 2)), ALPHA, KEY)
    assert np.isfinite(value).all()


def test_the_soft_value_and_the_target_are_those_of_plain_sums():
    obs = jnp.zeros((4, 1))
    *_, log_prob, value = by_hand(KEY, (4,))
    found, density = soft(ACTOR(obs), critic, obs, ALPHA, KEY)
    np.testing.assert_allclose(found, value, rtol=1e-4)
    np.testing.assert_allclose(density, log_prob, rtol=1e-4, atol=1e-5)
    algorithm = SACHybrid(gamma=0.9)
    agent = Agent(Learner(ACTOR, ()), None, critic, None)
    flags = jnp.array([[0, 1, 0, 0]], bool), jnp.array([[0, 0, 1, 0]], bool)
    batch = Transition(
        obs[None],
        jnp.zeros((1, 4, 3)),
        jnp.arange(4.0)[None],
        *flags,
        obs[None],
        jnp.ones((1, 4)),
        {},
    )
    target, bonus = algorithm.target(agent, batch, ALPHA, KEY)
    future = 0.9 * np.array([1, 0, 1, 1])  # a truncated step keeps its future
    np.testing.assert_allclose(target, np.arange(4.0) + future * value, rtol=1e-4)
    p, *_ = by_hand(KEY, (4,))
    entropies = -0.3 * (p * np.log(p)).sum() - 0.7 * log_prob
    np.testing.assert_allclose(bonus, future * entropies, rtol=1e-4)


def test_the_gradient_of_the_policy_loss_is_the_closed_form():
    """Of logits: p (f - sum p f), f = Q - alpha log p, summed over the other choice; of the mean:
    sum p b (1 - x^2) - 2 alpha x."""
    algorithm, obs = SACHybrid(), jnp.zeros((4, 1))
    weight = jnp.array([1.0, 1.0, 0.0, 1.0])
    none = jnp.zeros(4, bool)
    batch = Transition(obs, jnp.zeros((4, 3)), jnp.zeros(4), none, none, obs, weight, {})
    p, x, *_ = by_hand(KEY, (4,))
    f = A + B * x - 0.3 * np.log(p)
    each = p * (f - (p * f).sum(-1, keepdims=True))
    joint = each.reshape(4, 3, 2)
    logits = np.concatenate([joint.sum(2), joint.sum(1)], 1)
    mean = (p * B).sum() * (1 - x**2) - 2 * 0.7 * x
    share = np.asarray(weight / weight.sum())[:, None]
    (_, metrics), grads = jax.value_and_grad(algorithm.actor_loss, has_aux=True)(
        ACTOR, critic, batch, ALPHA, KEY
    )
    np.testing.assert_allclose(grads.logits, -(share * logits).sum(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(grads.mean, -(share * mean).sum(0), rtol=1e-4)
    entropy = -(p * np.log(p)).sum()
    assert float(metrics["choices_gap"]) == pytest.approx(entropy - 0.3 * np.log(6), rel=1e-4)
    assert float(metrics["numbers_gap"]) == pytest.approx(float(metrics["entropy"]) + 1.0, rel=1e-5)


def test_each_temperature_follows_its_own_entropy():
    log_alpha = Temperatures(jnp.float32(0.0), jnp.float32(0.0))
    grads = jax.grad(temperature_loss, has_aux=True)(
        log_alpha, jnp.float32(0.5), jnp.float32(-2.0)
    )[0]
    assert (float(grads.choices), float(grads.numbers)) == (0.5, -2.0)  # descent: down, and up


def test_the_critics_loss_is_of_the_combination_that_was_taken():
    action = jnp.array([[2.0, 0.0, 0.5], [0.0, 1.0, -1.0]])
    obs, none = jnp.zeros((2, 1)), jnp.zeros(2, bool)
    batch = Transition(obs, action, jnp.zeros(2), none, none, obs, jnp.ones(2), {})
    target = jnp.array([1.0, -1.0])
    q = np.array([0.0 + 0.3 * 0.5, -0.5 - 1.0])  # combinations 4 and 1

    class Critic:
        def __call__(self, obs, numbers):
            return critic(obs, numbers)

    loss, _ = SACHybrid().loss(Critic(), batch, target, target, SPACE)
    wanted = 0.5 * ((q - target) ** 2 + (q + 0.1 - target) ** 2)
    assert float(loss) == pytest.approx(float(wanted.mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (Discrete(2), "needs choices and numbers with finite bounds"),
        (Box((1,), -1.0, 1.0), "needs choices and numbers with finite bounds"),
        (Hybrid((2,), Box((1,))), "needs choices and numbers with finite bounds"),
        (Hybrid((8, 8, 32), Box((1,), -1.0, 1.0)), "at most 1024; here are 2,048: ppo takes them"),
    ],
)
def test_other_actions_are_refused(action, said):
    with pytest.raises(SettingsError, match=said):
        SACHybrid().check(Spec(Box((2,)), action))


@config
class Steered:
    """Two steps: the gear that the observation asks for is worth 1, and so is a push of half of it.
    The sides take turns."""

    spec = Spec(Box((1,), -1.0, 1.0), Hybrid((3,), Box((1,), -2.0, 2.0)))

    def reset(self, key):
        side = jax.random.rademacher(key, (1,), jnp.float32)
        return (side, jnp.int32(0)), side

    def step(self, state, action, key):
        side, time = state
        reward = (action[0] == 1.0 + side[0]) + 1.0 - jnp.square(action[1] - 0.5 * side[0])
        return (-side, time + 1), -side, jnp.float32(reward), time == 1, jnp.bool_(False)


def learned(env, iterations, seeds, **settings):
    algorithm = SACHybrid(
        **{"envs": 8, "warmup": 800, "capacity": 8000, "batch": 64, "hidden": (32,), "lr": 3e-3,
           "tau": 0.02, "gamma": 0.9, "alpha": 0.2} | settings
    )  # fmt: skip
    source = source_for(algorithm.wants(env.spec), env)
    closed = system(Parts(algorithm, source, Environment()))

    def one(key):
        state = closed.init(key)
        return jax.lax.scan(lambda s, _: closed.step(s), state, length=iterations)[0].agent

    return algorithm, copied(jax.jit(jax.vmap(one))(keys(seeds, 1000)))


def test_it_learns_a_choice_and_a_number_together():
    _, agents = learned(GearAndPush(), 400, 2)
    for seed in range(2):
        actor = jax.tree.map(lambda x, seed=seed: x[seed], agents.actor.model)
        gear, push = actor(jnp.ones((1, 1))).mode()[0]
        assert gear == 2 and 2.0 * push == pytest.approx(0.5, abs=0.15)  # -1 to 1 is -2 to 2


@pytest.mark.slow
def test_it_learns_what_depends_on_the_state_and_the_values_of_a_discounted_future():
    _, agents = learned(Steered(), 3000, 4)
    best = 2.0 / (1.0 - 0.9 / 2.0)  # one of two steps is the last, and does not look so
    for seed in range(4):
        actor, values = (
            jax.tree.map(lambda x, seed=seed: x[seed], model)
            for model in (agents.actor.model, agents.critic.model)
        )
        for side in (-1.0, 1.0):
            obs = jnp.full((1, 1), side)
            gear, push = actor(obs).mode()[0]
            assert gear == 1 + side and 2.0 * push == pytest.approx(0.5 * side, abs=0.25)
            q = values(obs, jnp.array([[push]])).min(0)[0]
            assert int(q.argmax()) == 1 + side and float(q.max()) == pytest.approx(best, abs=0.3)
