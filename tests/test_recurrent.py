"""Policies that remember: cells against NumPy, resets at episode ends, and a maze that needs it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from twin import ALGORITHMS, Clock, HostClock, assert_same, copied, keys, parts, tiny

from spinward.core import MASK, Box, Dict, Discrete, MultiDiscrete, Spec, Transition, replace
from spinward.envs.t_maze import TMaze
from spinward.errors import SettingsError
from spinward.evaluation.episodes import Agents, evaluate
from spinward.learning.minibatches import run_epochs
from spinward.networks.recurrent import CELLS, MEMORY, RecurrentActorCritic
from spinward.programs.choose import program
from spinward.run.policy import TrainedPolicy

KEY = jax.random.key(0)
SPEC = Spec(Box((3,)), Discrete(2))
PPO = ALGORITHMS["ppo"]


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def lstm_twin(cell, features, memory):
    """Gate by gate, in double precision."""
    w, b, u = (np.asarray(x, np.float64) for x in (cell.inputs.w, cell.inputs.b, cell.w))
    h, c = memory
    n = h.shape[-1]

    def gate(i):
        part = slice(i * n, (i + 1) * n)
        return features @ w[:, part] + b[part] + h @ u[:, part]

    c = sigmoid(gate(1)) * c + sigmoid(gate(0)) * np.tanh(gate(2))
    return sigmoid(gate(3)) * np.tanh(c), c


def gru_twin(cell, features, memory):
    w, b, u = (np.asarray(x, np.float64) for x in (cell.inputs.w, cell.inputs.b, cell.w))
    (h,) = memory
    n = h.shape[-1]
    part = [slice(i * n, (i + 1) * n) for i in range(3)]
    reset = sigmoid(features @ w[:, part[0]] + b[part[0]] + h @ u[:, part[0]])
    update = sigmoid(features @ w[:, part[1]] + b[part[1]] + h @ u[:, part[1]])
    past = h @ u[:, part[2]] + np.asarray(cell.b, np.float64)
    candidate = np.tanh(features @ w[:, part[2]] + b[part[2]] + reset * past)
    return ((1 - update) * candidate + update * h,)


@pytest.mark.parametrize(("name", "twin"), [("lstm", lstm_twin), ("gru", gru_twin)])
def test_a_cell_is_its_equations_gate_by_gate(name, twin):
    random = np.random.default_rng(0)
    cell = CELLS[name].init(KEY, 5, 4)
    cell = jax.tree.map(lambda x: x + random.normal(size=x.shape).astype(np.float32), cell)
    ours, step = cell.memory(3), jax.jit(lambda x, memory: cell(cell.inputs(x), memory))
    theirs = jax.tree.map(lambda x: np.asarray(x, np.float64), ours)
    for _ in range(4):
        features = random.normal(size=(3, 5)).astype(np.float32)
        ours, theirs = step(features, ours), twin(cell, features, theirs)
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), ours, theirs)


def test_cells_start_orthogonal_and_an_lstm_starts_by_keeping():
    cell = CELLS["lstm"].init(KEY, 5, 4)
    for gate in np.split(np.asarray(cell.w), 4, 1):
        np.testing.assert_allclose(gate @ gate.T, np.eye(4), atol=1e-6)
    np.testing.assert_array_equal(cell.inputs.b, [0] * 4 + [1] * 4 + [0] * 8)


def sequence(model, steps=7, envs=3, ends=((2, 0), (4, 1), (6, 2))):
    """A batch as a source makes it, by acting step by step, and what was acted on.

    An environment's episode ends at each of `ends` (time, env), where the next observation is not
    the successor and the memory starts anew.
    """
    obs, after = jax.random.normal(KEY, (2, steps, envs, 3))
    done = np.zeros((steps, envs), bool)
    for at in ends:
        done[at] = True
    ahead = jnp.concatenate([obs[1:], after[-1:]])
    next_obs = jnp.where(done[..., None], after, ahead)
    memory = jax.tree.map(lambda m: m + 0.3, model.memory(envs))
    logits, values, memories = [], [], []

    @jax.jit
    def act(obs, next_obs, memory, done):
        policy, kept, extras = model.step(obs, memory)
        _, following, _ = model.step(next_obs, kept)
        values = model.value(kept), model.value(following)
        anew = jax.tree.map(lambda m: jnp.where(done[:, None], 0.0, m), kept)
        return policy.logits, values, extras[MEMORY], anew

    for t in range(steps):
        *found, remembered, memory = act(obs[t], next_obs[t], memory, done[t])
        for kept, x in zip((logits, values, memories), (*found, remembered), strict=True):
            kept.append(x)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *memories)
    rest, flags = jnp.zeros((steps, envs)), jnp.asarray(done)
    batch = Transition(obs, rest, rest, flags, ~flags & False, next_obs, rest + 1, {})
    value, next_value = (jnp.stack(x) for x in zip(*values, strict=True))
    return replace(batch, extras={MEMORY: stacked}), jnp.stack(logits), value, next_value


@pytest.mark.parametrize("cell", CELLS)
def test_reading_a_batch_is_acting_step_by_step_with_episode_borders_inside(cell):
    model = RecurrentActorCritic.init(KEY, SPEC, (8, 6), "tanh", cell)
    batch, logits, value, next_value = sequence(model)
    policy, found, successors = jax.jit(lambda b: model.unroll(b))(batch)
    np.testing.assert_allclose(policy.logits, logits, atol=1e-6)
    np.testing.assert_allclose(found, value, atol=1e-6)
    np.testing.assert_allclose(successors, next_value, atol=1e-6)
    inside = ~np.asarray(batch.done)[:-1]  # there the successor is what was acted on next
    np.testing.assert_allclose(successors[:-1][inside], found[1:][inside], atol=1e-6)
    assert (np.abs(successors[:-1] - found[1:])[~inside] > 1e-3).all()


@pytest.mark.parametrize("cell", CELLS)
def test_nothing_before_the_end_of_an_episode_has_an_effect_after_it(cell):
    model = RecurrentActorCritic.init(KEY, SPEC, (8, 6), "tanh", cell)
    batch, *_ = sequence(model, ends=((3, 0),))

    def values(obs, memory):
        extras = {MEMORY: jax.tree.map(lambda m: m.at[0].set(memory), batch.extras[MEMORY])}
        return model.unroll(replace(batch, obs=obs, extras=extras))[1]

    slopes = jax.jit(jax.jacobian(values, (0, 1)))(batch.obs, jnp.full((3, 6), 0.3))
    by_obs, by_memory = (np.abs(np.asarray(s)) for s in slopes)
    assert (by_obs[4:, 0, :4, 0] == 0).all() and (by_memory[4:, 0] == 0).all()
    assert (by_obs[4:, 1, :4, 1] > 0).all()  # the environment beside it did not end
    assert (by_obs[3, 0, :4, 0] > 0).any(-1).all()  # its last step still saw all of its episode
    assert (by_memory[3, 0, 0] > 0).any()
    changed = batch.obs.at[:4, 0].add(1.0)
    before, after = (jax.jit(values)(obs, 0.3) for obs in (batch.obs, changed))
    assert (before[4:] == after[4:]).all() and (before[:4, 0] != after[:4, 0]).all()


@pytest.mark.slow
def test_an_agent_with_a_memory_is_the_same_on_device_and_on_a_host():
    algorithm = tiny(PPO, recurrent="lstm", rollout=7, epochs=1, minibatches=1)
    here, there = (program(parts(algorithm, env())) for env in (Clock, HostClock))
    state, metrics = here.advance(here.start(keys(2)), 3)
    twin, measured = there.advance(there.start(keys(2)), 3)
    there.close()
    assert_same(copied(state.agent), copied(twin.agent), atol=2e-6)
    assert_same(copied(state.source.memory), copied(twin.source.memory), atol=2e-6)
    assert metrics["episodes"].sum() > 8
    for found in (metrics, measured):  # the memory that a batch began with is the one it acted on
        assert np.abs(found["approx_kl"]).max() < 1e-6
        assert (np.asarray(found["clip_fraction"]) == 0).all()


def test_minibatches_are_whole_sequences_of_some_environments():
    data = {"t": jnp.arange(5)[:, None] * jnp.ones((1, 6)), "e": jnp.arange(6) * jnp.ones((5, 1))}

    def step(state, part):
        return state, part

    _, seen = run_epochs(step, 0, data, KEY, 2, 3, sequential=True)
    assert seen["t"].shape == (6, 5, 2)
    assert (seen["t"] == jnp.arange(5)[:, None]).all()
    assert (seen["e"] == seen["e"][:, :1]).all()
    assert sorted(seen["e"][:3, 0].reshape(-1).tolist()) == list(range(6))
    with pytest.raises(SettingsError, match="minibatches=4 does not divide envs = 6"):
        run_epochs(step, 0, data, KEY, 2, 4, sequential=True)


def test_an_exported_policy_remembers_until_it_is_reset():
    algorithm = tiny(PPO, recurrent="gru", hidden=(8, 8))
    agent = algorithm.init(KEY, SPEC)
    policy = TrainedPolicy(algorithm, agent, SPEC)
    seen = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    memory = algorithm.memory(agent, 1)
    for obs in seen:
        action, memory, _ = algorithm.act(agent, obs[None], memory, KEY, explore=False)
        assert policy(obs) == action[0]
        assert_same(policy.memory, memory, atol=1e-6)
    policy.reset()
    assert_same(policy.memory, algorithm.memory(agent, 1))


@pytest.mark.parametrize("action", [MultiDiscrete((2, 3)), Box((2,), -1.0, 1.0)])
def test_a_memory_reads_images_vectors_and_masks_and_acts_in_every_space(action):
    image, mask = Box((10, 10, 4), 0.0, 1.0, "uint8"), Box((5,), 0.0, 1.0, "int8")
    obs_space = [("board", image), ("place", Box((3,)))]
    obs_space += [(MASK, mask)] if isinstance(action, MultiDiscrete) else []
    spec = Spec(Dict(tuple(obs_space)), action)
    model = RecurrentActorCritic.init(KEY, spec, (8,), "relu")
    obs = jax.tree.map(lambda x: jnp.asarray(x) + 1, spec.zeros(4))
    policy, memory, _ = model.step(obs, model.memory(4))
    assert policy.sample(KEY).shape == (4, 2)
    again, _, _ = model.step(obs, memory)
    assert (jax.tree.leaves(policy)[0] != jax.tree.leaves(again)[0]).any()


@pytest.mark.parametrize(
    ("settings", "spec", "said"),
    [
        ({"recurrent": "rnn"}, SPEC, "recurrent='rnn' must be one of lstm, gru"),
        ({"recurrent": "lstm", "hidden": ()}, SPEC, "must end with the width of the lstm"),
        ({"recurrent": "gru", "envs": 6, "minibatches": 4}, SPEC, "minibatches=4 does not divide"),
        ({"recurrent": "gru"}, replace(SPEC, resets=False), "says where episodes start anew"),
        ({"recurrent": "gru", "network": RecurrentActorCritic.init}, SPEC, "leave out network"),
    ],
    ids=["unknown", "no width", "minibatches", "no resets", "two networks"],
)
def test_a_memory_that_cannot_work_is_refused(settings, spec, said):
    with pytest.raises(SettingsError, match=said):
        tiny(PPO, **settings).check(spec)
    tiny(PPO, recurrent="lstm").check(SPEC)


@pytest.mark.parametrize("actions", range(4))
def test_any_policy_without_a_memory_earns_exactly_one_half_of_the_t_maze(actions):
    env, earned = TMaze(length=3), []
    for sign in (-1.0, 1.0):  # both are as likely
        state, _ = env.reset(KEY)
        state = replace(state, sign=jnp.float32(sign))
        for time in range(4):
            seen = env.seen(state)
            assert seen.tolist() == [sign if time == 0 else 0.0, float(time == 3)]
            action = (actions >> int(seen[1])) & 1  # by what is seen at the junction
            state, _, reward, terminated, truncated = env.step(state, action, KEY)
            assert bool(terminated) == (time == 3) and not truncated
            assert reward == 0 or time == 3
        earned.append(float(reward))
    assert sum(earned) / 2 == 0.5
    signs = jax.vmap(env.reset)(jax.random.split(KEY, 1000))[0].sign
    assert abs(signs.mean()) < 0.1


def test_an_lstm_learns_the_t_maze():
    algorithm = PPO(
        envs=16, rollout=32, lr=5e-3, minibatches=4, hidden=(16,), recurrent="lstm"
    )  # fmt: skip
    env = TMaze(length=5)
    run = program(parts(algorithm, env))
    state, _ = run.advance(run.start(keys(2)), 60)
    score = evaluate(Agents(algorithm, state.agent, env, 2), 100)
    assert score.per_seed.mean() > 0.9
