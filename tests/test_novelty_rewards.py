"""Bonuses for what is new: counts that add up, and errors that fall where one has been."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from twin import ALGORITHMS, assert_same, copied, keys, parts, tiny

from spinward.algorithms.ppo import PPO
from spinward.core import Box, Context, Dict, Discrete, Spec, Transition, replace
from spinward.envs.finite import Finite, mdp_of
from spinward.errors import SettingsError
from spinward.experience.material import source_for
from spinward.loop import Parts
from spinward.networks.distillation import Distillation, Whitener, distance
from spinward.programs.choose import program
from spinward.rewards.count import Count
from spinward.rewards.rnd import RND
from spinward.targets.returns import outlasting

KEY = jax.random.key(0)
TIME, ENVS, STATES = 32, 8, 6
SPEC = Spec(Box((STATES,)), Discrete(2), ENVS)


def walked(time=TIME, envs=ENVS, done=0.1, seed=0):
    """Random visits of a few states, as a rollout [time, env]."""
    random = np.random.default_rng(seed)
    at = random.integers(STATES, size=(time, envs))
    obs = jnp.asarray(np.eye(STATES, dtype=np.float32)[at])
    over = jnp.asarray(random.random((time, envs)) < done)
    reward = jnp.asarray(random.normal(size=(time, envs)).astype(np.float32))
    weight = jnp.ones((time, envs))
    return at, Transition(obs, reward, reward, over, ~over & False, obs, weight, {})


@pytest.fixture(scope="module")
def counted():
    """Counting compiled once, for any beta."""
    return jax.jit(lambda count, state, batch: count.label(state, batch, KEY))


def test_counts_of_rollouts_add_up_and_each_bonus_is_of_the_count_after_the_visit(counted):
    at, batch = walked()
    count = Count(beta=0.5, gamma=0.0)
    state, labelled, metrics = counted(count, count.init(KEY, SPEC), batch)
    assert state.table.sum() == TIME * ENVS
    seen, wanted = np.zeros(STATES), np.zeros((TIME, ENVS))
    for t in range(TIME):  # two environments in one place in one step both count
        np.add.at(seen, at[t], 1)
        wanted[t] = seen[at[t]] ** -0.5
    np.testing.assert_array_equal(np.sort(state.table[state.table > 0]), np.sort(seen))
    np.testing.assert_allclose(labelled.extras["bonus"], wanted, rtol=1e-6)
    np.testing.assert_allclose(labelled.reward, batch.reward + 0.5 * wanted, rtol=1e-5)
    assert_same(labelled.extras["env_reward"], batch.reward)
    np.testing.assert_allclose(metrics["bonus"], wanted.mean(), rtol=1e-5)


def test_environments_side_by_side_count_as_the_same_steps_one_by_one(counted):
    _, batch = walked()
    one = jax.tree.map(lambda x: x.reshape(-1, 1, *x.shape[2:]), batch)
    count = Count()
    together = counted(count, count.init(KEY, SPEC), batch)[0]
    alone = counted(count, count.init(KEY, replace(SPEC, envs=1)), one)[0]
    assert_same(together.table, alone.table)


def test_a_lost_step_is_not_counted_and_beta_falls_with_each_batch(counted):
    _, batch = walked()
    batch = replace(batch, weight=batch.weight.at[3].set(0.0))
    count = Count(beta=1.0, kappa=0.5)
    state = count.init(KEY, SPEC)
    coefs = []
    for _ in range(3):
        state, labelled, metrics = counted(count, state, batch)
        coefs.append(float(metrics["bonus_coef"]))
    assert state.table.sum() == 3 * (TIME - 1) * ENVS and coefs == [1.0, 0.5, 0.25]
    assert not labelled.extras["bonus"][3].any()


def test_episodic_counts_start_anew_with_each_episode_across_batches(counted):
    at, batch = walked(2 * TIME)
    count = Count(episodic=True, horizon=2 * TIME)
    state, bonus = count.init(KEY, SPEC), []
    for half in (slice(0, TIME), slice(TIME, None)):
        part = jax.tree.map(lambda x, half=half: x[half], batch)
        state, labelled, _ = counted(count, state, part)
        bonus.append(labelled.extras["bonus"])
    seen = np.zeros((ENVS, STATES))
    for t, e in np.ndindex(2 * TIME, ENVS):
        seen[e, at[t, e]] += 1
        assert np.concatenate(bonus)[t, e] == pytest.approx(seen[e, at[t, e]] ** -0.5)
        if batch.done[t, e]:
            seen[e] = 0


def test_signs_of_projections_count_what_is_alike_as_one(counted):
    count = Count(bits=16)
    _, batch = walked(envs=1)
    scaled = replace(batch, next_obs=batch.next_obs * jnp.arange(1, TIME + 1)[:, None, None])
    state = count.init(KEY, replace(SPEC, envs=1))
    assert_same(counted(count, state, scaled)[0].table, counted(count, state, batch)[0].table)
    exact = replace(count, bits=0)
    found = counted(exact, exact.init(KEY, replace(SPEC, envs=1)), scaled)[0].table
    assert (found > 0).sum() > STATES


def test_episodic_counts_refuse_a_replay():
    _, batch = walked()
    drawn = jax.tree.map(lambda x: x[None], batch)
    count = Count(episodic=True)
    with pytest.raises(SettingsError, match="episodic=True"):
        count.label(count.init(KEY, SPEC), drawn, KEY, Context(replayed=True))


@pytest.mark.parametrize(
    ("name", "reward"), [("ppo", RND(width=8, outputs=4)), ("dqn", Count())], ids=["rnd", "count"]
)
def test_a_bonus_serves_an_algorithm_on_rollouts_and_one_on_replay(name, reward):
    both = parts(tiny(ALGORITHMS[name]))._replace(reward=reward)
    running = program(both)
    _, metrics = running.advance(running.start(keys(2)), 6)
    assert metrics["finite"].all() and (metrics["bonus"][:, -1] > 0).all()


def test_with_beta_0_learning_is_the_same_to_the_bit():
    both = parts(tiny(ALGORITHMS["ppo"]))
    agents = []
    for reward in (both.reward, Count(beta=0.0)):
        running = program(both._replace(reward=reward))
        agents.append(copied(running.advance(running.start(keys(1)), 3)[0].agent))
    assert_same(*agents)


MIXED = Spec(
    Dict((("picture", Box((5, 5, 2), 0, 255, "uint8")), ("place", Box((3,))))), Discrete(2), ENVS
)


def test_whitening_has_mean_0_and_deviation_1_in_every_pixel_and_number():
    random = np.random.default_rng(0)
    obs = {
        "picture": jnp.asarray(random.integers(0, 255, (64, 4, 5, 5, 2)), jnp.uint8),
        "place": jnp.asarray(7.0 + 3.0 * random.normal(size=(64, 4, 3)), jnp.float32),
    }
    scaled = Whitener.init(MIXED).add(obs, jnp.ones((64, 4)))(obs)
    for x in scaled.values():
        np.testing.assert_allclose(x.mean((0, 1)), 0.0, atol=0.02)
        np.testing.assert_allclose(x.std((0, 1)), 1.0, atol=0.02)
    nets = jax.eval_shape(lambda key: Distillation.init(key, MIXED, 8, 4), KEY)
    assert jax.eval_shape(lambda n, o: distance(n.predictor, n.target, o), nets, scaled).shape == (
        64,
        4,
    )


def test_the_error_falls_where_it_was_trained_and_stays_elsewhere_and_the_target_stays_put():
    spec = Spec(Box((8,)), Discrete(2), 16)
    rnd = RND(lr=1e-3, width=32, outputs=16, share=1.0)
    states = jnp.tile(jnp.eye(8)[None], (1, 2, 1))  # the first half of them are known
    known, other = states.at[:, :, 4:].set(0.0), states[:, 4:8]
    flag = jnp.zeros((1, 16), bool)
    batch = Transition(known, 0.0, jnp.zeros((1, 16)), flag, flag, known, jnp.ones((1, 16)), {})
    start = rnd.init(KEY, spec)

    @jax.jit
    def trained(state):
        return jax.lax.scan(lambda s, _: (rnd.label(s, batch, KEY)[0], None), state, length=1000)[0]

    after = trained(start)

    def error(model, obs):
        return float(distance(model, start.target, after.whitener(obs)).mean())

    before = start.predictor.model, after.predictor.model
    assert error(before[1], known) < 0.1 * error(before[0], known)
    assert error(before[1], other) > 0.5 * error(before[0], other)
    assert_same(after.target, start.target)


def test_no_gradient_reaches_the_target_and_a_predictor_that_is_it_has_no_error():
    nets = Distillation.init(KEY, SPEC, 8, 4)
    obs = jax.random.normal(KEY, (5, STATES))
    assert not distance(nets.target, nets.target, obs).any()
    gradient = jax.grad(lambda t: distance(nets.predictor, t, obs).sum())(nets.target)
    assert not any(x.any() for x in jax.tree.leaves(gradient))


def test_the_bonus_does_not_depend_on_the_scale_of_the_errors():
    """Errors a hundred times as large give the same bonus, divided by its standard deviation."""
    rnd = RND(width=8, outputs=4, quiet=0)
    _, batch = walked()
    state = rnd.init(KEY, SPEC)

    def larger(model):
        last = model.layers.layers[-1]
        grown = replace(last, w=10 * last.w, b=10 * last.b)
        return replace(
            model, layers=replace(model.layers, layers=(*model.layers.layers[:-1], grown))
        )

    both = replace(
        state,
        target=larger(state.target),
        predictor=replace(state.predictor, model=larger(state.predictor.model)),
    )
    label = jax.jit(lambda state: rnd.label(state, batch, KEY)[1].extras["bonus"])
    np.testing.assert_allclose(label(both), label(state), rtol=1e-3)


def test_a_step_that_terminates_is_paid_the_mean_bonus_for_good_and_no_other_step_is():
    _, batch = walked(2, 2)
    no, lost = jnp.zeros((2, 2), bool), jnp.array([[1.0, 1.0], [1.0, 0.0]])
    batch = replace(batch, terminated=no.at[0].set(True), truncated=no.at[1, 0].set(True))
    batch = replace(batch, weight=lost)
    paid = outlasting(jnp.array([[1.0, 2.0], [3.0, 0.0]]), batch, 0.75)
    np.testing.assert_allclose(paid, [[1.0 + 3 * 2.0, 2.0 + 3 * 2.0], [3.0, 0.0]])
    with pytest.raises(SettingsError, match="gamma=1"):
        Count(gamma=1.0).init(KEY, SPEC)


def row_of_states(states=10):
    """Right along a row or back to its start; 1 for coming to its end, which is the end of it."""
    moves, reward = np.zeros((states, 2, states)), np.zeros((states, 2))
    moves[:, 0, 0], moves[-1, 1, -1], reward[-2, 1] = 1.0, 1.0, 1.0
    moves[np.arange(states - 1), 1, np.arange(1, states)] = 1.0
    return Finite(mdp_of(moves, reward, np.eye(states)[0], np.arange(states) == states - 1), 20)


@pytest.mark.slow
@pytest.mark.parametrize(
    "bonus",
    [Count(beta=0.1, episodic=True, horizon=20), RND(beta=1.0, width=16, outputs=8, quiet=2)],
    ids=["count", "rnd"],
)
def test_ppo_crosses_a_chain_by_a_bonus_unless_the_end_of_an_episode_cuts_it(bonus):
    """Chance crosses it once in 512 tries; a life that goes on is paid more than the goal pays."""
    ppo = PPO(envs=8, rollout=32, lr=2e-3, hidden=(16,))
    crossed = []
    for gamma in (0.0, 0.99):
        source = source_for(ppo.wants(None), row_of_states())
        running = program(Parts(ppo, source, replace(bonus, gamma=gamma)))
        _, metrics = running.advance(running.start(keys(3)), 100)
        late = {name: np.asarray(metrics[name][:, -25:]) for name in ("episodes", "episode_return")}
        crossed.append(
            np.nansum(late["episodes"] * late["episode_return"]) / late["episodes"].sum()
        )
    assert crossed[0] < 0.2 and crossed[1] > 0.9
