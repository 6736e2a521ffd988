"""The instruments of Q-learning against literals, slow sums and a run whose values are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from twin import ALGORITHMS, Stamp, tiny

from spinward.algorithms.dqn import DQN
from spinward.core import Transition, replace
from spinward.envs.pendulum import Pendulum
from spinward.envs.probe import ProbeDiscount
from spinward.evaluation import q_diagnostics
from spinward.experience.material import source_for
from spinward.loop import Parts
from spinward.programs.choose import program
from spinward.rewards.environment import Environment
from spinward.run.run import train
from spinward.targets.diagnostics import bound, effective_rank, followed, q_extremes, running_max

NEW = {
    "max_abs_q",
    "q_bound",
    "soft_divergence",
    "q_overestimation",
    "target_lag",
    "effective_rank",
}


def test_the_bound_is_the_sum_of_the_largest_reward_for_ever():
    assert bound(1.0, 0.99) == pytest.approx(100.0)
    assert bound(2.0, 0.5) == pytest.approx(sum(2.0 * 0.5**k for k in range(60)))


def test_extremes_leave_out_forbidden_actions_and_peaks_keep_the_largest():
    q = jnp.array([[1.0, -3.0, -1e9], [2.0, 0.5, 0.0]])
    found = q_extremes(q, jnp.array([0.5, -2.0]))
    assert float(found["max_abs_q"]) == 3.0 and float(found["max_reward"]) == 2.0
    kept = running_max(
        {"max_abs_q": jnp.array([1.0, 5.0, 2.0]), "loss": jnp.array([1.0, 2.0, 3.0])}
    )
    assert float(kept["max_abs_q"]) == 5.0 and kept["loss"].shape == (3,)


def steps(reward, terminated, truncated, weight):
    empty = jnp.zeros_like(reward)
    return Transition(empty, empty, reward, terminated, truncated, empty, weight, {})


def test_returns_that_followed_are_the_slow_sums_and_known_where_nothing_is_missing():
    random, gamma, shape = np.random.default_rng(0), 0.7, (40, 5)
    reward = random.normal(size=shape).astype(np.float32)
    terminated = random.random(shape) < 0.1
    truncated = (random.random(shape) < 0.1) & ~terminated
    weight = (random.random(shape) < 0.95).astype(np.float32)
    expected, known = np.zeros(shape), np.zeros(shape, bool)
    for t, env in np.ndindex(shape):
        total, factor, missing = 0.0, 1.0, True
        for k in range(t, shape[0]):
            if weight[k, env] == 0:
                break
            total, factor = total + factor * reward[k, env], factor * gamma
            if terminated[k, env]:
                missing = False
            if terminated[k, env] or truncated[k, env]:
                break
        expected[t, env] = total
        known[t, env] = weight[t, env] > 0 and (not missing or factor <= 0.05)
    batch = jax.tree.map(jnp.asarray, steps(reward, terminated, truncated, weight))
    found, sure = followed(batch, gamma)
    np.testing.assert_array_equal(sure, known)
    assert 20 < known.sum() < known.size - 20
    np.testing.assert_allclose(found[known], expected[known], atol=1e-5)


@pytest.mark.parametrize("shape", [(200, 12), (12, 200)])
def test_the_effective_rank_counts_the_directions_that_matter(shape):
    random = np.random.default_rng(0)
    left = np.linalg.qr(random.normal(size=(shape[0], 5)))[0]
    right = np.linalg.qr(random.normal(size=(shape[1], 5)))[0]
    values = np.array([10.0, 5.0, 1.0, 0.11, 0.02])
    x = (left * values) @ right.T
    # The shares so far are .62, .93, .9919, ...: three reach 99 %, two reach 90 %.
    assert effective_rank(x) == 3 and effective_rank(x, 0.1) == 2
    assert effective_rank(np.stack([x, np.ones(shape)])).tolist() == [3, 1]
    assert np.isnan(effective_rank(np.zeros((4, 0))))
    singular = np.linalg.svd(random.normal(size=shape), compute_uv=False)
    slow = int(np.argmax(singular.cumsum() / singular.sum() >= 0.99)) + 1
    assert effective_rank(np.diag(singular)) == slow


def measured(env, model=None, iterations=60, **settings):
    """What is measured of DQN after some steps, with `model` put in place of its networks."""
    algorithm = tiny(DQN, gamma=0.9, capacity=1024, **settings)
    parts = Parts(algorithm, source_for(algorithm.wants(env.spec), env), Environment())
    run = program(parts)
    state, metrics = run.advance(run.start(jax.random.PRNGKey(0)[None]), iterations)
    running_max = {name: x.max(1) for name, x in metrics.items() if name.startswith("max_")}
    if model is not None:
        agent = state.agent
        learner = type(agent.learner)(jax.tree.map(model, agent.learner.model), None)
        state = type(state)(type(agent)(learner, agent.target, agent.updates), *rest(state))
    return q_diagnostics.measure(parts, state, running_max)


def rest(state):
    return state.source, state.reward, state.key


def test_a_network_of_zeros_is_below_the_returns_by_all_of_them():
    # Nothing at first, then 1, and the end: worth 0.9 and 1, half of the steps each.
    found = measured(ProbeDiscount(), jnp.zeros_like)
    assert found["q_overestimation"][0] == pytest.approx(-0.95, abs=1e-2)
    assert found["effective_rank"] == [0.0]
    assert found["target_lag"][0] > 0.01
    assert found["q_bound"] == [pytest.approx(10.0)] and found["soft_divergence"] == [0.0]


def test_what_is_not_known_is_not_told_and_a_value_beyond_the_bound_is():
    # Never over, and 1 in each step: of 64 rows the first 35 have seen all but 5 %.
    found = measured(Stamp(), iterations=3, lr=1.0, huber=1e9, max_grad_norm=1e9)
    assert found["q_overestimation"] == [None]
    assert found["max_abs_q"][0] > found["q_bound"][0] == pytest.approx(10.0)
    assert found["soft_divergence"] == [1.0]
    later = measured(Stamp(), iterations=60)
    assert later["q_overestimation"][0] is not None


def test_a_run_that_learns_from_q_logs_its_instruments_and_others_do_not(tmp_path):
    for name, env, expected in (
        ("dqn", "CartPole-v1", True),
        ("td3", "Pendulum-v1", True),
        ("ppo", "CartPole-v1", False),
    ):
        run = train(tiny(ALGORITHMS[name]), env, 800, out=tmp_path, shards=1)
        assert (run.points[-1].keys() >= NEW) is expected
        assert expected or not NEW & run.points[-1].keys()


@pytest.mark.parametrize("name", ["ddpg", "td3", "sac"])
def test_critics_of_an_action_are_looked_at_by_their_smallest_value(name):
    algorithm, spec = tiny(ALGORITHMS[name]), Pendulum().spec
    agent = algorithm.init(jax.random.PRNGKey(0), spec)
    grown = jax.tree.map(lambda x: 1.5 * x, agent.target)
    agent = replace(agent, target=grown)
    lagged = grown if name == "sac" else grown[1]
    random = np.random.default_rng(0)
    obs, action = random.normal(size=(5, 3)), random.uniform(-1, 1, (5, 1))
    batch = replace(steps(*np.zeros((4, 5))), obs=jnp.asarray(obs), action=jnp.asarray(action))
    look = algorithm.probe(agent, batch)
    x = np.concatenate([obs, action], 1)
    for critic, found in ((agent.critic.model, look.q), (lagged, look.lagged)):
        values = []
        for member in range(1 if name == "ddpg" else 2):
            *hidden, last = [
                jax.tree.map(lambda w, m=member: np.asarray(w[m]), layer)
                for layer in critic.members.layers
            ]
            h = x
            for layer in hidden:
                h = np.maximum(h @ layer.w + layer.b, 0.0)
            values.append(h @ last.w + last.b)
            if member == 0 and critic is agent.critic.model:
                np.testing.assert_allclose(look.features, h, atol=1e-5)
        np.testing.assert_allclose(found, np.min(values, 0), atol=1e-5)
    np.testing.assert_array_equal(look.value, look.q[:, 0])
