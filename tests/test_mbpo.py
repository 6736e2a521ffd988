"""Samples as data for a fit, imagined steps by random members, and SAC on both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from twin import ALGORITHMS, assert_same, tiny

from spinward.core import Box, Spec, Transition, replace
from spinward.envs.cartpole import CartPole
from spinward.errors import SettingsError
from spinward.experiments.few_steps import steps_to
from spinward.faults import in_metrics
from spinward.learning.steps import Learner, adam
from spinward.models.branched import EnsembleWorld, ImaginedSteps, branched
from spinward.models.diagnostics import (
    coverage,
    disagreement,
    member_errors,
    open_loop_error,
    or_diverged,
)
from spinward.models.dynamics import Dynamics, VectorScale
from spinward.models.ending import EndClassifier, fit_end
from spinward.models.fitting import HELD_OUT
from spinward.models.sampled import SampledSteps, is_held_out
from spinward.presets.choice import preset
from spinward.run.run import train
from spinward.structs import shared
from spinward.trees import finite

MBPO, SAC = ALGORITHMS["mbpo"], ALGORITHMS["sac"]
SPEC = Spec(Box((2,)), Box((1,), -1.0, 1.0))


def transitions(*leading, seed=0, terminated=0.1):
    random = np.random.default_rng(seed)
    obs = random.normal(size=(*leading, 2)).astype(np.float32)
    action = random.uniform(-1, 1, (*leading, 1)).astype(np.float32)
    ends = random.random(leading) < terminated
    reward = random.normal(size=leading).astype(np.float32)
    next_obs = (obs + random.normal(size=obs.shape)).astype(np.float32)
    fields = obs, action, reward, ends, ~np.ones_like(ends), next_obs, np.ones_like(reward)
    return Transition(*map(jnp.asarray, fields), {})


def shifting(shifts):
    """Models that add so much to every observation, and are sure of it; the reward is the shift."""
    model = Dynamics.init(jax.random.key(0), len(shifts), 2, 1, ())
    layer = model.members.layers.layers[0]
    means = jnp.repeat(jnp.asarray(shifts, jnp.float32)[:, None], 3, 1)
    b = jnp.concatenate([means, jnp.full_like(means, -40.0)], 1)
    layers = replace(model.members.layers, layers=(replace(layer, w=0 * layer.w, b=b),))
    low = jnp.full_like(means, -40.0)
    return replace(model, members=replace(model.members, layers=layers, least=low))


def world(shifts, elites, **given):
    return EnsembleWorld(shifting(shifts), jnp.array(elites), (), SPEC, **given)


def test_with_real_samples_alone_it_is_sac():
    mbpo = tiny(MBPO, real=8)
    sac = shared(SAC, mbpo)
    assert sac.batch == 8 and sac.lr == mbpo.lr and sac.hidden == mbpo.hidden
    batches = transitions(2, 2, 8)
    agent = mbpo.init(jax.random.key(0), SPEC)
    mine, told = jax.jit(mbpo.update)(agent, batches, jax.random.key(1))
    theirs, expected = jax.jit(sac.update)(
        agent.base, jax.tree.map(lambda x: x[:, :1], batches), jax.random.key(1)
    )
    assert_same(mine.base, theirs, 1e-6)  # two programs round differently
    assert_same({k: told[k] for k in expected}, expected, 1e-5)


@pytest.mark.slow
def test_most_samples_are_imagined_otherwise():
    """A world whose reward is 5 makes values that real rewards of 0 would not."""
    mbpo = tiny(MBPO, real=2, batch=100)
    batches = replace(transitions(1, 2, 2), reward=jnp.zeros((1, 2, 2)))
    agent = mbpo.init(jax.random.key(0), SPEC)
    seen = {}

    def look(self, base, batch, key):
        seen["batch"] = batch
        return base, {"loss": jnp.float32(0.0)}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SAC, "improved", look)
        patch.setattr("spinward.learning.critics.jax.lax.scan", one_by_one)
        agent, _ = mbpo.update(agent, batches, jax.random.key(1))
    batch = seen["batch"]
    assert batch.reward.shape == (1, 100) and batch.obs.shape == (1, 100, 2)
    np.testing.assert_array_equal(batch.obs[0, :2], batches.obs[0, 0])
    stored = {tuple(x) for x in np.asarray(agent.imagined.next_obs[:4]).tolist()}
    assert {tuple(x) for x in np.asarray(batch.next_obs[0, 2:]).tolist()} == stored
    begun = {tuple(x) for x in np.asarray(batches.obs).reshape(-1, 2).tolist()}
    assert {tuple(x) for x in np.asarray(batch.obs[0, 2:]).tolist()} <= begun


def one_by_one(step, carry, xs):
    """The scan of the gradient steps, of which there is one."""
    carry, out = step(carry, jax.tree.map(lambda x: x[0], xs))
    return carry, jax.tree.map(lambda x: x[None], out)


def test_a_step_is_held_out_wherever_it_is_sampled():
    batch = transitions(2000)
    again = jax.tree.map(lambda x: jnp.concatenate([x[1000:], x[:1500]]), batch)
    one, other = SampledSteps.of(batch), SampledSteps.of(again)

    def held(steps):
        rows = np.asarray(steps.order[: int(steps.held)])
        return {tuple(x) for x in np.asarray(steps.obs)[rows].tolist()}

    assert held(one) == held(other)
    assert int(one.known) == 2000
    assert abs(int(one.held) - 2000 / HELD_OUT) < 60
    sampled = np.asarray(one.sample(jax.random.key(0), (5000,)))
    assert not {tuple(x) for x in np.asarray(one.obs)[sampled].tolist()} & held(one)
    assert len(np.unique(sampled)) > 1400  # of the 1,600 others
    inputs, _, known = one.held_out()
    assert int(known.sum()) == int(one.held)
    assert {tuple(x[:2]) for x in np.asarray(inputs)[known > 0].tolist()} == held(one)


def test_rounding_does_not_decide_what_is_held_out():
    batch = transitions(2000)
    rounded = replace(batch, next_obs=batch.next_obs * (1 + 2e-7))
    assert (batch.next_obs != rounded.next_obs).mean() > 0.5
    held, as_rounded = is_held_out(batch.next_obs), is_held_out(rounded.next_obs)
    assert (held == as_rounded).mean() > 0.99 and 0.15 < held.mean() < 0.25


def test_steps_that_did_not_happen_are_no_data():
    batch = replace(transitions(400), weight=jnp.asarray(np.arange(400) < 100, jnp.float32))
    steps = SampledSteps.of(batch)
    assert int(steps.known) == 100
    assert int(steps.sample(jax.random.key(0), (1000,)).max()) < 100
    seen = {tuple(x) for x in np.asarray(steps.starts(jax.random.key(1), 500)).tolist()}
    assert seen <= {tuple(x) for x in np.asarray(batch.obs[:100]).tolist()} and len(seen) > 80
    assert int(steps.everything()[2].sum()) == 100


def test_each_imagined_step_is_of_a_random_elite():
    dream = world([1.0, 10.0, 100.0, 1000.0], [3, 0, 1])
    obs = jnp.asarray(np.random.default_rng(0).normal(size=(300, 2)), jnp.float32)
    members = []
    for seed in range(2):
        next_obs, reward, ends = dream.step(obs, jnp.zeros((300, 1)), jax.random.key(seed))
        np.testing.assert_allclose(next_obs - obs, jnp.stack([reward] * 2, 1), atol=2e-4)
        assert not ends.any()
        members.append(np.round(np.asarray(reward)).astype(int))
        values, counts = np.unique(members[-1], return_counts=True)
        assert values.tolist() == [1, 10, 1000] and counts.tolist() == [100] * 3
    same = (members[0] == members[1]).mean()
    assert 0.2 < same < 0.47  # a third, for members of two steps are independent


def test_a_branch_follows_its_own_states_until_it_ends():
    dream = world([1.0], [0], terminal=lambda obs: obs[..., 0] > 2.5)
    starts = jnp.array([[0.0, 0.0], [1.0, 5.0]])
    ring = ImaginedSteps.init(SPEC, 8)
    run = jax.jit(lambda steps: branched(dream, act, starts, steps, ring, jax.random.key(0)))
    ring, told = run(4)
    assert int(ring.count) == 5 == int(told["imagined_steps"])
    assert float(told["imagined_reward"]) == pytest.approx(1.0, abs=1e-5)
    first = np.round(np.asarray(ring.obs[:5, 0])).tolist()
    np.testing.assert_allclose(ring.next_obs[:5], ring.obs[:5] + 1, atol=1e-5)
    assert first == [0, 1, 1, 2, 2]
    assert ring.terminated[:5].tolist() == [False, False, False, True, True]
    assert int(run(1)[0].count) == 2


def act(obs, key):
    return jnp.zeros((obs.shape[0], 1))


def test_only_the_newest_imagined_steps_are_sampled():
    ring = ImaginedSteps.init(SPEC, 6)
    for first in (0.0, 4.0):
        x = first + jnp.arange(4.0)
        obs = jnp.stack([x, x], 1)
        ring = ring.add(obs, x[:, None], x, obs, x > 100, jnp.ones(4, bool))
    assert ring.reward.tolist() == [6, 7, 2, 3, 4, 5]
    drawn = [ring.sample(jax.random.key(0), 200, jnp.int32(n)) for n in (3, 50)]
    assert [set(np.asarray(b.reward).tolist()) for b in drawn] == [{5, 6, 7}, set(range(2, 8))]
    assert all((b.weight == 1).all() and not b.truncated.any() for b in drawn)
    np.testing.assert_array_equal(drawn[0].obs[:, 0], drawn[0].reward)


def test_ends_are_learned_from_what_is_seen_and_done():
    batch = transitions(4000)
    batch = replace(batch, terminated=batch.next_obs[:, 0] > 1.0)
    steps, model = SampledSteps.of(batch), shifting([0.0])
    scale = VectorScale.of(steps.everything()[0], steps.weight)
    model = replace(model, inputs=scale)
    learner = Learner.init(EndClassifier.init(jax.random.key(0), 2, 1, (32,)), adam(3e-3))
    learner, told = jax.jit(
        lambda learner: fit_end(learner, model, steps, jax.random.key(1), adam(3e-3), 128, 600)
    )(learner)
    test = transitions(1000, seed=5)
    dream = EnsembleWorld(model, jnp.array([0]), learner.model, SPEC)
    found = dream.end_probability(test.obs, test.action, test.next_obs) > 0.5
    assert (found == (test.next_obs[:, 0] > 1.0)).mean() > 0.97
    assert told["end_loss"] < 0.15


def test_an_error_of_one_step_adds_up_over_several():
    windows = jax.tree.map(lambda x: x[:, None], transitions(4, terminated=0.0))
    chain = jnp.cumsum(jnp.concatenate([windows.obs[:1], jnp.ones((4, 1, 2))]), 0)
    windows = replace(windows, obs=chain[:-1], next_obs=chain[1:])
    model = replace(shifting([1.5, 0.5]), inputs=VectorScale(jnp.zeros(3), jnp.full(3, 2.0)))
    np.testing.assert_allclose(open_loop_error(model, windows), [0.25, 0.5, 0.75, 1.0], rtol=1e-5)
    broken = replace(windows, truncated=jnp.array([[False], [True], [False], [False]]))
    np.testing.assert_allclose(open_loop_error(model, broken), [0.25, 0.5, 0.0, 0.0], rtol=1e-5)
    apart = disagreement(model, windows.obs[0], windows.action[0])
    np.testing.assert_allclose(apart, [0.5], rtol=1e-5)


def test_coverage_and_errors_of_members_are_those_of_held_out_steps():
    batch = transitions(5000)  # the change and the reward are standard normal
    model = shifting([0.0, 0.0, 3.0])
    b = model.members.layers.layers[0].b
    layer = replace(model.members.layers.layers[0], b=b.at[:, 3:].set(0.0))
    members = replace(model.members, layers=replace(model.members.layers, layers=(layer,)),
                      most=jnp.full((3, 3), 40.0))  # fmt: skip
    steps, model = SampledSteps.of(batch), replace(model, members=members)
    errors = np.asarray(member_errors(model, steps))
    np.testing.assert_allclose(errors, [1.0, 1.0, 10.0], rtol=0.07)
    sure = replace(model, members=jax.tree.map(lambda x: x[:2], members))
    assert float(coverage(sure, steps)) == pytest.approx(0.9, abs=0.02)
    assert float(coverage(model, steps)) < 0.7


def test_a_model_that_diverges_ends_the_run_and_is_named():
    """Its weights are spoilt, and so large a step size leaves them so."""
    mbpo = tiny(MBPO, model_lr=1e6)
    agent, batches = mbpo.init(jax.random.key(0), SPEC), transitions(2, 2, 8)
    wild = jax.tree.map(lambda x: 1e3 * (1 + x), agent.learner.model.layers)
    members = replace(agent.learner.model, layers=wild)
    agent = replace(agent, learner=replace(agent.learner, model=members))
    _, told = jax.jit(mbpo.update)(agent, batches, jax.random.key(1))
    assert "model_error" in in_metrics(told)
    assert not finite(told["model_error"])
    assert float(or_diverged(jnp.float32(99.0))) == 99.0


@pytest.mark.parametrize(
    ("settings", "spec", "said"),
    [
        ({}, CartPole().spec, "needs continuous actions"),
        ({}, Spec(Box((8, 8, 3)), SPEC.action), "models vectors"),
        ({"real": 9}, SPEC, "real=9 must be from 1 to batch=8"),
        ({"elites": 3}, SPEC, "elites=3 must be from 1 to models=2"),
        ({"imagined": 5}, SPEC, "imagined=5 is no multiple of elites=2"),
        ({"window": 5}, SPEC, "window=5 is more than the steps"),
    ],
)
def test_what_cannot_work_is_refused(settings, spec, said):
    with pytest.raises(SettingsError, match=said):
        tiny(MBPO, **settings).check(spec)


@pytest.mark.slow
def test_pendulum_is_learned_in_three_thousand_steps(tmp_path):
    settings, _ = preset(MBPO, "Pendulum-v1", 3000)
    run = train(MBPO(**settings), "Pendulum-v1", 3000, 2, out=tmp_path, name="pendulum")
    greedy = run.evaluate(20).returns.mean(1)
    assert greedy.min() > -250.0


def test_a_return_is_reached_where_five_episodes_have_it_on_average():
    returns = np.array([
        [-900.0, -100.0, np.nan, -200.0, -200.0, -200.0, -100.0, -100.0],
        [-900.0, -900.0, -900.0, -900.0, -900.0, -900.0, -100.0, -100.0],
        [np.nan, np.nan, np.nan, np.nan, -1.0, -1.0, -1.0, -1.0],
    ])  # fmt: skip
    found = steps_to(np.arange(1, 9) * 200, returns, -160.0)
    np.testing.assert_array_equal(found, [1400.0, np.nan, np.nan])
