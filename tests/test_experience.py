"""Batches against re-computations in Python, of environments whose every step is known."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from twin import ALGORITHMS, Clock, HostClock, Stamp, assert_same, copied, keys, logged, parts, tiny

from spinward.core import MASK, Box, Dict, Discrete, Policy, Spec, Transition
from spinward.envs.cartpole import CartPole
from spinward.experience.layouts import StepLayout
from spinward.experience.material import Data, source_for
from spinward.experience.replay import Replay
from spinward.experience.rollout import Rollout
from spinward.experience.vector import Vector
from spinward.experience.wanted import Logged, Samples
from spinward.programs.choose import program

ENVS, STEPS = 4, 12


def act(obs, memory, key):
    """Random actions, and a memory that counts its calls."""
    action = jax.random.randint(key, obs.shape[:1], 0, 2)
    return action, memory + 1, {"memory": memory}


COUNTING = Policy(act, lambda envs: jnp.zeros(envs, jnp.int32))


@pytest.fixture(scope="module")
def collected():
    """Two batches in a row from a `Rollout`, joined, and the metrics of each."""
    source = Rollout(Clock(), ENVS, STEPS)
    collect = jax.jit(lambda state, key: source.collect(state, COUNTING, key))
    state = source.init(jax.random.key(0), COUNTING.memory(ENVS))
    state, one, first = collect(state, jax.random.key(1))
    state, two, second = collect(state, jax.random.key(2))
    whole = jax.tree.map(lambda *x: np.concatenate(x), one, two)
    return copied(whole), copied((first, second)), copied(state)


def test_rollout_is_what_a_loop_in_python_makes_of_its_actions(collected):
    batch, _, _ = collected
    reasons = set()
    for env in range(ENVS):
        obs = np.zeros(2)
        for t in range(2 * STEPS):
            np.testing.assert_array_equal(batch.obs[t, env], obs)
            action, time = batch.action[t, env], obs[0] + 1
            successor = np.array([time, action])
            ends = (time == 3 and action == 1, time >= 5)
            np.testing.assert_array_equal(batch.next_obs[t, env], successor)
            assert (batch.terminated[t, env], batch.truncated[t, env]) == ends
            assert batch.reward[t, env] == time + 0.5 * action
            reasons.add(ends)
            obs = np.zeros(2) if any(ends) else successor
    assert reasons == {(False, False), (True, False), (False, True)}
    assert (batch.weight == 1).all()


def test_memory_starts_anew_with_every_episode_and_lasts_across_batches(collected):
    batch, _, state = collected
    np.testing.assert_array_equal(batch.extras["memory"], batch.obs[..., 0])
    np.testing.assert_array_equal(state.memory, state.obs[..., 0])
    assert (batch.obs[STEPS, :, 0] > 0).any()  # an episode that began in the batch before


def test_episode_statistics_are_those_of_whole_episodes(collected):
    batch, metrics, state = collected
    total, length = np.zeros(ENVS), np.zeros(ENVS)
    for half, found in enumerate(metrics):
        returns, lengths = [], []
        for t in range(half * STEPS, (half + 1) * STEPS):
            total, length = total + batch.reward[t], length + 1
            done = batch.terminated[t] | batch.truncated[t]
            returns += total[done].tolist()
            lengths += length[done].tolist()
            total, length = np.where(done, 0, total), np.where(done, 0, length)
        assert found["episodes"] == len(returns) > 4
        np.testing.assert_allclose(found["episode_return"], np.mean(returns), rtol=1e-6)
        np.testing.assert_allclose(found["episode_length"], np.mean(lengths), rtol=1e-6)
    np.testing.assert_allclose(state.episodes.total, total)


def test_statistics_of_a_batch_without_an_end_are_zero_and_not_nan():
    source = Rollout(Stamp(), 2, 3)
    state = source.init(jax.random.key(0), COUNTING.memory(2))
    _, _, metrics = source.collect(state, COUNTING, jax.random.key(0))
    assert metrics["episodes"] == metrics["episode_return"] == metrics["episode_length"] == 0
    assert metrics["finite"]


def host_policy():
    return Policy(jax.jit(jax.vmap(act)), lambda envs: jnp.zeros((2, envs), jnp.int32))


def test_vector_gives_the_batches_of_rollout_for_the_same_keys():
    vector, rollout = Vector(HostClock(), ENVS, STEPS), Rollout(Clock(), ENVS, STEPS)
    policy = host_policy()
    state = vector.init(keys(2), policy.memory(ENVS))
    twins = jax.vmap(lambda k: rollout.init(k, COUNTING.memory(ENVS)))(keys(2))
    collect = jax.jit(jax.vmap(lambda s, k: rollout.collect(s, COUNTING, k)))
    for i in range(2):
        state, batch, metrics = vector.collect(state, policy, keys(2, 10 * i))
        twins, expected, measured = collect(twins, keys(2, 10 * i))
        assert_same(batch, copied(expected))
        for name in metrics:
            np.testing.assert_allclose(metrics[name], measured[name], rtol=1e-6)
    np.testing.assert_array_equal(state.memory, twins.memory)
    stepper = vector.handle.stepper
    vector.close()
    assert stepper.closed


@pytest.mark.parametrize("large", [1, 10**9], ids=["in Python", "called"])
@pytest.mark.parametrize("name", ["ppo", "dqn"])
def test_an_agent_is_the_same_on_device_and_on_a_host(name, large, monkeypatch):
    monkeypatch.setattr("spinward.programs.choose.LARGE", large)
    algorithm = tiny(ALGORITHMS[name])
    here = program(parts(algorithm, Clock()))
    there = program(parts(algorithm, HostClock()))
    state, metrics = here.advance(here.start(keys(2)), 6)
    twin, measured = there.advance(there.start(keys(2)), 6)
    there.close()
    assert_same(copied(state.agent), copied(twin.agent), atol=1e-6)
    np.testing.assert_allclose(metrics["episode_return"], measured["episode_return"], rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], measured["loss"], atol=1e-5)


ROWS, WARM = 24, 8  # of a ring, and of its warm-up


@pytest.fixture(scope="module")
def replayed():
    """States and batches of a ring of 3 envs that has gone round twice, 4 rows at a time."""
    source = Replay(Rollout(Stamp(), 3, 4), StepLayout(ROWS, 4, 5, 40, window=3), WARM)
    policy = Policy(lambda o, m, k: (jnp.ones(3, jnp.int32), m, {"x": o}), lambda envs: ())
    collect = jax.jit(lambda state, key: source.collect(state, policy, key))
    states = [source.init(jax.random.key(0), ())]
    batches = []
    for i in range(12):
        state, batch, _ = collect(states[-1], jax.random.key(i))
        states.append(state)
        batches.append(copied(batch))
    return copied(states), batches


def test_a_ring_holds_the_newest_rows_and_no_others(replayed):
    states, _ = replayed
    names = states[0].data.obs[0, :, 0]
    for i, state in enumerate(states):
        rows = WARM + 4 * i
        assert state.rows == rows
        times = np.sort(state.data.obs[..., 1], 0)
        held = np.arange(max(rows - ROWS, 0), rows)
        unused = np.zeros(max(ROWS - rows, 0))
        expected = np.concatenate([unused, held])
        np.testing.assert_array_equal(times, np.tile(expected[:, None], (1, 3)))
        filled = state.data.obs[: min(rows, ROWS)]
        np.testing.assert_array_equal(filled[..., 0], np.tile(names, (len(filled), 1)))
        np.testing.assert_array_equal(state.data.next_obs[: len(filled), :, 1], filled[..., 1] + 1)


def test_warm_up_acts_at_random_and_the_policy_after_it(replayed):
    states, _ = replayed
    assert 0 < states[0].data.action[:WARM].mean() < 1
    assert (states[-1].data.action == 1).all()


def test_windows_never_cross_the_seam_of_the_ring_nor_mix_envs(replayed):
    _, batches = replayed
    for i, batch in enumerate(batches):
        assert batch.obs.shape == (5, 3, 40, 2) and batch.extras == {}
        times, names = batch.obs[..., 1], batch.obs[..., 0]
        np.testing.assert_array_equal(np.diff(times, axis=1), np.ones((5, 2, 40)))
        np.testing.assert_array_equal(np.diff(names, axis=1), np.zeros((5, 2, 40)))
        rows = WARM + 4 * i  # drawn before those of this iteration are added
        assert times.max() == rows - 1 and times.min() == max(rows - (ROWS - 4), 0)


def test_windows_are_drawn_uniformly(replayed):
    states, _ = replayed
    drawn = StepLayout(ROWS, 4, 1, 20_000, window=3).sample(states[-1], jax.random.key(0))
    time, name = np.asarray(drawn.obs[0, 0, :, 1]), np.asarray(drawn.obs[0, 0, :, 0])
    _, env = np.unique(name, return_inverse=True)
    first = (time - time.min()).astype(int)
    starts = (ROWS - 4) - 2  # without the rows to be written next, and the last two
    counts = np.bincount(first * 3 + env, minlength=starts * 3)
    assert len(counts) == starts * 3
    assert stats.chisquare(counts).pvalue > 1e-3


def test_a_data_set_gives_whole_rows_drawn_uniformly():
    arrays = {**logged(50), "reward": np.arange(50, dtype=np.float32)}
    data = Transition(**arrays, weight=np.ones(50, np.float32), extras={})
    source = source_for(Logged(20, 500), data=Data(data, CartPole().spec))
    assert source.stride == 20
    state = source.init(jax.random.key(0), ())
    _, batch, metrics = source.collect(state, COUNTING, jax.random.key(0))
    assert batch.obs.shape == (20, 1, 500, 4) and metrics == {}
    rows = np.asarray(batch.reward).astype(int)
    for name, column in arrays.items():
        np.testing.assert_array_equal(getattr(batch, name), column[rows])
    assert stats.chisquare(np.bincount(rows.reshape(-1), minlength=50)).pvalue > 1e-3


def test_random_actions_of_dqn_obey_the_mask():
    spec = Spec(Dict((("x", Box((2,))), (MASK, Box((3,), 0.0, 1.0, "int8")))), Discrete(3))
    algorithm = tiny(ALGORITHMS["dqn"])
    agent = algorithm.init(jax.random.key(0), spec)
    obs = {"x": jnp.ones((200, 2)), MASK: jnp.tile(jnp.array([1, 0, 1], jnp.int8), (200, 1))}
    action, _, _ = jax.jit(partial(algorithm.act, agent))(obs, (), jax.random.key(1))
    assert set(np.asarray(action).tolist()) == {0, 2}


@pytest.mark.parametrize("env", [Clock, HostClock])
def test_a_program_is_traced_once(env, monkeypatch):
    """Tracing a step takes longer than to run hundreds of them."""
    algorithm, calls = tiny(ALGORITHMS["ppo"], hidden=(11,)), []  # which no other test has compiled
    update = type(algorithm).update
    monkeypatch.setattr(type(algorithm), "update", lambda *a: calls.append(a) or update(*a))
    ready = program(parts(algorithm, env()))
    state, _ = ready.advance(ready.start(keys(2)), 2)
    ready.advance(state, 3, 2)
    ready.close()
    assert len(calls) == 1


def test_logged_data_are_handed_to_the_device_once():
    """What a compiled program is given is there already, so no call transfers it again."""
    want, data = (
        Samples(1, 1, 2, 8, 100, 10),
        Transition(**logged(), weight=np.ones(200), extras={}),
    )
    source = source_for(want, None, Data(data, CartPole().spec))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(source.ring))
    state, held = source.init(jax.random.key(0), ()), jax.tree.leaves(source.ring)
    source.collect(state, None, jax.random.key(1))
    again = jax.tree.leaves(source.ring)
    assert all(a is b for a, b in zip(held, again, strict=True)) and not jax.tree.leaves(state)
