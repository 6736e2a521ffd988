"""Learning from logged data: losses against closed forms, scales, filters, and the probes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from twin import ALGORITHMS, copied, first, keys, tiny

from spinward.algorithms import awac, cql
from spinward.cli import main as command
from spinward.core import Box, Discrete, MultiDiscrete, Spec, Transition, config, replace
from spinward.data.steps import read_data
from spinward.envs import probe
from spinward.envs.cartpole import CartPole
from spinward.envs.pendulum import Pendulum
from spinward.errors import SettingsError, Stopped
from spinward.experience.episodes import CUT, best_episodes
from spinward.experience.material import Data, source_for
from spinward.experiments.controllers import balance, data_of, played
from spinward.learning import offline
from spinward.loop import Parts
from spinward.losses import offline as losses
from spinward.networks.cloning import ActionVAE, BoundedMean
from spinward.networks.critic import GaussianActor
from spinward.networks.distributions import Gaussian, SquashedGaussian
from spinward.programs.choose import program
from spinward.rewards.environment import Environment
from spinward.run.run import load, train
from spinward.targets.offline import between_critics, supported

NAMES = ("awac", "bcq", "bcq_discrete", "cql", "cql_discrete", "iql", "td3_bc")
BOXES = ("bcq", "cql", "td3_bc")  # for continuous actions alone
CHOICES = ("bcq_discrete", "cql_discrete")  # for one discrete action alone
PUSH = Spec(Box((3,)), Box((2,), -1.0, 1.0))
BETA, REWARD = jnp.array([0.7, 0.25, 0.05]), jnp.array([1.0, 2.0, 0.5])


def least(loss, start, steps=200):
    """The minimum of a smooth convex loss, by Newton's method."""

    def step(x, _):
        return x - jnp.linalg.solve(jax.hessian(loss)(x), jax.grad(loss)(x)), None

    return jax.jit(lambda x: jax.lax.scan(step, x, length=steps)[0])(start)


@pytest.mark.parametrize(
    ("weight", "q"),
    [
        (0.1, (1.0615, 1.8602, 0.3383)),
        (0.5, (1.2231, 1.4887, -0.0670)),
        (1.0, (1.3262, 1.2506, -0.3195)),
        (5.0, (1.5168, 0.8098, -0.7845)),
    ],
)
def test_conservative_values_of_a_bandit_are_those_of_the_closed_form(weight, q):
    def loss(x):
        gap = losses.conservative(jnp.tile(x, (3, 1)), jnp.arange(3))
        return BETA @ (weight * gap + 0.5 * jnp.square(x - REWARD))

    found = least(loss, jnp.zeros(3))
    np.testing.assert_allclose(found, q, atol=1e-4)
    np.testing.assert_allclose(BETA @ found, 1.225, atol=1e-5)  # whatever the weight
    assert int(found.argmax()) == (1 if weight < 1.0 else 0)  # a large one copies the data


def test_a_sampled_gap_is_the_integral_of_the_exponential_of_the_values():
    def values(action):
        return 2.0 * jnp.sin(3.0 * action) - action**2

    action = np.linspace(-1.0, 1.0, 20_001)
    expected = np.log(np.trapezoid(np.exp(values(action)), action))
    k_uniform, k_normal = jax.random.split(jax.random.key(0))
    uniform = jax.random.uniform(k_uniform, (5000,), minval=-1.0, maxval=1.0)
    policy = SquashedGaussian(jnp.full((5000, 1), 0.2), jnp.zeros((5000, 1)))
    drawn, density = policy.draw(k_normal)
    for x, log_density in (
        (uniform, jnp.full(5000, losses.uniform_log_density(1))),
        (drawn[:, 0], density),
    ):
        found = losses.conservative_sampled(values(x), log_density, 0.0) - np.log(5000)
        assert float(found) == pytest.approx(expected, abs=0.02)
    gap = losses.conservative_sampled(jnp.array([1.0, 2.0]), jnp.array([0.0, -1.0]), 0.5)
    assert float(gap) == pytest.approx(np.log(np.exp(1.0) + np.exp(3.0)) - 0.5, abs=1e-6)
    assert losses.uniform_log_density(2) == pytest.approx(2 * np.log(0.5))


@pytest.mark.parametrize(
    ("level", "p", "found"), [(0.7, 0.2, 0.3684), (0.9, 0.2, 0.6923), (0.99, 0.2, 0.9612),
                              (0.3, 0.5, 0.3), (0.9, 0.5, 0.9)]
)  # fmt: skip
def test_an_expectile_of_a_coin_is_that_of_the_closed_form(level, p, found):
    def loss(m):
        errors = jnp.array([1.0, 0.0]) - m[0]
        return jnp.array([p, 1.0 - p]) @ losses.expectile(errors, level)

    np.testing.assert_allclose(least(loss, jnp.full(1, 0.5)), found, atol=1e-4)


@pytest.mark.parametrize(
    ("level", "found"), [(0.5, 1.225), (0.7, 1.41875), (0.9, 1.7417), (0.99, 1.9696)]
)
def test_an_expectile_goes_from_the_mean_to_the_best(level, found):
    value = least(lambda m: BETA @ losses.expectile(REWARD - m[0], level), jnp.ones(1))
    np.testing.assert_allclose(value, found, atol=1e-4)


def test_weights_of_advantages_are_limited_before_they_overflow():
    advantage = jnp.array([-2.0, 0.0, 1.0, 1.6, 1e6, -1e6])
    found = losses.advantage_weight(advantage, 3.0, 100.0)
    np.testing.assert_allclose(
        found, [np.exp(-6.0), 1.0, np.exp(3.0), 100.0, 100.0, 0.0], rtol=1e-5
    )
    slope = jax.grad(lambda a: losses.advantage_weight(a, 3.0, 100.0).sum())(advantage)
    np.testing.assert_array_equal(slope, np.zeros(6))
    share = losses.effective_share
    assert float(share(jnp.ones(8))) == 1.0 and float(share(jnp.eye(8)[0])) == pytest.approx(1 / 8)
    metrics = offline.weight_metrics(found, 100.0, jnp.ones(6))
    assert float(metrics["clipped_share"]) == pytest.approx(2 / 6)


def test_the_scale_of_values_has_no_gradient_and_cancels_the_scale_of_rewards():
    q = jnp.array([2.0, -6.0])
    assert float(losses.value_scale(q, 2.5)) == pytest.approx(2.5 / 4.0)  # |Q|, not Q
    assert not jax.grad(lambda q: losses.value_scale(q, 2.5))(q).any()
    slopes = [jax.grad(lambda a, k=k: losses.value_scale(k * q * a, 2.5) * (k * q * a).mean())(1.0)
              for k in (1.0, 10.0)]  # fmt: skip
    assert float(slopes[0]) == pytest.approx(float(slopes[1]), rel=1e-5)


def test_divergences_distances_and_critics_are_what_was_worked_out_by_hand():
    found = losses.latent_divergence(jnp.array([1.0, 0.0]), jnp.log(jnp.array([1.0, 2.0])))
    assert float(found) == pytest.approx((0.5 + 0.5 * (4.0 - 2.0 * np.log(2.0) - 1.0)) / 2)
    assert losses.latent_divergence(jnp.zeros(3), jnp.zeros(3)) == 0.0
    np.testing.assert_allclose(losses.distance(jnp.ones((2, 2)), jnp.eye(2)), [0.5, 0.5])
    q = jnp.array([[1.0, 4.0], [3.0, 0.0]])
    np.testing.assert_allclose(between_critics(q, 0.75), [1.5, 1.0])
    np.testing.assert_allclose(between_critics(q, 0.5), q.mean(0))


def test_support_is_all_actions_at_0_and_the_likeliest_at_1():
    q, logits = jnp.array([3.0, 1.0, 2.0]), jnp.log(jnp.array([0.1, 0.6, 0.3]))
    assert int(supported(q, logits, 0.0).argmax()) == 0
    assert int(supported(q, logits, 0.3).argmax()) == 2  # 0.1 / 0.6 is too little, 0.5 is enough
    assert int(supported(q, logits, 0.6).argmax()) == 1
    assert int(supported(q, logits, 1.0).argmax()) == 1


def rows(rewards, lengths, cut=()):
    """Steps of episodes: each with its reward in every step."""
    reward = np.repeat(np.float32(rewards), lengths)
    last = np.cumsum(lengths) - 1
    terminated = np.zeros(len(reward), bool)
    terminated[last] = True
    cuts = np.zeros(len(reward), bool)
    cuts[last[list(cut)]] = True
    obs = np.arange(len(reward), dtype=np.float32)[:, None]
    return Transition(
        obs, reward.astype(int), reward, terminated & ~cuts, cuts, obs, np.ones_like(reward),
        {CUT: cuts}
    )  # fmt: skip


def test_the_best_episodes_are_whole_and_are_at_least_the_share_of_steps():
    steps = rows([1.0, 3.0, 2.0, 0.0], [4, 1, 3, 2])  # returns 4, 3, 6, 0
    kept = [best_episodes(steps, share).obs[:, 0].tolist() for share in (0.3, 0.31, 0.71, 0.9, 1.0)]
    assert kept[0] == [5.0, 6.0, 7.0]
    assert kept[1] == [0.0, 1.0, 2.0, 3.0, 5.0, 6.0, 7.0]
    assert kept[2] == kept[3][:8] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert kept[4] == list(map(float, range(10)))


def test_an_episode_that_the_recording_cut_is_not_among_the_best():
    steps = rows([-1.0, -1.0, -1.0], [5, 5, 1], cut=[2])
    assert best_episodes(steps, 0.1).obs[:, 0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    with pytest.raises(SettingsError, match="no episode of these 2 steps is whole"):
        best_episodes(rows([1.0], [2], cut=[0]), 0.5)


def test_a_file_tells_where_its_recording_was_cut(tmp_path):
    data = data_of(CartPole(), balance, 300, random_share=1.0, envs=3).steps
    names = ("obs", "action", "reward", "terminated", "truncated", "next_obs")
    fields = {name: getattr(data, name) for name in names}
    ends = [99, 199, 299]
    fields["truncated"][ends] = False  # as a recording has it
    fields["terminated"][ends] = [False, False, True]
    np.savez(tmp_path / "a.npz", **fields)
    found = read_data(tmp_path / "a.npz", CartPole().spec)
    assert np.flatnonzero(found.extras[CUT]).tolist() == ends[:2]
    assert found.truncated[ends].tolist() == [True, True, False]


def test_copying_the_best_half_learns_from_them_alone():
    source = source_for(ALGORITHMS["bc"](best_share=0.5).wants(PUSH),
                        data=Data(rows([0.0, 1.0], [6, 5]), PUSH))  # fmt: skip
    assert np.unique(source.ring.data.reward).tolist() == [0.0, 1.0]  # 5 of 11 is not enough
    source = source_for(ALGORITHMS["bc"](best_share=0.4).wants(PUSH),
                        data=Data(rows([0.0, 1.0], [6, 5]), PUSH))  # fmt: skip
    assert np.unique(source.ring.data.reward).tolist() == [1.0]
    with pytest.raises(SettingsError, match=r"best_share=0\.0 must be above 0"):
        ALGORITHMS["bc"](best_share=0.0).check(PUSH)


def test_scales_are_of_the_data_and_returns_get_the_range_that_is_asked_for():
    steps = rows([1.0, 3.0, 2.0, 0.0], [4, 1, 3, 2])
    steps = jax.tree.map(lambda x: jnp.asarray(x)[:, None], replace(steps, extras={}))
    scales = offline.Scales.init(Spec(Box((1,)), Discrete(2)))
    found = offline.fit(scales, steps, 12.0)
    np.testing.assert_allclose(found.obs.moments[""].mean, [4.5], rtol=1e-4)
    np.testing.assert_allclose(found.obs.moments[""].var, [8.25], rtol=1e-3)
    assert float(found.reward) == pytest.approx(2.0)  # returns are 0 to 6
    assert float(offline.fit(scales, steps).reward) == 1.0
    read = offline.read(ALGORITHMS["iql"](), found, steps)
    np.testing.assert_allclose(read.obs.std(), 1.0, rtol=1e-3)
    np.testing.assert_allclose(read.reward, 2.0 * steps.reward)
    plain = offline.read(ALGORITHMS["iql"](normalise_obs=False), found, steps)
    np.testing.assert_array_equal(plain.obs, steps.obs)


def test_a_cosine_falls_to_nothing():
    rates = [float(offline.cosine(2.0, jnp.int32(n), 100)) for n in (0, 50, 100, 150)]
    np.testing.assert_allclose(rates, [2.0, 1.0, 0.0, 0.0], atol=1e-6)
    assert offline.cosine(2.0, jnp.int32(9), 0) == 2.0


def pushes(count=32, seed=0):
    """A batch of steps [count] in the space PUSH."""
    random = np.random.default_rng(seed)
    obs, next_obs = random.normal(size=(2, count, 3)).astype(np.float32)
    action = random.uniform(-1.0, 1.0, (count, 2)).astype(np.float32)
    reward, no = random.normal(size=count).astype(np.float32), np.zeros(count, bool)
    batch = obs, action, reward, random.random(count) < 0.3, no, next_obs, np.ones_like(reward), {}
    return jax.tree.map(jnp.asarray, Transition(*batch))


def test_without_values_td3_bc_copies_and_its_actor_does_not_see_the_scale_of_rewards():
    algorithm, batch = ALGORITHMS["td3_bc"](hidden=(8,)), pushes()
    agent = first(algorithm, PUSH, jax.random.key(0))
    actor, critic = agent.actor.model, agent.critic.model.first()
    larger = jax.tree.map(lambda x: x, critic)
    last = larger.members.layers[-1]
    layers = (*larger.members.layers[:-1], replace(last, w=10 * last.w, b=10 * last.b))
    larger = replace(larger, members=replace(larger.members, layers=layers))

    @partial(jax.jit, static_argnums=())
    def slope(algorithm, critic):
        return jax.grad(algorithm.actor_loss, has_aux=True)(actor, critic, batch)[0]

    def copied(actor):
        return losses.distance(actor(batch.obs), batch.action).mean()

    np.testing.assert_allclose(
        slope(replace(algorithm, alpha=0.0), critic).layers.layers[0].w,
        jax.jit(jax.grad(copied))(actor).layers.layers[0].w, atol=1e-7
    )  # fmt: skip
    one, ten = slope(algorithm, critic), slope(algorithm, larger)
    np.testing.assert_allclose(one.layers.layers[0].w, ten.layers.layers[0].w, atol=1e-6)


def test_rebracs_target_is_lower_by_the_distance_from_the_next_logged_action():
    algorithm = ALGORITHMS["td3_bc"](hidden=(8,), critic_bc=True, critic_weight=2.0,
                                     target_noise=1e-9, gamma=0.9)  # fmt: skip
    assert algorithm.wants(PUSH).window == 2
    agent = first(algorithm, PUSH, jax.random.key(0))
    one, two = pushes(), pushes(seed=1)
    one = replace(one, truncated=jnp.arange(32) % 4 == 0, terminated=jnp.arange(32) % 4 == 1)
    batch = jax.tree.map(lambda *x: jnp.stack(x), one, two)
    actor, critic = agent.target
    found = jax.jit(algorithm.target)(agent.target, batch, jax.random.key(1))
    action = actor(one.next_obs)
    apart = np.square(action - two.action).mean(1) * ~np.asarray(one.done)
    value = critic(one.next_obs, action).min(0) - 2.0 * apart
    expected = one.reward + 0.9 * (1 - one.terminated) * value
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_layer_normalisation_makes_hidden_vectors_of_mean_0_and_variance_1():
    algorithm = ALGORITHMS["td3_bc"](hidden=(16, 8), layer_norm=True)
    batch, agent = pushes(), first(algorithm, PUSH, jax.random.key(0))
    features = jax.jit(lambda c, *x: c.features(*x))(agent.critic.model, batch.obs, batch.action)
    np.testing.assert_allclose(features.mean(-1), np.zeros(32), atol=1e-5)
    np.testing.assert_allclose(features.var(-1), np.ones(32), atol=1e-2)


def test_iql_and_awac_weigh_actions_by_their_advantages():
    batch = pushes()
    policy = BoundedMean.init(jax.random.key(0), PUSH, (8,), "relu")
    nll = -policy(batch.obs).log_prob(batch.action)
    loss, _ = offline.weighted_nll(policy, batch, jnp.arange(32.0))
    np.testing.assert_allclose(loss, (jnp.arange(32.0) * nll).mean(), rtol=1e-5)
    hot = ALGORITHMS["awac"](hidden=(8,), temperature=1e9)
    agent = first(hot, PUSH, jax.random.key(0))
    weight = jax.jit(hot.weight)(agent.critic.model, policy, batch, jax.random.key(1))
    np.testing.assert_allclose(weight, np.ones(32), atol=1e-5)  # it copies


@pytest.mark.parametrize("baseline", ["mean", "max"])
def test_with_a_choice_awacs_baseline_is_the_policys_own_value(baseline):
    spec = Spec(Box((3,)), Discrete(3))
    algorithm = ALGORITHMS["awac"](hidden=(8,), weights="binary", baseline=baseline)
    agent = first(algorithm, spec, jax.random.key(0))
    batch = replace(pushes(), action=jnp.arange(32) % 3)
    critic, policy = agent.critic.model, agent.actor.model
    found = jax.jit(algorithm.weight)(critic, policy, batch, jax.random.key(1))
    q, probs = critic(batch.obs).min(0), jnp.exp(policy(batch.obs).log_probs())
    own = (q * probs).sum(1) if baseline == "mean" else q.max(1)
    above = q[jnp.arange(32), batch.action] > own
    np.testing.assert_array_equal(found, above)
    assert 0 < above.sum() < 32 if baseline == "mean" else above.sum() == 0


def test_a_baseline_is_over_so_many_actions_of_the_policy():
    batch, critic = pushes(4), lambda obs, action: jnp.stack([action.sum(-1), action.sum(-1) + 1.0])
    policy = lambda obs: Gaussian(jnp.full((4, 2), 0.25), jnp.full(2, -5.0))  # noqa: E731
    q, probs = awac.values(critic, policy, batch.obs, jax.random.key(0), 4000)
    np.testing.assert_allclose(awac.average((q, probs)), np.full(4, 0.5), atol=1e-3)


def test_cqls_gap_is_of_uniform_actions_and_of_the_policys_with_their_densities():
    algorithm, batch = ALGORITHMS["cql"](hidden=(8,), samples=4, weight=3.0), pushes()
    agent = first(algorithm, PUSH, jax.random.key(0))
    actor = GaussianActor.init(jax.random.key(3), PUSH, (8,), "relu")
    action, density = jax.jit(algorithm.sample_actions)(actor, batch, jax.random.key(1))
    assert action.shape == (12, 32, 2) and density.shape == (12, 32)
    np.testing.assert_allclose(density[:4], np.full((4, 32), 2 * np.log(0.5)), rtol=1e-6)
    for part, obs in ((slice(4, 8), batch.obs), (slice(8, 12), batch.next_obs)):
        expected = jax.vmap(lambda a, o=obs: actor(o).log_prob(a))(action[part])
        np.testing.assert_allclose(density[part], expected, atol=1e-3)
    critic, target = agent.critic.model, jnp.zeros(32)
    loss, metrics = jax.jit(algorithm.loss)(critic, batch, target, (action, density), 3.0)
    q = critic(batch.obs, batch.action)  # by hand, a critic after another
    every = np.stack([critic(batch.obs, a) for a in action])
    gaps = np.log(np.exp(every - np.asarray(density)[:, None]).sum(0)) - q
    expected = 0.5 * np.square(q).sum(0).mean() + 3.0 * gaps.sum(0).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    np.testing.assert_allclose(metrics["gap"], gaps.mean(), rtol=1e-4)


def test_cqls_learned_factor_rises_where_the_gap_is_above_its_threshold():
    for excess, sign in ((2.0, -1.0), (-2.0, 1.0)):
        slope = jax.grad(lambda x, e=excess: cql.multiplier_loss(x, e)[0])(jnp.float32(0.5))
        assert float(slope) == pytest.approx(sign * 2.0 * np.exp(0.5), rel=1e-5)
    assert float(cql.learned(jnp.float32(50.0))) == cql.MULTIPLIER
    state = Spec(Box((4,)), Box((1,), -1.0, 1.0))
    algorithm = tiny(ALGORITHMS["cql"], lagrange=True, samples=2, threshold=-1e6)
    agent = first(algorithm, state, jax.random.key(0))
    batch = jax.tree.map(lambda x: x[None], replace(pushes(8), obs=jnp.ones((8, 4)),
                         next_obs=jnp.ones((8, 4)), action=jnp.zeros((8, 1))))  # fmt: skip
    after, _ = jax.jit(algorithm.improved)(agent, batch, jax.random.key(1))
    assert float(after.log_multiplier.model) > 0.0


def test_cqls_target_has_no_entropy_unless_asked_and_may_be_of_the_best_action():
    plain = ALGORITHMS["cql"](hidden=(8,), samples=50, gamma=1.0)
    agent = first(plain, PUSH, jax.random.key(0))
    batch = replace(pushes(), terminated=jnp.zeros(32, bool), reward=jnp.zeros(32))
    batch = jax.tree.map(lambda x: x[None], batch)

    def target(**more):
        algorithm = replace(plain, **more)
        return np.asarray(jax.jit(algorithm.target)(agent, batch, jnp.float32(0.5), keys(1)[0]))

    action = agent.actor.model(batch.next_obs[0]).at(jax.random.normal(keys(1)[0], (1, 32, 2)))
    q = agent.critic.model(batch.next_obs, action[0]).min(0)[0]
    np.testing.assert_allclose(target(), q, atol=1e-5)
    np.testing.assert_allclose(target(entropy_backup=True), q - 0.5 * action[1][0], atol=1e-4)
    assert (target(max_backup=True) > target() - 1e-6).mean() > 0.9


def test_bcq_acts_within_what_its_generative_model_proposes_whatever_its_critic_says():
    algorithm = ALGORITHMS["bcq"](hidden=(8,), perturbation=0.0, candidates=20)
    agent = first(algorithm, PUSH, jax.random.key(0))
    vae, obs = agent.vae.model, pushes().obs
    many = jax.vmap(lambda k: vae.sample(obs, k, 0.5))(keys(500))
    low, high = many.min(0) - 1e-2, many.max(0) + 1e-2
    action, _, _ = jax.jit(partial(algorithm.act, explore=False))(agent, obs, (), keys(1)[0])
    assert (low <= action).all() and (action <= high).all()
    assert (high - low).max() < 1.9  # or it would propose everything


def test_a_generative_model_of_actions_learns_which_actions_a_state_has():
    algorithm = ALGORITHMS["bcq"](hidden=(32,), lr=3e-3)
    vae = ActionVAE.init(jax.random.key(0), PUSH, (64,), "relu")
    obs = jax.random.normal(jax.random.key(1), (256, 3))
    batch = replace(pushes(256), obs=obs, action=jnp.tanh(obs[:, :2]))
    learner = offline_learner(vae, algorithm, batch)
    proposed = learner.sample(batch.obs, jax.random.key(2), 0.5)
    assert float(jnp.abs(proposed - batch.action).mean()) < 0.12


def offline_learner(vae, algorithm, batch):
    from spinward.learning.steps import Learner, descend

    def step(learner, key):
        return descend(algorithm.vae_loss, algorithm.optimiser, learner, batch, key)[0], None

    start = Learner.init(vae, algorithm.optimiser)
    return jax.jit(lambda s: jax.lax.scan(step, s, keys(1500))[0])(start).model


def recorded(env, rows=2000):
    """Random steps of a probe."""
    act = (lambda obs: jnp.zeros(obs.shape[0], int)) if isinstance(env.spec.action, Discrete) \
        else (lambda obs: jnp.zeros((obs.shape[0], 1)))  # fmt: skip
    batch = played(jax.random.key(0), env, act, 0.0, 1.0, 20, rows // 20)
    steps = jax.tree.map(lambda x: np.asarray(x).swapaxes(0, 1).reshape(-1, *x.shape[2:]), batch)
    return Data(replace(steps, extras={}), env.spec)


SHARP = {
    "awac": {"temperature": 0.1},
    "bcq": {"perturbation": 0.2},
    "bcq_discrete": {"target_every": 16, "explore_steps": 1000},
    "cql": {"weight": 0.05, "samples": 4, "actor_lr": 5e-3, "alpha": 0.01},
    "cql_discrete": {"weight": 0.1, "target_every": 16, "explore_steps": 1000},
    "iql": {"beta": 20.0, "expectile": 0.9},
    "td3_bc": {"alpha": 30.0, "target_noise": 0.05},
}


@pytest.mark.parametrize("name", NAMES)
def test_the_best_action_is_found_in_random_steps(name):
    env = probe.ProbeBoth() if name in CHOICES else probe.ProbeBothContinuous()
    algorithm = ALGORITHMS[name](
        updates=50, batch=64, lr=5e-3, gamma=0.9, hidden=(32,), **SHARP[name]
    )  # fmt: skip
    source = source_for(algorithm.wants(env.spec), None, recorded(env))
    run = program(Parts(algorithm, source, Environment()))
    agents = copied(run.advance(run.start(keys(2)), 12)[0].agent)
    seen = jnp.array([[-1.0], [1.0]])
    act = jax.jit(jax.vmap(lambda a: algorithm.act(a, seen, (), keys(1)[0], explore=False)[0]))
    action = np.asarray(act(agents))
    if name in CHOICES:
        assert action.tolist() == [[0, 1]] * 2
    else:
        np.testing.assert_allclose(action[..., 0], [[-0.5, 0.5]] * 2, atol=0.15)


@pytest.mark.parametrize("name", ["awac", "iql"])
def test_the_best_choice_is_found_in_random_steps(name):
    env = probe.ProbeBoth()
    algorithm = ALGORITHMS[name](
        updates=50, batch=64, lr=5e-3, gamma=0.9, hidden=(32,), **SHARP[name]
    )  # fmt: skip
    source = source_for(algorithm.wants(env.spec), None, recorded(env))
    run = program(Parts(algorithm, source, Environment()))
    agents = copied(run.advance(run.start(keys(2)), 12)[0].agent)
    seen = jnp.array([[-1.0], [1.0]])
    act = jax.vmap(lambda a: algorithm.act(a, seen, (), keys(1)[0], explore=False)[0])
    assert act(agents).tolist() == [[0, 1]] * 2


@pytest.mark.parametrize("name", ["dqn", "cql_discrete"])
def test_values_of_normalised_features_do_not_see_their_units(name):
    data = recorded(probe.ProbeBoth(), 400)
    other = replace(data.steps, obs=5000 + 1000 * data.steps.obs,
                    next_obs=5000 + 1000 * data.steps.next_obs)  # fmt: skip
    algorithm = ALGORITHMS[name](
        envs=1, updates=50, batch=64, hidden=(16,), target_every=16, normalise_obs=True
    )
    values = []
    for steps, seen in ((data.steps, [[-1.0], [1.0]]), (other, [[4000.0], [6000.0]])):
        source = source_for(algorithm.wants(data.spec), None, Data(steps, data.spec))
        run = program(Parts(algorithm, source, Environment()))
        agent = copied(run.advance(run.start(keys(1)), 4)[0].agent)
        for model in (agent.learner.model, agent.target):  # training leaves the statistics
            moments = model.normaliser.moments[""]
            np.testing.assert_allclose(moments.mean[0], steps.obs.mean(0), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(moments.var[0], steps.obs.var(0), rtol=1e-3)
        model = jax.tree.map(lambda x: x[0], agent.learner.model)
        values.append(model(jnp.array(seen)))
        assert float(jnp.abs(values[-1]).max()) > 0.05
        probed = algorithm.probe(jax.tree.map(lambda x: x[0], agent), steps)
        assert probed.features.shape[1] == 16
    np.testing.assert_allclose(values[0], values[1], atol=2e-3)


def test_normalising_by_data_needs_data(tmp_path, capsys):
    words = ["train", "dqn", "CartPole-v1", "--normalise-obs", "true", "--out", str(tmp_path)]
    assert command.main(words) == 2
    assert "normalise_obs=True is by logged data, and there are none" in capsys.readouterr().err


@config
class TwoArms:
    """A safe arm earns 0.6; a risky one 1 in a half of its steps and 0 in the other."""

    @property
    def spec(self):
        return Spec(Box((1,)), Discrete(2))

    def reset(self, key):
        return jnp.zeros(1), jnp.zeros(1)

    def step(self, state, action, key):
        reward = jnp.where(action == 1, jax.random.bernoulli(key, 0.5), 0.6)
        return state, state, reward.astype(jnp.float32), jnp.bool_(True), jnp.bool_(False)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_iqls_value_is_the_expectile_of_actions_values_and_not_of_luck(level):
    """The values 0.6 and 0.5 are each in half of the data. Critics average over chance, so that the
    expectile is between these two, and far below the 1 of a lucky step."""
    env = TwoArms()
    algorithm = ALGORITHMS["iql"](
        updates=100, batch=128, lr=3e-3, gamma=0.9, tau=0.05, hidden=(16,), expectile=level
    )
    source = source_for(algorithm.wants(env.spec), None, recorded(env, 4000))
    run = program(Parts(algorithm, source, Environment()))
    agent = copied(run.advance(run.start(keys(1)), 12)[0].agent)
    agent, seen = jax.tree.map(lambda x: x[0], agent), jnp.zeros((1, 1))
    low, high = np.sort(np.asarray(agent.target(seen).min(0)[0])).tolist()
    assert (low, high) == (pytest.approx(0.5, abs=0.06), pytest.approx(0.6, abs=0.06))
    found = float(agent.value.model(seen)[0])
    assert found == pytest.approx(low + level * (high - low), abs=0.03)


@pytest.mark.parametrize("name", NAMES)
def test_a_space_that_an_algorithm_cannot_handle_is_refused_in_one_line(name):
    wrong = [Box((2,)), MultiDiscrete((2, 3))]
    wrong += [Discrete(2)] if name in BOXES else [PUSH.action] if name in CHOICES else []
    for action in wrong:
        with pytest.raises(SettingsError, match=r"(?i)needs .*action.*(Box|Discrete)") as error:
            tiny(ALGORITHMS[name]).check(Spec(Box((3,)), action))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"baseline": "median"}, "baseline='median' must be one of mean, max"),
     ({"weights": "square"}, "weights='square' must be one of exponential, binary")],
)  # fmt: skip
def test_awac_refuses_names_that_it_does_not_know(settings, said):
    with pytest.raises(SettingsError, match=said):
        tiny(ALGORITHMS["awac"], **settings).check(PUSH)


@pytest.mark.parametrize("name", NAMES)
def test_an_offline_algorithm_without_data_says_how_to_make_some(name, tmp_path, capsys):
    env = "CartPole-v1" if name in CHOICES else "Pendulum-v1"
    words = ["train", name, env, "--out", str(tmp_path), "--steps", "10"]
    assert command.main(words) == 2
    assert "learns from logged data: name a data set with --data" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def stop_half_way(point):
    from spinward.run.drive import STOP

    return STOP if point.iteration == point.iterations // 2 else None


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    """Runs that kept their steps, in JAX and on a host, by the name of the environment."""
    out = tmp_path_factory.mktemp("explored")
    sac = tiny(ALGORITHMS["sac"], warmup=64)
    for env in ("Pendulum-v1", "gymnasium:Pendulum-v1"):
        train(sac, env, steps=240, out=out, name=env.replace(":", "-"), log_data=True)
    return out


@pytest.mark.parametrize("env", ["Pendulum-v1", "gymnasium:Pendulum-v1"])
def test_a_stopped_run_on_logged_steps_goes_on_to_the_same_bits(env, explored, tmp_path):
    algorithm, data = tiny(ALGORITHMS["td3_bc"]), explored / env.replace(":", "-")
    more = {"steps": 40, "out": tmp_path, "data": data, "logs": 10}
    whole = train(algorithm, env, name="whole", **more)
    with pytest.raises(Stopped):
        train(algorithm, env, name="half", watch=stop_half_way, **more)
    run = load(tmp_path / "half").train()
    for a, b in zip(*(jax.tree.leaves(r.agents().agent) for r in (whole, run)), strict=True):
        np.testing.assert_array_equal(a, b)
    scales = run.agents().agent.scales.obs.moments[""]
    rows = read_data(data, Pendulum().spec).obs
    np.testing.assert_allclose(scales.mean[0], rows.mean(0), rtol=1e-3, atol=1e-4)
    assert run.evaluate(2).returns.shape == (1, 2)


def test_data_and_an_environment_share_each_batch(explored, tmp_path):
    from spinward.run.experiment import DataChoice

    data = DataChoice(str(explored / "Pendulum-v1"), 0.5)
    run = train(tiny(ALGORITHMS["awac"]), "Pendulum-v1", 64, data=data, out=tmp_path)
    assert run.points[-1]["env_steps"] >= 64
    assert run.agents().agent.scales.obs.moments[""].count[0] > 100


@pytest.mark.parametrize("seeds", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_goes_on_with_the_agents_of_another(seeds, explored, tmp_path):
    algorithm, data = tiny(ALGORITHMS["td3_bc"]), explored / "Pendulum-v1"
    more = {"out": tmp_path, "seeds": seeds, "shards": seeds, "data": f"{data}"}
    before = train(algorithm, "Pendulum-v1", 40, name="offline", **more)
    still = replace(algorithm, lr=1e-30)  # so that what it begins with can be seen
    begins = {"start_from": f"{before.path}", "start_parts": ("all",)}
    after = train(still, "Pendulum-v1", 16, name="online", **begins, **more)
    one, other = before.agents().agent, after.agents().agent
    for a, b in zip(*map(jax.tree.leaves, (one.actor.model, other.actor.model)), strict=True):
        np.testing.assert_array_equal(a, b)
    wrong = tiny(ALGORITHMS["td3_bc"], hidden=(9,))
    with pytest.raises(SettingsError, match=r"float32\[.* in this run and float32\["):
        train(wrong, "Pendulum-v1", 16, name="wrong", **begins, **more)
    assert not (tmp_path / "wrong").exists()


def test_one_command_learns_from_data_and_goes_on_in_the_environment(explored, tmp_path, capsys):
    words = ["train", "awac", "Pendulum-v1", "--out", str(tmp_path), "--name", "a", "--hidden", "8"]
    words += ["--steps", "200", "--online-steps", "400", "--warmup", "256", "--capacity", "1000"]
    assert command.main([*words, "--data", str(explored / "Pendulum-v1")]) == 0
    said = capsys.readouterr().err
    assert "at the joint" in said and "lowest after it" in said
    offline_run, online = load(tmp_path / "a"), load(tmp_path / "a-online")
    assert offline_run.made.logged_only and not online.made.logged_only
    assert online.experiment.data.share == 0.5 and online.points[-1]["env_steps"] >= 400
    assert command.main([*words[:6], "b", "--online-steps", "5"]) == 2
    assert "name a file with --data" in capsys.readouterr().err
