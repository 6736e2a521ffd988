"""Learned dynamics, imagined environments, and meta-policy optimisation in them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from twin import ALGORITHMS, tiny

from spinward.algorithms.mb_mpo import Worlds
from spinward.core import Box, Dict, Spec, Transition, replace, struct
from spinward.envs.cartpole import CartPole
from spinward.envs.pendulum import Pendulum
from spinward.errors import SettingsError
from spinward.learning.steps import Learner
from spinward.losses.dynamics import gaussian_error, log_likelihood
from spinward.models import imagined
from spinward.models.dynamics import Dynamics, VectorScale, targets_of
from spinward.models.fitting import Steps, fit, optimiser
from spinward.models.imagined import Imagined
from spinward.networks.heads import PolicyNetwork
from spinward.presets.choice import preset
from spinward.run.run import train
from spinward.targets.baseline import linear_value

MBMPO = ALGORITHMS["mb_mpo"]
SPEC = Spec(Box((2,)), Box((1,), -1.0, 1.0))
A = np.array([[0.9, 0.2], [-0.1, 0.8]])
B = np.array([0.3, -0.4])
SIGMA = np.array([0.05, 0.2])


def linear_steps(rows, seed=0):
    """s' = A s + B a + w with w ~ N(0, SIGMA^2), and the reward s[0]."""
    random = np.random.default_rng(seed)
    obs, action = random.normal(size=(rows, 2)), random.uniform(-1, 1, (rows, 1))
    next_obs = obs @ A.T + action * B + SIGMA * random.normal(size=(rows, 2))
    fields = obs, action, obs[:, 0] + 0.1 * random.normal(size=rows), next_obs
    return Steps(*(jnp.asarray(x, jnp.float32) for x in fields), jnp.int32(rows))


def fitted(steps, members=2, epochs=25, patience=5, hidden=(16,)):
    sizes = steps.obs.shape[1], steps.action.shape[1]
    model = Dynamics.init(jax.random.key(0), members, *sizes, hidden)
    learner = Learner.init(model.members, optimiser(1e-3, 1e-5))

    @partial(jax.jit, static_argnums=2)
    def run(learner, steps, epochs):
        return fit(learner, model, steps, jax.random.key(1), 3e-3, 1e-5, 64, 20, epochs, patience)

    return run(learner, steps, epochs)


@pytest.fixture(scope="module")
def linear():
    return fitted(linear_steps(2000))


def test_a_linear_gaussian_world_is_learned_with_its_noise(linear):
    _, model, metrics = linear
    test = linear_steps(1000, seed=7)
    x = model.inputs(jnp.concatenate([test.obs, test.action], 1))
    for i in range(2):
        mean, log_var = model.member(i).members(x)
        found = np.asarray(model.targets.undone(mean)[:, 1:] + test.obs)
        error = np.square(found - (np.asarray(test.obs) @ A.T + np.asarray(test.action) * B))
        assert np.sqrt(error.mean(0)).max() < 0.06
        std = np.asarray(jnp.exp(0.5 * log_var) * model.targets.std)[:, 1:].mean(0)
        np.testing.assert_allclose(std, SIGMA, rtol=0.2)
    noise = np.array([0.1, *SIGMA]) / np.asarray(model.targets.std)
    best = -0.5 * (1 + np.log(2 * np.pi) + 2 * np.log(noise)).mean()
    assert metrics["model_likelihood"] == pytest.approx(best, abs=0.15)
    assert metrics["model_error"] == pytest.approx(np.square(noise).mean(), rel=0.3)


def test_what_is_drawn_has_the_spread_of_the_world(linear):
    _, model, _ = linear
    obs, action = jnp.zeros((2000, 2)), jnp.zeros((2000, 1))
    drawn, reward = jax.jit(model.member(0).__call__)(obs, action, jax.random.key(3))
    np.testing.assert_allclose(drawn.std(0), SIGMA, rtol=0.45)
    assert float(jnp.abs(reward.mean())) < 0.05
    same, _ = replace(model.member(0), sampled=False)(obs, action, jax.random.key(3))
    assert float(same.std(0).max()) < 1e-5


def test_a_fit_stops_early_keeps_its_best_and_never_learns_what_is_held_out():
    steps = linear_steps(60)
    _, _, told = fitted(steps, epochs=60, patience=2)
    assert told["model_epochs"] < 60
    wrong = jnp.arange(60) % 5 == 0
    spoilt = replace(steps, next_obs=jnp.where(wrong[:, None], 50.0, steps.next_obs))
    scaled = fitted(spoilt, epochs=10)[1]
    x = scaled.inputs(jnp.concatenate([steps.obs, steps.action], 1))
    says = scaled.targets.undone(scaled.member(0).members(x)[0])[:, 1:] + steps.obs
    assert float(jnp.abs(says).max()) < 40.0  # it has never seen a 50


def test_members_differ_where_there_is_no_data():
    random = np.random.default_rng(0)
    near = np.where(random.random(400) < 0.5, -1.0, 1.0)[:, None] + 0.1 * random.normal(
        size=(400, 1)
    )
    fields = near, np.zeros((400, 1)), np.zeros(400), near + np.sin(3 * near)
    steps = Steps(*(jnp.asarray(x, jnp.float32) for x in fields), jnp.int32(400))
    _, model, _ = fitted(steps, members=5, epochs=15)

    def spread(at):
        x = model.inputs(jnp.array([[at, 0.0]]))
        return float(jnp.stack([model.member(i).members(x)[0][0, 1] for i in range(5)]).std())

    assert spread(5.0) > 5 * max(spread(-1.0), spread(1.0))


def test_losses_are_those_of_a_gaussian():
    mean, log_var, y = jnp.array([1.0, 2.0]), jnp.array([0.0, np.log(4.0)]), jnp.array([2.0, 2.0])
    assert float(gaussian_error(mean, log_var, y)) == pytest.approx((1 + np.log(4.0)) / 2)
    expected = -0.5 * (np.log(2 * np.pi) + np.array([1.0, np.log(4.0)])).mean()
    assert float(log_likelihood(mean, log_var, y)) == pytest.approx(expected)


def test_a_scale_is_undone_and_heeds_weights():
    rows = jnp.array([[1.0, 5.0], [3.0, 5.0], [99.0, 99.0]])
    scale = VectorScale.of(rows, jnp.array([1.0, 1.0, 0.0]))
    assert scale.mean.tolist() == [2.0, 5.0] and scale.std.tolist() == [1.0, 1.0]
    np.testing.assert_allclose(scale.undone(scale(rows)), rows, rtol=1e-6)
    assert targets_of(rows, rows[:, 0], rows + 1).tolist()[0] == [1.0, 1.0, 1.0]


def test_a_ring_keeps_what_happened_and_overwrites_the_oldest():
    def batch(first, weight):
        x = first + jnp.arange(4.0).reshape(2, 2)
        obs = jnp.stack([x, x], -1)
        no = jnp.zeros((2, 2), bool)
        return Transition(obs, 2 * x[..., None], x, no, no, obs + 1, jnp.array(weight), {})

    steps = Steps.init(SPEC, 5)
    steps = steps.add(batch(0.0, [[1.0, 0.0], [1.0, 1.0]]), True)
    assert int(steps.size) == 3 and steps.reward.tolist() == [0, 2, 3, 0, 0]
    steps = steps.add(batch(10.0, [[1.0, 1.0], [1.0, 1.0]]), True)
    assert int(steps.size) == 5 and steps.reward.tolist() == [12, 13, 3, 10, 11]
    assert steps.action[0, 0] == 1.0 and steps.next_obs[4].tolist() == [12, 12]
    seen = jax.vmap(steps.seen)(jax.random.split(jax.random.key(0), 60))
    assert set(np.unique(seen)) == {12, 13, 3, 10, 11}


@struct
class Exact:
    """Pendulum as a model: what it says is what will be."""

    def __call__(self, obs, action, key):
        angle, speed = jnp.arctan2(obs[1], obs[0]), obs[2]
        env = Pendulum()
        state, _ = env.reset(key)
        state = replace(state, physics=jnp.stack([angle, speed]))
        _, obs, reward, _, _ = env.step(state, 2.0 * action, key)
        return obs, reward


@struct
class Starts:
    obs: jax.Array

    def seen(self, key):
        return self.obs


def test_an_exact_model_imagines_the_environment_itself():
    env = Pendulum()
    state, obs = env.reset(jax.random.key(0))
    dream = Imagined(Exact(), Starts(obs), env.spec, limit=30)
    assert dream.spec.action == Box((1,), -1.0, 1.0)
    asleep, seen = dream.reset(jax.random.key(1))
    awake, dreaming = jax.jit(env.step), jax.jit(dream.step)
    for t in range(30):
        action = jnp.array([np.sin(t / 3)])
        state, obs, reward, *_ = awake(state, 2.0 * action, jax.random.key(0))
        asleep, seen, told, terminated, truncated = dreaming(asleep, action, jax.random.key(0))
        np.testing.assert_allclose(seen, obs, atol=2e-3)
        np.testing.assert_allclose(told, reward, atol=2e-2)
        assert not terminated and truncated == (t == 29)


def test_endings_are_those_of_the_simulators():
    hopper, walker, cart = imagined.hopper, imagined.walker2d, imagined.inverted_pendulum
    stands = np.zeros(11)
    stands[0] = 1.2
    cases = [stands.copy() for _ in range(4)]
    cases[1][0], cases[2][1], cases[3][5] = 0.7, -0.2, 100.0
    assert hopper(jnp.array(cases)).tolist() == [False, True, True, True]
    assert walker(jnp.array([[1.2, 0.0], [0.8, 0], [2.0, 0], [1.2, -1]])).tolist() == [
        False,
        True,
        True,
        True,
    ]
    assert cart(jnp.array([[0.0, 0.2], [0.0, -0.21]])).tolist() == [False, True]
    assert preset(MBMPO, "Hopper-v4", 10)[0]["terminal"] is hopper
    pendulum, pole = (preset(MBMPO, name, 10)[0] for name in ("Pendulum-v1", "InvertedPendulum-v4"))
    assert "terminal" not in pendulum and pole["terminal"] is cart
    assert pole["horizon"] > pendulum["horizon"]  # one table's name is the other's end


@pytest.mark.parametrize("name", ["Hopper-v4", "InvertedPendulum-v4"])
def test_endings_agree_with_mujoco_on_random_steps(name):
    gymnasium = pytest.importorskip("gymnasium")
    pytest.importorskip("mujoco")
    env = gymnasium.make(name).unwrapped
    ended = dict(preset(MBMPO, name, 10)[0])["terminal"]
    env.action_space.seed(0)
    env.reset(seed=0)
    seen, over = [], []
    for _ in range(300):
        obs, _, terminated, *_ = env.step(env.action_space.sample())
        seen.append(obs)
        over.append(terminated)
        if terminated:
            env.reset()
    assert 0 < np.sum(over) < 300
    np.testing.assert_array_equal(ended(jnp.asarray(np.array(seen))), over)


def test_the_linear_value_is_a_least_squares_fit():
    random = np.random.default_rng(0)
    obs = jnp.asarray(random.normal(size=(30, 8, 2)), jnp.float32)
    returns = 2.0 * obs[..., 0] - obs[..., 1] ** 2 + jnp.linspace(0, 1, 30)[:, None] ** 3
    found = linear_value(obs, returns)
    assert float(jnp.abs(found - returns).mean()) < 0.1
    assert float(jnp.abs(linear_value(obs, 0 * returns)).max()) == 0.0


TINY = tiny(MBMPO, models=2, imagined=6, horizon=5, inner_lr=0.5, model_hidden=(8,), hidden=(3,))


@pytest.fixture(scope="module")
def world(linear):
    policy = PolicyNetwork.init(jax.random.key(5), SPEC, (3,), "tanh")
    noise = np.random.default_rng(0)
    policy = jax.tree.map(lambda x: x + 0.5 * noise.normal(size=x.shape).astype(np.float32), policy)
    return policy, Worlds(linear[1], linear_steps(50), SPEC)


@pytest.fixture(scope="module")
def held(world):
    """Parameters, and imagined episodes of the policy that they are."""
    policy, worlds = world
    at, shaped = ravel_pytree(policy)
    tiled = jax.vmap(shaped)(jnp.repeat(at[None], 2, 0))
    batch, advantage = jax.jit(lambda tiled, key: TINY.imagine(tiled, worlds, key))(
        tiled, jax.random.key(2)
    )
    assert batch.reward.shape == (2, 5, 6) and batch.truncated[:, -1].all()
    return at, shaped, batch, advantage


def test_a_policy_adapts_to_each_model_by_one_step_of_the_policy_gradient(held):
    at, shaped, batch, advantage = held
    moved = []
    for k in range(2):
        mine = jax.tree.map(lambda x, k=k: x[k], (batch, advantage))
        moved.append(TINY.adapted(at, shaped, *mine))

        def objective(x, mine=mine):
            policy, advantage = shaped(x)(mine[0].obs), mine[1]
            return (policy.log_prob(mine[0].action) * advantage).mean()

        np.testing.assert_allclose(moved[k], at + 0.5 * jax.grad(objective)(at), atol=1e-5)
    assert float(jnp.abs(moved[0] - moved[1]).max()) > 1e-4


def test_the_gradient_goes_through_the_inner_step(held):
    with jax.enable_x64(True):
        at, batch, advantage = jax.tree.map(
            lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, (held[0], *held[2:])
        )
        _, shaped = ravel_pytree(jax.tree.map(lambda x: x.astype(jnp.float64), held[1](held[0])))
        mine = jax.tree.map(lambda x: x[0], (batch, advantage))
        weights = np.random.default_rng(1).normal(size=len(at))
        value = jax.jit(lambda x: TINY.adapted(x, shaped, *mine) @ weights)
        gradient = jax.jit(jax.grad(value))(at)
        way = np.random.default_rng(2).normal(size=len(at))
        found = (value(at + 1e-5 * way) - value(at - 1e-5 * way)) / 2e-5
        np.testing.assert_allclose(gradient @ way, found, rtol=1e-6)
        assert abs(float(gradient @ way) - float(weights @ way)) > 1e-3  # not the identity's


def test_an_outer_step_gains_and_stays_within_its_limit(world):
    policy, worlds = world
    (after, acting), told = jax.jit(partial(TINY.improved, worlds=worlds))(
        policy, key=jax.random.key(4)
    )
    assert told["accepted"] == 1 and told["gain"] > 0
    assert 0 < told["kl"] <= TINY.kl_limit * 1.0001
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (policy, after)), strict=True))
    theirs = ravel_pytree(jax.tree.map(lambda x: x[0] - x[1], acting))[0]
    assert float(jnp.abs(theirs).max()) > 1e-4


def test_policies_begin_with_the_deviation_they_are_given():
    plain = TINY.init(jax.random.key(0), SPEC)
    narrow = replace(TINY, log_std=-0.5).init(jax.random.key(0), SPEC)
    assert plain.policy.actor.log_std == 0.0 and narrow.policy.actor.log_std == -0.5
    assert narrow.adapted.actor.log_std.tolist() == [[-0.5]] * 2
    layers = plain.policy.actor.layers, narrow.policy.actor.layers
    jax.tree.map(np.testing.assert_array_equal, *layers)


def test_each_environment_is_acted_in_by_the_policy_of_its_model():
    agent = TINY.init(jax.random.key(0), SPEC)
    shifted = jax.tree.map(lambda x: x.at[1].add(5.0), agent.adapted)
    agent = replace(agent, adapted=replace(shifted, actor=replace(
        shifted.actor, log_std=jnp.full((2, 1), -9.0))))  # fmt: skip
    obs = jnp.ones((5, 2))
    action, _, _ = TINY.act(agent, obs, (), jax.random.key(1))
    assert (np.abs(np.asarray(action[:, 0])) > 1.0).tolist() == [False, True, False, True, False]
    greedy, _, _ = TINY.act(agent, obs, (), jax.random.key(1), explore=False)
    np.testing.assert_allclose(greedy, agent.policy(obs).mean)


@pytest.mark.parametrize(
    ("settings", "spec", "said"),
    [
        ({}, CartPole().spec, "needs continuous actions"),
        ({}, Spec(Box((8, 8, 3)), SPEC.action), "models vectors"),
        ({}, Spec(Dict((("a", Box((2,))),)), SPEC.action), "models vectors"),
        ({"capacity": 8}, SPEC, "holds less than envs"),
        ({"models": 0}, SPEC, "models=0"),
    ],
)
def test_what_cannot_work_is_refused(settings, spec, said):
    with pytest.raises(SettingsError, match=said):
        tiny(MBMPO, **settings).check(spec)


def test_discrete_environments_are_refused_before_training(tmp_path):
    with pytest.raises(SettingsError, match="needs continuous actions, not Discrete"):
        train(tiny(MBMPO), "CartPole-v1", out=tmp_path, name="none")
    assert not (tmp_path / "none").exists()
