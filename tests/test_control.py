"""Actor-critics for control: their parts against closed forms, their updates against literals."""

import json
from functools import partial
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from test_contracts import DISCRETE, SEEN, Suite
from twin import ALGORITHMS, copied, first, keys, parts, tiny

from spinward.core import Box, Discrete, Spec, Transition, config, replace, struct
from spinward.errors import SettingsError
from spinward.experience.material import source_for
from spinward.loop import Parts, system
from spinward.losses.critics import squares, temperature
from spinward.networks.critic import ChoiceCritics, Critics, DeterministicActor, GaussianActor
from spinward.networks.distributions import Categorical, SquashedGaussian
from spinward.networks.layers import MLP, Linear
from spinward.networks.noise import Noise
from spinward.programs.choose import program
from spinward.rewards.environment import Environment
from spinward.targets.soft import smoothed, soft_expectation, soft_value

STORED = json.loads((Path(__file__).parent / "literals" / "sb3_control.json").read_text())
CONTROL = ("ddpg", "td3", "sac")
SPACE = Spec(Box((3,)), Box((2,), -1.0, 1.0))


def test_a_squashed_normal_is_what_was_worked_out_by_hand():
    policy = SquashedGaussian(jnp.array([0.3]), jnp.log(jnp.array([0.5])))
    action, log_prob = policy.at(jnp.array([1.0]))  # 0.8 before tanh
    np.testing.assert_allclose(action, [0.664037], atol=1e-6)
    np.testing.assert_allclose([log_prob, policy.log_prob(action)], [-0.144284] * 2, atol=2e-6)
    np.testing.assert_allclose(policy.mode(), np.tanh([0.3]), atol=1e-6)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.8, 0.3), (-1.5, 0.6)])
def test_a_squashed_normals_density_is_one_in_all_and_has_the_moments_of_its_samples(mean, std):
    policy = SquashedGaussian(jnp.array([mean]), jnp.log(jnp.array([std])))
    action = np.linspace(-1.0, 1.0, 200_001)[1:-1]
    density = np.exp(jax.jit(jax.vmap(policy.log_prob))(np.float32(action)[:, None]))
    assert np.trapezoid(density, action) == pytest.approx(1.0, abs=2e-3)
    drawn, log_prob = jax.jit(jax.vmap(policy.draw))(jax.random.split(jax.random.key(0), 50_000))
    expected = np.trapezoid(density * action, action)
    assert float(drawn.mean()) == pytest.approx(expected, abs=0.01)
    entropy = -np.trapezoid(density * np.log(np.maximum(density, 1e-30)), action)
    assert -float(log_prob.mean()) == pytest.approx(entropy, abs=0.03)


def test_a_squashed_normal_sums_over_the_numbers_of_an_action_and_stays_finite_far_out():
    mean = jnp.array([[[0.1, 0.2], [0.3, 0.4]], [[30.0, -30.0], [9.0, -9.0]]])
    policy = SquashedGaussian(mean, jnp.zeros((2, 2, 2)), axes=2)
    action, log_prob = policy.draw(jax.random.key(1))
    assert log_prob.shape == (2,) and (jnp.abs(action) <= 1.0).all()
    alone = SquashedGaussian(mean[0].reshape(4), jnp.zeros(4)).log_prob(action[0].reshape(4))
    np.testing.assert_allclose(log_prob[0], alone, rtol=1e-4)
    slope = jax.grad(lambda m: replace(policy, mean=m).draw(jax.random.key(1))[1].sum())
    slope = jax.jit(slope)(mean)
    assert np.isfinite(log_prob).all() and np.isfinite(slope).all()
    assert np.isfinite(policy.log_prob(jnp.ones((2, 2, 2)))).all()


def test_soft_values_are_what_was_worked_out_by_hand():
    q = jnp.array([[1.0, 5.0], [2.0, 3.0]])
    np.testing.assert_allclose(soft_value(q, jnp.array([-1.0, 2.0]), 0.5), [1.5, 2.0])
    probs = jnp.array([0.25, 0.75])
    found = soft_expectation(q, jnp.log(probs), 0.5)
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    np.testing.assert_allclose(found, 0.25 * 1.0 + 0.75 * 3.0 + 0.5 * entropy, rtol=1e-6)
    assert float(soft_expectation(q, jnp.array([0.0, -1e9]), 0.5)) == 1.0  # one is forbidden


def test_the_best_soft_policy_of_a_bandit_has_the_entropy_and_the_value_of_its_closed_form():
    q, alpha = jnp.array([[1.0, 0.0], [1.0, 0.0]]), 0.720405
    log_probs = jax.nn.log_softmax(q[0] / alpha)
    np.testing.assert_allclose(jnp.exp(log_probs[0]), 0.800290, atol=1e-5)
    np.testing.assert_allclose(-(jnp.exp(log_probs) * log_probs).sum(), 0.5, atol=1e-5)
    np.testing.assert_allclose(soft_expectation(q, log_probs, alpha), 1.160493, atol=1e-5)
    slope = jax.grad(lambda x: soft_expectation(q, jax.nn.log_softmax(x), alpha))(q[0] / alpha)
    np.testing.assert_allclose(slope, [0.0, 0.0], atol=1e-6)  # there is none better


@pytest.mark.parametrize(("entropy", "slope"), [(0.7, 1.7), (-1.0, 0.0), (-3.0, -2.0)])
def test_a_temperature_rises_where_there_is_less_entropy_than_wanted(entropy, slope):
    for log_alpha in (-2.0, 0.0, 1.5):
        found = jax.grad(temperature)(log_alpha, entropy, -1.0)
        assert float(found) == pytest.approx(slope)  # the descent goes against it


def test_squares_are_halved_and_summed_over_critics():
    q, target = jnp.array([[1.0, 2.0], [3.0, 0.0]]), jnp.array([2.0, 2.0])
    np.testing.assert_allclose(squares(q, target), [0.5 + 0.5, 0.0 + 2.0])


def test_smoothed_actions_stay_within_the_limit_and_the_bounds():
    action = jnp.tile(jnp.array([-1.0, -0.95, 0.0, 0.9]), (4000, 1))
    found = smoothed(action, jax.random.key(0), 0.2, 0.3)
    assert float(found.min()) == -1.0 and float(found.max()) == 1.0
    moved = found - action
    assert float(jnp.abs(moved).max()) == pytest.approx(0.3, abs=1e-6)
    cut = stats.truncnorm(-1.5, 1.5, scale=0.2)
    mass = 2 * stats.norm.cdf(-1.5)  # of the noise that the limit cuts
    variance = cut.var() * (1 - mass) + mass * 0.3**2
    assert float(moved[:, 2].std()) == pytest.approx(variance**0.5, abs=0.01)


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_noise_is_standard_normal_from_the_first_step_and_as_correlated_as_it_says(correlation):
    def step(noise, key):
        noise = noise.next(key, correlation)
        return noise, noise.value

    start = Noise.init(2000, (2,))
    _, values = jax.lax.scan(step, start, jax.random.split(jax.random.key(0), 12))
    values = np.asarray(values).reshape(12, -1)
    np.testing.assert_allclose(values.std(1), np.ones(12), atol=0.05)
    np.testing.assert_allclose(values.mean(1), np.zeros(12), atol=0.06)
    found = [np.corrcoef(a, b)[0, 1] for a, b in pairwise(values)]
    np.testing.assert_allclose(found, np.full(11, correlation), atol=0.05)
    again = Noise(jnp.full((2000, 2), 9.0), jnp.ones(2000, bool)).next(jax.random.key(1), 0.99)
    assert abs(float(again.value.mean())) < 0.06 and not again.fresh.any()


@pytest.mark.parametrize("kind", [Critics, ChoiceCritics])
def test_several_critics_at_once_are_what_each_is_alone(kind):
    action = Discrete(3) if kind is ChoiceCritics else Box((2, 2), -1.0, 1.0)
    spec = Spec(Box((3,)), action)
    critics = jax.jit(lambda k: kind.init(k, spec, (5, 4), "relu", 3))(jax.random.key(0))
    obs = jax.random.normal(jax.random.key(1), (7, 3))
    told = () if kind is ChoiceCritics else (jax.random.normal(jax.random.key(2), (7, 2, 2)),)
    found = jax.jit(kind.__call__)(critics, obs, *told)
    x = jnp.concatenate([obs, *(a.reshape(7, 4) for a in told)], -1)
    one = jax.jit(lambda members, i, x: jax.tree.map(lambda w: w[i], members)(x))
    for i in range(3):
        alone = one(critics.members, i, x)
        alone = alone if kind is ChoiceCritics else alone[:, 0]
        np.testing.assert_allclose(found[i], alone, atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 0.01
    if kind is Critics:
        leading = jax.jit(lambda critics: critics.first()(obs, *told))(critics)
        np.testing.assert_allclose(leading, found[:1], atol=1e-5)


@pytest.mark.parametrize("kind", [DeterministicActor, GaussianActor])
def test_actors_act_within_bounds_in_the_shape_of_an_action_and_near_0_at_first(kind):
    spec = Spec(Box((3,)), Box((2, 2), -5.0, 5.0))

    @jax.jit
    def acted(key):
        actor = kind.init(key, spec, (5,), "relu")
        out = actor(100.0 * jax.random.normal(jax.random.key(1), (7, 3)))
        near = actor(jnp.ones((1, 3)))
        return (
            (out, near)
            if kind is DeterministicActor
            else (out.draw(jax.random.key(2))[0], near.mode())
        )

    action, near = acted(jax.random.key(0))
    assert action.shape == (7, 2, 2) and (jnp.abs(action) <= 1.0).all()
    assert jnp.abs(near).max() < 0.1


def linear(told):
    return tuple(Linear(jnp.array(x["w"]), jnp.array(x["b"])) for x in told)


def members(told):
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *map(linear, told))
    return MLP(stacked, "relu")


def agent_of(name, algorithm, told):
    """An agent with the parameters that were told to the other side."""
    agent = first(algorithm, SPACE, jax.random.key(0))
    actor = replace(agent.actor.model, layers=MLP(linear(told["actor"]), "relu"))
    critic = replace(agent.critic.model, members=members(told["critics"]))
    target = critic if name == "sac" else (actor, critic)
    learner = replace(agent.actor, model=actor)
    return replace(agent, actor=learner, critic=replace(agent.critic, model=critic), target=target)


def unrolled(step, carry, xs):
    """`jax.lax.scan` as a loop in Python, so that every draw is traced and takes its own noise."""
    found = []
    for i in range(len(jax.tree.leaves(xs)[0])):
        carry, y = step(carry, jax.tree.map(lambda x, i=i: x[i], xs))
        found.append(y)
    return carry, jax.tree.map(lambda *y: jnp.stack(y), *found)


@pytest.mark.parametrize("name", CONTROL)
def test_updates_are_those_of_stable_baselines3(name, monkeypatch):
    told, found = STORED[name.upper()].values()
    x = {k: jnp.array(v) for k, v in told["batch"].items()}
    noise = [n for pair in told["batch"]["noise"] for n in pair[: 2 if name == "sac" else 1]]
    monkeypatch.setattr(SquashedGaussian, "draw", lambda p, key: p.at(jnp.array(noise.pop(0))))
    monkeypatch.setattr(jax.random, "normal", lambda key, shape: jnp.array(noise.pop(0)))
    monkeypatch.setattr(jax.lax, "scan", unrolled)
    more = {"sac": {"entropy_per_action": -0.5}, "td3": {"updates": 2}}.get(name, {})
    settings = {"gamma": 0.9, "tau": 0.1, "lr": 0.01, "hidden": (4,), **more}
    algorithm = ALGORITHMS[name](**settings)
    agent = agent_of(name, algorithm, told)
    done = x["terminated"].astype(bool)
    batches = Transition(
        x["obs"], x["action"], x["reward"], done, ~done & False, x["next_obs"],
        jnp.ones_like(x["reward"]), {}
    )  # fmt: skip

    @jax.jit
    def updated(agent, batches):
        for i in range(0, 4, algorithm.updates):
            batch = jax.tree.map(lambda x, i=i: x[i : i + algorithm.updates, None], batches)
            agent, _ = algorithm.update(agent, batch, jax.random.key(0))
        return agent

    agent = updated(agent, batches)
    assert not noise or name == "ddpg"
    target = agent.target if name == "sac" else agent.target[1]
    layers = agent.actor.model.layers.layers
    theirs = [*found["actor"]]
    if name == "sac":  # a layer for each half of the outputs
        *theirs, mean, log_std = theirs
        halves = {k: np.concatenate([mean[k], log_std[k]], -1) for k in ("w", "b")}
        theirs.append(halves)
        np.testing.assert_allclose(agent.log_alpha.model, found["log_alpha"], atol=1e-5)
    pairs = [(layers, linear(theirs))]
    pairs += [(agent.critic.model.members, members(found["critics"]))]
    pairs += [(target.members, members(found["target"]))]
    for ours, expected in pairs:
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, atol=3e-5)


@struct
class Cart:
    place: jax.Array
    time: jax.Array


@config
class Regulator:
    """x' = x + u at a cost of x^2 + u^2; the best u is -0.615251 x for a discount of 0.99, and then
    x is worth -1.615251 x^2: the root of 0.99 p^2 - 0.98 p = 1, by Riccati's equation."""

    @property
    def spec(self):
        return Spec(Box((1,)), Box((1,), -1.0, 1.0))

    def reset(self, key):
        place = jax.random.uniform(key, (1,), minval=-1.0, maxval=1.0)
        return Cart(place, jnp.int32(0)), place

    def step(self, state, action, key):
        # A wall: a random walk's large costs would take long to forget. The best stays within.
        place, time = jnp.clip(state.place + action, -1.5, 1.5), state.time + 1
        cost = jnp.square(state.place[0]) + jnp.square(action[0])
        return Cart(place, time), place, -cost, jnp.bool_(False), time >= 20


@pytest.mark.parametrize("name", ["td3", "sac"])
def test_a_linear_quadratic_regulator_is_learned(name):
    calm = (
        {"entropy_per_action": -2.5, "alpha": 0.1}
        if name == "sac"
        else {"noise": 0.2, "target_noise": 0.02}
    )
    algorithm = ALGORITHMS[name](
        envs=4, rollout=2, updates=4, batch=64, capacity=4000, warmup=1000, lr=2e-3, tau=0.02,
        hidden=(32, 32), **calm
    )  # fmt: skip
    run = program(parts(algorithm, Regulator()))
    agents = copied(run.advance(run.start(keys(4)), 500)[0].agent)
    obs = jnp.linspace(-1.0, 1.0, 9)[:, None]

    def judged(agent):
        action, _, _ = algorithm.act(agent, obs, (), keys(1)[0], explore=False)
        slope = (action * obs).sum() / jnp.square(obs).sum()
        return slope, agent.critic.model(obs, action).min(0)

    slopes, values = copied(jax.jit(jax.vmap(judged))(agents))
    assert slopes.shape == (4,) and slopes.tolist() == [pytest.approx(-0.615251, rel=0.1)] * 4
    # What noise and entropy cost for ever is the same everywhere.
    beyond = values[:, [0, 8]] - values[:, 4:5]
    np.testing.assert_allclose(beyond, np.full((4, 2), -1.615), atol=0.15)


def test_sac_for_choices_learns_the_probes():
    algorithm = ALGORITHMS["sac_discrete"](
        envs=8, rollout=2, updates=8, batch=64, capacity=2000, warmup=400, lr=5e-3, gamma=0.9,
        tau=0.05, hidden=(16,), alpha=0.1, entropy_share=0.05
    )  # fmt: skip
    settings = jnp.arange(6.0)

    def one(which):
        source = source_for(algorithm.wants(Suite(which, DISCRETE).spec), Suite(which, DISCRETE))
        closed = system(Parts(algorithm, source, Environment()))
        state = closed.init(jax.random.PRNGKey(1))
        agent = jax.lax.scan(lambda s, _: closed.step(s), state, length=500)[0].agent
        q, policy = agent.critic.model(SEEN).min(0), agent.actor.model(SEEN)
        return (jnp.exp(policy.log_probs()) * q).sum(-1), policy.mode()

    values, actions = copied(jax.jit(jax.vmap(one))(settings))
    value, backprop, discount, truncated, action, both = range(6)
    close = partial(np.testing.assert_allclose, rtol=0, atol=0.15)
    close(values[value, 1], 1.0)
    close(values[backprop, [0, 2]], [-1.0, 1.0])
    close(values[discount, 1:], [0.9, 1.0])
    close(values[truncated, 1], 10.0, atol=0.7)  # 5.3 if a truncation is taken for the end
    assert actions[action, 1] == 1 and actions[both, [0, 2]].tolist() == [0, 1]
    close(values[action, 1], 1.0)


def test_td3_moves_its_actor_and_its_targets_once_for_every_other_step_of_its_critics():
    algorithm = tiny(ALGORITHMS["td3"], updates=6)
    run = program(parts(replace(algorithm, rollout=4)))
    state = run.start(keys(1))
    before = copied(state.agent)
    after = copied(run.advance(state, 1)[0].agent)

    def count(learner):
        found = jax.tree_util.tree_leaves_with_path(learner.opt_state)
        return [int(x[0]) for path, x in found if "count" in jax.tree_util.keystr(path)]

    assert count(after.actor) == [3] and count(after.critic) == [6]
    for w, t, start in zip(*map(jax.tree.leaves, (after.critic.model, after.target[1],
                                                  before.target[1])), strict=True):  # fmt: skip
        moved = np.abs(t - start).max()
        assert w.size == 0 or 0 < moved <= 3 * 0.005 * 6 * 4 * 3e-4


@pytest.mark.parametrize("name", [*CONTROL, "sac_discrete"])
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"batch": 20}, "batch=20 is more than warmup=16"),
        ({"warmup": 80}, "warmup=80 is more than capacity=64"),
        ({"capacity": 16}, "capacity=16 holds no more than one rollout"),
        ({"updates": 0}, "updates=0 must be at least 1"),
    ],
)
def test_a_ring_that_cannot_work_is_refused_with_its_numbers(name, settings, said):
    action = Discrete(2) if name == "sac_discrete" else SPACE.action
    with pytest.raises(SettingsError, match=said):
        tiny(ALGORITHMS[name], **settings).check(Spec(Box((3,)), action))


@pytest.mark.parametrize("name", [*CONTROL, "sac_discrete"])
def test_a_space_that_does_not_fit_is_refused(name):
    wrong = [SPACE.action] if name == "sac_discrete" else [Discrete(2), Box((2,)), Box((1,), 0.0)]
    for action in wrong:
        with pytest.raises(SettingsError, match=f"^{name} needs .* this environment has "):
            tiny(ALGORITHMS[name]).check(Spec(Box((3,)), action))


def test_td3_refuses_updates_that_its_delay_does_not_divide():
    with pytest.raises(SettingsError, match="updates=3 is no multiple of delay=2"):
        tiny(ALGORITHMS["td3"], updates=3).check(SPACE)


def test_choices_by_lasting_noise_are_as_likely_as_the_policy_says_and_last():
    logits = jnp.log(jnp.array([0.1, 0.2, 0.7]))
    noise, repeated = Noise.init(4000, (3,)), {}
    for correlation in (0.0, 0.9):
        taken, held = [], noise
        for key in jax.random.split(jax.random.PRNGKey(0), 3):
            held = held.next(key, correlation)
            taken.append(Categorical(logits).at(held.value))
        shares = np.bincount(np.concatenate(taken), minlength=3) / 12000
        np.testing.assert_allclose(shares, [0.1, 0.2, 0.7], atol=0.02)
        repeated[correlation] = float((taken[1] == taken[2]).mean())
    np.testing.assert_allclose(repeated[0.0], 0.01 + 0.04 + 0.49, atol=0.03)
    assert repeated[0.9] > 0.7
