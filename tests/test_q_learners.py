"""The family of DQN: what its members have in common, what each must do, and what they refuse."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_contracts import DISCRETE, SEEN, Suite
from twin import ALGORITHMS, assert_same, copied, first, tiny

from spinward.algorithms import dqn
from spinward.core import MASK, Box, Dict, Discrete, Spec, Transition, replace
from spinward.errors import SettingsError
from spinward.experience.material import source_for
from spinward.experience.priorities import importance
from spinward.loop import Parts, system
from spinward.networks.heads import Duelling, Q
from spinward.networks.noisy import perturbed, with_noise
from spinward.rewards.environment import Environment
from spinward.run.run import train

DQN = ALGORITHMS["dqn"]
SPEC = Spec(Box((3,)), Discrete(4))
MEMBERS = ("c51", "qr_dqn", "ensemble_dqn", "rem")
LEARNING = {
    "envs": 8, "rollout": 2, "updates": 8, "batch": 32, "capacity": 2000, "warmup": 400,
    "lr": 5e-3, "gamma": 0.9, "target_every": 16, "explore_steps": 2000, "hidden": (16,),
    "epsilon": 0.2,
}  # fmt: skip
PROBED = {
    "c51": {"low": -2.0, "high": 12.0, "atoms": 29},
    "qr_dqn": {"quantiles": 8, "kappa": 0.1},
    "ensemble_dqn": {"heads": 4, "separate": True},
    "rem": {"heads": 4, "mixed_acting": True},
    "dqn": {"duelling": True, "prioritised": True},
}


def batch_of(size=32, window=1, seed=0):
    random = np.random.default_rng(seed)
    obs, following = random.normal(size=(2, window, size, 3)).astype(np.float32)
    reward = random.normal(size=(window, size)).astype(np.float32)
    ends = random.random((2, window, size)) < 0.2
    action = random.integers(0, 4, (window, size)).astype(np.int32)
    weight = np.ones((window, size), np.float32)
    made = Transition(obs, action, reward, ends[0], ends[1] & ~ends[0], following, weight, {})
    return jax.tree.map(jnp.asarray, made)


@partial(jax.jit, static_argnums=1)
def learned(algorithm, iterations):
    """Values of what can be seen, and greedy actions, after learning each of the probes."""

    def one(which):
        source = source_for(algorithm.wants(Suite(which, DISCRETE).spec), Suite(which, DISCRETE))
        closed = system(Parts(algorithm, source, Environment()))
        state = closed.init(jax.random.PRNGKey(1))
        state, _ = jax.lax.scan(lambda s, _: closed.step(s), state, length=iterations)
        value = algorithm.values(state.agent.learner.model, SEEN).max(-1)
        return value, algorithm.act(state.agent, SEEN, (), state.key, False)[0]

    return jax.vmap(one)(jnp.arange(6.0))


@pytest.mark.parametrize("name", PROBED)
def test_probes_are_learned(name):
    algorithm = ALGORITHMS[name](**LEARNING, **PROBED[name])
    values, actions = copied(learned(algorithm, 500))
    value, backprop, discount, truncated, action, both = range(6)
    close = partial(np.testing.assert_allclose, rtol=0, atol=0.15)
    close(values[value, 1], 1.0)
    close(values[backprop, [0, 2]], [-1.0, 1.0])
    close(values[discount, 1:], [0.9, 1.0])
    close(values[truncated, 1], 10.0, atol=0.7)  # 5.3 if a truncation is taken for the end
    close(values[action, 1], 1.0)
    assert actions[action, 1] == 1
    close(values[both, [0, 2]], [1.0, 1.0])
    assert actions[both, [0, 2]].tolist() == [0, 1]


@partial(jax.jit, static_argnames="explore")
def acted(algorithm, agent, obs, memory, key, explore=True):
    return algorithm.act(agent, obs, memory, key, explore)


@jax.jit
def slope(algorithm, model, target, batch):
    key = jax.random.key(3)
    (loss, _), grads = jax.value_and_grad(algorithm.loss, has_aux=True)(model, target, batch, key)
    return loss, grads


def test_with_one_head_rem_is_ensemble_dqn_and_both_are_dqn():
    batch, key = batch_of(window=2), jax.random.key(0)
    found = []
    for name in ("dqn", "ensemble_dqn", "rem"):
        one = {"double": False} if name == "dqn" else {"heads": 1}
        algorithm = replace(tiny(ALGORITHMS[name], n_step=2), huber=1.0, **one)
        one, other = (first(algorithm, SPEC, k).learner.model for k in jax.random.split(key))
        found.append([np.asarray(x) for x in jax.tree.leaves(slope(algorithm, one, other, batch))])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("name", ["ensemble_dqn", "rem"])
def test_heads_that_are_equal_have_equal_slopes_but_for_their_weights(name):
    algorithm = replace(tiny(ALGORITHMS[name]), heads=3)
    model = first(algorithm, SPEC, jax.random.key(0)).learner.model
    last = model.layers.layers[-1]
    w = jnp.repeat(last.w.reshape(8, 4, 3)[..., :1], 3, -1).reshape(8, 12)
    layers = (*model.layers.layers[:-1], replace(last, w=w))
    model = replace(model, layers=replace(model.layers, layers=layers))
    _, grads = slope(algorithm, model, model, batch_of())
    found = np.asarray(grads.layers.layers[-1].w).reshape(32, 3)
    assert np.abs(found).max() > 1e-3
    scale = found[:, 0] @ found / (found[:, 0] @ found[:, 0])
    np.testing.assert_allclose(found, found[:, :1] * scale, atol=1e-6)
    if name == "ensemble_dqn":
        np.testing.assert_allclose(scale, 1.0, rtol=1e-5)


def test_the_loss_of_an_ensemble_is_that_of_each_head_by_itself():
    algorithm = replace(tiny(ALGORITHMS["ensemble_dqn"]), heads=3, huber=1.0)
    agent = first(algorithm, SPEC, jax.random.key(0))
    batch, model, target = batch_of(), agent.learner.model, 1.5
    target = jax.tree.map(lambda x: x * target, model)
    q, after = np.asarray(model(batch.obs[0])), np.asarray(target(batch.next_obs[0]))
    rows, going = np.arange(32), 1.0 - np.asarray(batch.terminated[0])
    for averaged in (False, True):
        total = 0.0
        for head in range(3):
            best = (after.mean(-1) if averaged else after[..., head]).max(-1)
            goal = np.asarray(batch.reward[0]) + 0.99 * going * best
            error = np.abs(goal - q[rows, np.asarray(batch.action[0]), head])
            total += np.where(error < 1.0, 0.5 * error**2, error - 0.5).mean() / 3
        loss, _ = replace(algorithm, averaged=averaged).loss(model, target, batch, None)
        np.testing.assert_allclose(loss, total, rtol=1e-5)


def test_a_mixture_to_act_on_lasts_for_an_episode():
    algorithm = replace(tiny(ALGORITHMS["rem"]), heads=4, mixed_acting=True)
    agent = first(algorithm, SPEC, jax.random.key(0))
    obs, memory = jnp.ones((2, 3)), algorithm.memory(agent, 2)
    _, one, _ = acted(algorithm, agent, obs, memory, jax.random.key(0))
    np.testing.assert_allclose(one.sum(-1), 1.0, rtol=1e-6)
    assert (one[0] != one[1]).any()
    _, second, _ = acted(algorithm, agent, obs, one.at[1].set(0.0), jax.random.key(1))
    assert (second[0] == one[0]).all() and (second[1] != one[1]).any()
    greedy, after, _ = acted(algorithm, agent, obs, second, jax.random.key(2), explore=False)
    assert (after == second).all()
    np.testing.assert_array_equal(greedy, algorithm.values(agent.learner.model, obs).argmax(-1))


@pytest.mark.parametrize("name", ["dqn", *MEMBERS])
def test_forbidden_actions_are_neither_chosen_nor_bootstrapped_from(name):
    spec = Spec(Dict((("x", Box((3,))), (MASK, Box((4,), 0.0, 1.0, "int8")))), Discrete(4))
    algorithm = tiny(ALGORITHMS[name])
    agent = first(algorithm, spec, jax.random.key(0))
    batch, allowed = batch_of(64), jnp.array([1, 0, 1, 0], jnp.int8)
    allowed = jnp.broadcast_to(allowed, (1, 64, 4))
    obs = {"x": batch.obs, MASK: jnp.ones_like(allowed)}
    batch = replace(batch, obs=obs, next_obs={"x": batch.next_obs, MASK: allowed})
    judge = jax.jit(algorithm.loss)
    loss, metrics = judge(agent.learner.model, agent.target, batch, jax.random.key(0))
    assert loss < 100.0 and metrics["max_abs_q"] < 100.0
    for explore in (False, True):
        after = jax.tree.map(lambda x: x[0], batch.next_obs)
        memory = algorithm.memory(agent, 64)
        action, *_ = acted(algorithm, agent, after, memory, jax.random.key(1), explore)
        assert set(np.asarray(action).tolist()) == {0, 2}


def test_duelling_values_are_the_formula_of_the_paper():
    begun = jax.jit(
        lambda spec: Duelling.init(jax.random.key(0), spec, (8,), "relu"), static_argnums=0
    )
    q = begun(SPEC)
    obs = batch_of().obs[0]
    advantage, value = np.asarray(q.layers(obs)), np.asarray(q.value(obs))
    expected = value + advantage - advantage.mean(-1, keepdims=True)
    np.testing.assert_allclose(q(obs), expected, atol=1e-6)
    pixels = Spec(Box((10, 10, 4), 0, 1, "uint8"), Discrete(3))
    q = begun(pixels)
    assert q(jnp.ones((2, 10, 10, 4), jnp.uint8)).shape == (2, 3)


def test_noise_is_around_what_is_learned_and_of_the_deviation_it_says():
    start = jax.jit(lambda k: with_noise(k, Q.init(k, SPEC, (16,), "relu")))
    model = start(jax.random.key(0))
    layer = model.layers.layers[0]
    np.testing.assert_allclose(layer.std.w, 0.5 / 3**0.5)
    noisy = jax.jit(jax.vmap(lambda k: perturbed(model, k).layers.layers[0].w))
    draws = noisy(jax.random.split(jax.random.key(1), 5_000))
    np.testing.assert_allclose(draws.mean(0), layer.mean.w, atol=0.03)
    # f(x) = sgn(x) sqrt|x| has the variance E|x| = sqrt(2 / pi), and a weight has two of them.
    deviation = np.asarray(layer.std.w) * (2 / np.pi) ** 0.5
    np.testing.assert_allclose(draws.std(0), deviation, rtol=0.1)
    obs = batch_of().obs[0]
    one, other = (perturbed(model, jax.random.key(i))(obs) for i in range(2))
    assert (one != other).any() and (model(obs) == model(obs)).all()


def test_noisy_dqn_explores_by_its_weights_alone():
    algorithm = tiny(ALGORITHMS["dqn"], noisy=True)
    agent = first(algorithm, SPEC, jax.random.key(0))
    acts = {
        tuple(np.asarray(acted(algorithm, agent, batch_of().obs[0], (), jax.random.key(i), e)[0]))
        for i in range(4)
        for e in (False,)
    }
    assert len(acts) == 1
    acts = [acted(algorithm, agent, batch_of().obs[0], (), jax.random.key(i))[0] for i in range(4)]
    assert len({tuple(np.asarray(a)) for a in acts}) > 1


def test_a_reward_beyond_the_support_of_c51_ends_the_run_by_name():
    algorithm = ALGORITHMS["c51"](low=-1.0, high=1.0)
    name = "reward_outside_low_to_high"
    for reward, beyond in ((1.0, False), (1.01, True), (-1.01, True)):
        batch = batch_of()
        batch = replace(batch, reward=jnp.zeros_like(batch.reward).at[0, 3].set(reward))
        metrics = algorithm.outside(batch)
        assert np.isinf(metrics[name]) == beyond
    algorithm.check_rewards(-1.0, 1.0)
    with pytest.raises(SettingsError, match=r"rewards from -5.0 to 1.0 lie outside .* low=-1.0"):
        algorithm.check_rewards(-5.0, 1.0)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("c51", {"low": 1.0, "high": 1.0}, r"low=1.0 must be below high=1.0"),
        ("c51", {"atoms": 1}, r"atoms=1 must be at least 2"),
        ("qr_dqn", {"quantiles": 0}, r"quantiles=0 must be at least 1"),
        ("rem", {"heads": 0}, r"heads=0 must be at least 1"),
        ("dqn", {"huber": -1.0}, r"huber=-1.0 must be more than 0"),
        ("rem", {"huber": 0.0}, r"huber=0.0 must be more than 0"),
        (
            "dqn",
            {"importance_exponent": 0.0, "importance_steps": 100},
            r"importance_exponent=0.0 must be more than 0 to rise over importance_steps=100",
        ),
        ("dqn", {"explore_steps": 10}, r"explore_steps=10 ends before training starts.* 16 steps"),
        ("dqn", {"anneal_steps": 15}, r"anneal_steps=15 ends before training starts.* 16 steps"),
        ("qr_dqn", {"gamma": 1.5}, r"gamma=1.5 must be between 0 and 1"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_with_their_numbers(name, settings, said):
    with pytest.raises(SettingsError, match=said):
        replace(tiny(ALGORITHMS[name]), **settings).check(SPEC)


@pytest.mark.parametrize("name", ["dqn", *MEMBERS])
def test_continuous_actions_are_refused(name):
    with pytest.raises(SettingsError, match="needs one discrete action, not Box"):
        tiny(ALGORITHMS[name]).check(Spec(Box((3,)), Box((1,), -1.0, 1.0)))


def test_rewards_beyond_the_support_are_refused_before_the_first_update(tmp_path):
    algorithm = tiny(ALGORITHMS["c51"], low=-0.5, high=0.5)
    with pytest.raises(SettingsError, match=r"rewards from -1.0 to -1.0 lie outside .* high=0.5"):
        train(algorithm, "Acrobot-v1", steps=160, out=tmp_path, shards=1)
    assert not list(tmp_path.rglob("state.safetensors"))


def test_noisy_layers_are_made_by_a_key_of_their_own(monkeypatch):
    used = []

    def network(key, *args):
        used.append(key)
        return Q.init(key, *args)

    monkeypatch.setattr(dqn, "with_noise", lambda key, q: (used.append(key), q)[1])
    given = jax.random.PRNGKey(3)
    tiny(DQN, noisy=True, network=network).init(given, SPEC)
    assert len({tuple(np.asarray(key).tolist()) for key in (given, *used)}) == 3


@pytest.mark.parametrize("updates", [0, 5, 10, 50])
def test_the_exponent_of_importance_weights_rises_to_one(updates):
    algorithm = tiny(DQN, envs=2, rollout=3, updates=1, importance_exponent=0.4)
    probability = jnp.array([[0.1, 0.02, 0.3, 0.07]])
    first = importance(probability, 12, 0.4)
    zeros = jnp.zeros((1, 4))
    none = zeros > 0
    batch = Transition(zeros, zeros, zeros, none, none, zeros, zeros, {"importance": first})
    kept = algorithm.corrected(batch, jnp.int32(updates)).extras["importance"]
    assert_same(kept, first)
    rising = replace(algorithm, importance_steps=60)  # of 6 steps for each update
    found = rising.corrected(batch, jnp.int32(updates)).extras["importance"]
    exponent = 0.4 + 0.6 * min(6 * updates / 60, 1.0)
    np.testing.assert_allclose(found, importance(probability, 12, exponent), rtol=1e-5)
