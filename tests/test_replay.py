"""Replay: images stored once, priorities, memory, and all of it saved and on a host."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from film import STACK, Film, HostFilm
from scipy import stats
from twin import ALGORITHMS, CLOCK, Clock, HostClock, assert_same, copied, keys, parts, tiny

from spinward.core import Box, Discrete, Policy, Spec, replace
from spinward.errors import SettingsError
from spinward.experience import replay_bytes as stored_bytes
from spinward.experience.layouts import StepLayout
from spinward.experience.priorities import FLOOR, Priorities, importance
from spinward.experience.rollout import Rollout
from spinward.programs.choose import program
from spinward.run.assemble import assemble
from spinward.run.experiment import Experiment
from spinward.store import checkpoint

ROWS, STEPS, ENVS = 24, 4, 3


def act(obs, memory, key):
    return (jax.random.uniform(key, (ENVS,)) < 0.3).astype(jnp.int32), memory, {}


POLICY = Policy(act, lambda envs: ())


@pytest.fixture(scope="module")
def films():
    """Draws from the same rows stored whole and image by image, after each of 39 batches."""
    source = Rollout(Film(), ENVS, STEPS)
    whole = StepLayout(72, STEPS, 2, 50, window=3)
    once = replace(whole, stack=STACK)

    @jax.jit
    def step(source_state, one, other, key):
        source_state, batch, _ = source.collect(source_state, POLICY, key)
        one, other = whole.write(one, batch), once.write(other, batch)
        drawn = whole.sample(one, key), once.sample(other, key)
        return source_state, one, other, drawn

    state = source.init(jax.random.key(0), ())
    _, batch, _ = source.collect(state, POLICY, jax.random.key(0))
    one, other, found = whole.empty(batch), once.empty(batch), []
    for i in range(40):
        state, one, other, drawn = step(state, one, other, jax.random.key(i))
        if i:
            found.append(copied(drawn))
    return found, other


def test_images_stored_once_are_those_stored_whole_across_seams_of_ring_and_episodes(films):
    ends = np.zeros(2, int)
    for whole, once in films[0]:
        alive = once.weight > 0
        assert alive.mean() > 0.3
        for name in ("obs", "next_obs", "action", "reward", "terminated", "truncated"):
            one, other = getattr(whole, name), getattr(once, name)
            assert one.dtype == other.dtype and one.shape == other.shape
            np.testing.assert_array_equal(one[alive], other[alive])
        ends += [(whole.terminated & alive).sum(), (whole.truncated & alive).sum()]
    assert (ends > 100).all()  # whose true successors were there


def test_steps_whose_images_were_overwritten_do_not_count(films):
    gone = 0
    for whole, once in films[0]:
        lost = (whole.obs != once.obs).any((-1, -2, -3)) | (whole.next_obs != once.next_obs).any(
            (-1, -2, -3)
        )
        assert (once.weight[lost] == 0).all()
        gone += lost.sum()
    assert gone > 0  # episodes of four steps take more images than there is room for


def test_a_million_frames_of_atari_fit_in_eight_gigabytes():
    spec = Spec(Box((84, 84, 4), 0, 255, "uint8"), Discrete(6), 8)
    assert stored_bytes.replay_bytes(spec, 125_000, 1, stack=4) < 8e9
    assert stored_bytes.replay_bytes(spec, 125_000, 1, stack=4, prioritised=True) < 8e9
    assert stored_bytes.replay_bytes(spec, 125_000, 1) > 56e9


@pytest.mark.parametrize(("stack", "prioritised"), [(1, False), (1, True), (STACK, True)])
def test_the_bytes_foretold_are_those_of_the_ring(stack, prioritised):
    layout = StepLayout(800, 4, 1, 4, stack=stack, prioritised=prioritised)
    source = Rollout(Film(), ENVS, 4)
    shapes = jax.eval_shape(
        lambda k: source.collect(source.init(k, ()), POLICY, k)[1], jax.random.key(0)
    )
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    held = sum(x.nbytes for x in jax.tree.leaves(layout.empty(zeros)))
    assert held == pytest.approx(
        stored_bytes.replay_bytes(source.spec, 800, 4, stack, prioritised), rel=0.01
    )


def test_a_ring_larger_than_memory_is_refused_with_the_numbers(monkeypatch):
    monkeypatch.setattr(stored_bytes, "machine_bytes", lambda: 4_000_000_000)
    spec = Spec(Box((84, 84, 4), 0, 255, "uint8"), Discrete(6))
    algorithm = ALGORITHMS["dqn"](capacity=1_000_000, stack=4)
    with pytest.raises(SettingsError, match=r"capacity=1000000 .* 7\.\d\d GB of 4\.0 GB"):
        require_ram(algorithm, 1_000_000, spec)
    require_ram(algorithm, 400_000, spec)
    with pytest.raises(SettingsError, match=r"3\.01 GB for each of 2 seeds"):
        require_ram(algorithm, 400_000, spec, 2)
    with pytest.raises(SettingsError, match="capacity=9000000 does not fit into memory"):
        assert assemble(Experiment(ALGORITHMS["dqn"](capacity=9 * 10**6), "Maze", 100)).parts


def require_ram(algorithm, capacity, spec, seeds=1):
    want = replace(algorithm, capacity=capacity).wants(spec)
    stored_bytes.require_ram(want, stored_bytes.wanted_bytes(want, spec), seeds)


def test_stacks_are_refused_where_there_are_no_images_or_no_history():
    with pytest.raises(SettingsError, match="stack=4 needs images"):
        tiny(ALGORITHMS["dqn"], stack=4).check(CLOCK)
    algorithm = tiny(ALGORITHMS["dqn"], stack=STACK, hidden=(700, 700))
    with pytest.raises(SettingsError, match=r"stack=3 .* not a history of images"):
        program(parts(algorithm, HostFilm(broken=True))).start(keys(1))


@pytest.mark.parametrize("leaves", [1, 5, 32, 33, 1000, 40_000])
def test_a_tree_of_sums_draws_in_proportion_and_nothing_of_no_weight(leaves):
    random = np.random.default_rng(leaves)
    values = np.where(random.random(leaves) < 0.3, 0.0, random.random(leaves) ** 4)
    values[-1] = 1.0
    tree = Priorities.init(leaves).put(jnp.arange(leaves), jnp.asarray(values, jnp.float32))
    assert [level.sum() for level in tree.levels] == [pytest.approx(values.sum(), rel=1e-5)] * len(
        tree.levels
    )
    index, probability = map(np.asarray, tree.draw(jax.random.key(0), 100, 500))
    assert index.shape == (100, 500) and index.max() < leaves and (values[index] > 0).all()
    np.testing.assert_allclose(probability, values[index] / values.sum(), rtol=1e-5)
    expected = 50_000 * values / values.sum()
    common = expected > 20
    counts = np.bincount(index.reshape(-1), minlength=leaves)
    if common.sum() > 1:
        chance = stats.chisquare(counts[common], expected[common] * counts[common].sum()
                                 / expected[common].sum()).pvalue  # fmt: skip
        assert chance > 1e-3


def test_a_leaf_that_is_put_twice_has_the_larger_and_one_beyond_is_heeded_by_none():
    tree = Priorities.init(40).put(jnp.array([3, 3, 39, 64]), jnp.array([2.0, 1.0, 4.0, 9.0]))
    assert tree.levels[0][3] == 2.0 and tree.levels[0].sum() == 6.0
    np.testing.assert_array_equal(tree.levels[1][:3], [2.0, 4.0, 0.0])
    tree = tree.put(jnp.array([3]), jnp.array([0.5]))
    np.testing.assert_array_equal(tree.levels[1][:3], [0.5, 4.0, 0.0])


def test_importance_is_the_formula_of_the_paper():
    probability = jnp.array([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]])
    found = importance(probability, 10, 0.4)
    raw = (10 * np.asarray(probability)) ** -0.4
    np.testing.assert_allclose(found, raw / raw.max(1, keepdims=True), rtol=1e-6)
    np.testing.assert_array_equal(importance(probability, 10, 0.0), np.ones((2, 3)))


@pytest.mark.parametrize("window", [1, 3])
def test_what_can_be_drawn_by_priority_is_what_can_be_drawn_uniformly(window):
    layout = StepLayout(ROWS, STEPS, 1, 300, window, prioritised=True)
    source = Rollout(Clock(), ENVS, STEPS)
    state = source.init(jax.random.key(0), ())
    _, batch, _ = source.collect(state, POLICY, jax.random.key(0))
    step = jax.jit(layout.write)
    ring = layout.empty(batch)
    for i in range(1, 16):
        ring = step(ring, batch)
        rows = STEPS * i
        held = min(rows, ROWS - STEPS)
        starts = np.arange(rows - held, rows - window + 1) % ROWS
        expected = np.zeros((ROWS, ENVS))
        expected[starts] = 1.0
        leaves = np.asarray(ring.priorities.levels[0])
        np.testing.assert_array_equal(leaves[: ROWS * ENVS].reshape(ROWS, ENVS), expected)


def test_priorities_are_powers_of_errors_but_for_what_is_overwritten_next():
    layout = StepLayout(ROWS, STEPS, 1, 40, prioritised=True, alpha=0.7)
    source = Rollout(Clock(), ENVS, STEPS)
    state = source.init(jax.random.key(0), ())
    _, batch, _ = source.collect(state, POLICY, jax.random.key(0))
    ring = layout.empty(batch)
    step = jax.jit(layout.write)
    for _ in range(7):
        before, ring = ring, step(ring, batch)
    drawn = jax.jit(layout.sample)(before, jax.random.key(0))
    error = jnp.linspace(-3.0, 3.0, 40)[None]
    weight = drawn.weight.at[0, 0, 0].set(0.0)
    index = np.asarray(drawn.extras["index"])
    drawn = replace(drawn, weight=weight)
    told = jax.jit(layout.update_priorities)(ring, drawn, error).priorities
    after = np.asarray(told.levels[0])
    assert told.top == pytest.approx((3.0 + FLOOR) ** 0.7)
    expected = np.array(ring.priorities.levels[0])
    following = (ring.rows % ROWS + np.arange(STEPS)) % ROWS
    tells = {}
    for i, e, w in zip(index[0], np.asarray(error[0]), np.asarray(weight[0, 0]), strict=True):
        tells.setdefault(i, []).append((abs(e) + FLOOR) ** 0.7 if w else 0.0)
    for i, values in tells.items():
        if i // ENVS not in following:
            expected[i] = max(values)
    assert any(i // ENVS in following for i in tells)
    np.testing.assert_allclose(after, expected, rtol=1e-5)


OPTIONS = {
    "prioritised": {"prioritised": True, "n_step": 3},
    "both": {"stack": STACK, "prioritised": True},
}


@pytest.mark.parametrize("name", ["prioritised", pytest.param("both", marks=pytest.mark.slow)])
def test_an_agent_is_the_same_on_device_and_on_a_host_however_it_replays(name):
    algorithm = tiny(ALGORITHMS["dqn"], rollout=2, warmup=32, **OPTIONS[name])
    if algorithm.stack == 1:
        here, there = program(parts(algorithm, Clock())), program(parts(algorithm, HostClock()))
    else:
        here, there = program(parts(algorithm, Film())), program(parts(algorithm, HostFilm()))
    state, metrics = here.advance(here.start(keys(2)), 20)
    twin, measured = there.advance(there.start(keys(2)), 20)
    there.close()
    assert_same(copied(state.agent), copied(twin.agent), atol=2e-5)
    np.testing.assert_allclose(metrics["loss"], measured["loss"], atol=1e-4)
    if algorithm.prioritised:
        leaves, twins = state.source.priorities.levels[0], twin.source.priorities.levels[0]
        np.testing.assert_allclose(leaves, twins, atol=1e-3)
        assert len(np.unique(np.asarray(leaves).round(4))) > 10


def test_a_ring_of_images_and_priorities_goes_on_to_the_same_bits(tmp_path):
    made = program(parts(tiny(ALGORITHMS["dqn"], **OPTIONS["both"]), Film()))
    state, _ = made.advance(made.start(keys(2)), 10)
    kept = copied(state)
    path = checkpoint.save(tmp_path, 1, kept, {})
    whole, _ = made.advance(state, 10)
    fresh = made.fresh(keys(2))
    saved, _ = checkpoint.load(path, fresh)
    again, _ = made.advance(made.reopen(saved, fresh), 10)
    assert_same(copied(whole), copied(again))
