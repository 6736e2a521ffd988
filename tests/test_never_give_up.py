"""Recurrent Q-learning from sequences, and what moves Never Give Up: memories and bonuses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from twin import ALGORITHMS, Clock, HostClock, copied, keys, parts, tiny

from spinward.algorithms.r2d2 import rows_of
from spinward.core import Box, Discrete, Policy, Spec, Transition, replace
from spinward.envs.pendulum import Pendulum
from spinward.envs.t_maze import TMaze
from spinward.errors import SettingsError
from spinward.evaluation.episodes import Agents, evaluate
from spinward.experience.layouts import SequenceLayout
from spinward.experience.replay import Replay
from spinward.experience.rollout import Rollout
from spinward.networks.controllable import Controllable, inverse_losses
from spinward.networks.episodic import Episodic, episodic_novelty
from spinward.networks.recurrent import MEMORY, REWARD
from spinward.networks.recurrent_q import CONTEXT, RecurrentQ, part
from spinward.networks.running import Running
from spinward.programs.choose import program
from spinward.run.policy import TrainedPolicy as Alone
from spinward.targets.family import betas, gammas
from spinward.targets.retrace import squashed

KEY = jax.random.key(0)
SPEC = Spec(Box((3,)), Discrete(2))
NGU, R2D2 = ALGORITHMS["ngu"], ALGORITHMS["r2d2"]
TINY = {"policies": 2, "memories": 16, "neighbours": 3, "novelty_width": 8, "embedding": 4,
        "beta": 0.3, "gamma": 0.997, "gamma_min": 0.99}  # fmt: skip


# -- sequences ------------------------------------------------------------------------------------


def counting(spec, obs, memory, key):
    """Remembers how many steps it has taken since an episode started."""
    kept = {"count": memory["count"] + 1.0, REWARD: memory[REWARD]}
    extras = {MEMORY: (memory["count"],), "heard": memory[REWARD]}
    return jnp.int32(jax.random.bits(key, (len(memory["count"]),)) % 2), kept, extras


def zeros(envs):
    return {"count": jnp.zeros(envs), REWARD: jnp.zeros(envs)}


@pytest.fixture(scope="module")
def stored():
    """Sequences of the clock, of which everything that is stored can be foretold from `obs`."""
    source = Replay(Rollout(Clock(), 2, 3), SequenceLayout(6, 3, 5, 16, 7), 3, counting)
    policy = Policy(partial(counting, source.spec), zeros)

    @jax.jit
    def run(key):
        state = source.init(key, zeros(2))
        return jax.lax.scan(
            lambda s, k: source.collect(s, policy, k)[:2], state, jax.random.split(key, 9)
        )

    return source, run(jax.random.PRNGKey(0))


def test_sequences_are_consecutive_steps_with_the_memory_they_began_with(stored):
    _, (_, batch) = stored
    batch = jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), batch)
    assert batch.reward.shape == (9 * 5, 7, 16) and batch.extras[MEMORY][0].shape == (45, 1, 16)
    done = batch.terminated | batch.truncated
    assert done.any() and batch.truncated.any()
    inside = ~done[:, :-1]
    np.testing.assert_array_equal(batch.next_obs[:, :-1][inside], batch.obs[:, 1:][inside])
    assert (batch.next_obs[:, :-1][~inside] != batch.obs[:, 1:][~inside]).any(-1).all()
    # The clock starts at 0 with each episode, and so does what is remembered.
    np.testing.assert_array_equal(batch.extras[MEMORY][0][:, 0], batch.obs[:, 0, :, 0])
    # Every step heard what the one before it earned, and the first of an episode nothing.
    earned = np.where(done, 0.0, batch.reward)[:, :-1]
    np.testing.assert_allclose(batch.extras["heard"][:, 1:], earned)


def test_sequences_are_drawn_from_all_that_is_held_and_from_nothing_newer(stored):
    source, (state, _) = stored
    assert int(state.rows) == 9 + 3 and state.data.reward.shape == (6, 2, 3)
    # Of six rows the oldest may have been overwritten, and three make a sequence.
    assert source.layout.rows.window == 3
    draws = jax.jit(jax.vmap(lambda k: source.layout.sample(state, k).obs[:, 0, :, :]))
    found = {tuple(x) for x in np.asarray(draws(jax.random.split(KEY, 20))).reshape(-1, 2)}
    rows = np.arange(12 - 5, 12 - 2) % 6  # three starts of each of two environments
    wanted = {tuple(np.asarray(state.data.obs["obs"])[r, e, 0]) for r in rows for e in range(2)}
    assert found == wanted


def test_priorities_choose_sequences_and_follow_the_ring(stored):
    source, _ = stored
    layout = replace(source.layout, prioritised=True, alpha=1.0)
    source = replace(source, layout=layout)
    policy = Policy(partial(counting, source.spec), zeros)

    @jax.jit
    def one(key):
        state = source.init(key, zeros(2))
        for k in jax.random.split(key, 4):
            state, batch, _ = source.collect(state, policy, k)
        index = batch.extras["index"]
        liked = index == index.max()
        state = source.update_priorities(state, batch, jnp.where(liked, 1e6, 0.0))
        drawn = source.layout.sample(replace(state, source=()), key)
        weights = state.priorities.levels[0]
        return index, drawn.extras, weights

    index, extras, odds = one(jax.random.PRNGKey(2))
    assert (extras["index"] == index.max()).mean() > 0.99
    assert extras["importance"].shape == (5, 16) and (extras["importance"] <= 1.0).all()
    # Seven rows were written into six places; a sequence of three begins in none of the last two,
    # nor in the one that the next row overwrites.
    assert set(np.flatnonzero(np.asarray(odds)) // 2) <= {2, 3, 4}


@pytest.mark.slow
def test_sequences_are_stored_and_learned_from_on_a_host_too():
    algorithm = tiny(NGU, **TINY)
    running = program(parts(algorithm, HostClock()))
    state, metrics = running.advance(running.start(keys(1)), 4)
    held = copied(state.source.data)
    running.close()
    assert metrics["finite"].all() and np.isfinite(metrics["loss"]).all()
    assert int(state.agent.updates[0]) == 4 * algorithm.updates and int(state.source.rows[0]) == 5
    # Rows [row, env, step]: what was earned is heard at the next step of the same episode.
    context, reward = held.obs["extras"][CONTEXT][0, :4, ..., 2], held.reward[0, :4]
    done = held.terminated[0, :4] | held.truncated[0, :4]
    earned = np.where(done, 0.0, np.sqrt(reward + 1) - 1 + 1e-3 * reward)
    np.testing.assert_allclose(context[..., 1:], earned[..., :-1], atol=1e-5)
    assert held.obs["extras"]["bonus"][0, 2:4].any()


# -- the network ----------------------------------------------------------------------------------


def window(model, time=9, envs=3, context=4):
    """A window as it comes from acting step by step, with episodes that end inside it."""
    k_obs, k_context = jax.random.split(KEY)
    obs, later = jax.random.normal(k_obs, (2, time, envs, 3))
    before, after = jax.random.normal(k_context, (2, time, envs, context))
    done = np.zeros((time, envs), bool)
    done[2, 0] = done[5, 1] = True
    over = done[..., None]
    next_obs = jnp.where(over, later, jnp.concatenate([obs[1:], later[-1:]]))
    after = jnp.where(over, after, jnp.concatenate([before[1:], after[-1:]]))
    memory = jax.tree.map(lambda m: m + 0.3, model.memory(envs))
    start, values, ahead = memory, [], []
    step = jax.jit(lambda o, t, m: model.step(o, t, m))
    for t in range(time):
        q, kept = step(obs[t], before[t], memory)
        values.append(q)
        ahead.append(step(next_obs[t], after[t], kept)[0])
        memory = jax.tree.map(lambda m, t=t: jnp.where(done[t][:, None], 0.0, m), kept)
    zero, flags = jnp.zeros((time, envs)), jnp.asarray(done)
    extras = {MEMORY: jax.tree.map(lambda m: m[None], start), CONTEXT: before}
    batch = Transition(obs, zero, zero, flags, ~flags & False, next_obs, zero + 1, extras)
    return batch, after, jnp.stack(values), jnp.stack(ahead)


@pytest.mark.parametrize("burn_in", [0, 3])
def test_reading_a_window_is_acting_step_by_step_whatever_is_burnt_in(burn_in):
    model = RecurrentQ.init(KEY, SPEC, (8, 6), "tanh", "lstm", 4)
    rows, after, values, ahead = window(model)
    q, later = jax.jit(lambda r, a: model.unroll(r, a, burn_in))(rows, after)
    np.testing.assert_allclose(q, values[burn_in:], atol=1e-5)
    np.testing.assert_allclose(later, ahead[burn_in:], atol=1e-5)


def test_no_gradient_comes_from_what_is_burnt_in_or_from_successors():
    model = RecurrentQ.init(KEY, SPEC, (6,), "tanh", "lstm", 4)
    rows, after, *_ = window(model)

    @jax.jit
    @partial(jax.grad, argnums=(0, 1))
    def slopes(model, obs, share):
        q, later = model.unroll(replace(rows, obs=obs), after, 3)
        return share * q.sum() + (1.0 - share) * later.sum()

    _, own = slopes(model, rows.obs, 1.0)
    assert not own[:3].any() and own[3:].any()
    fixed, own = slopes(model, rows.obs, 0.0)
    assert not own.any() and not any(x.any() for x in jax.tree.leaves(fixed))


# -- the bonus ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epsilon", "wanted"),
    [
        (1e-4, (0.3161, 3.466, 9.506, 30.54, 59.43)),
        (1e-3, (0.3161, 1.139, 3.040, 9.867, 19.59)),
    ],
)
def test_the_bonus_of_ten_neighbours_is_these_numbers(epsilon, wanted):
    distance = jnp.array([0.008, 0.02, 0.1, 1.0, 4.0])[:, None] * jnp.full(10, 3.0)
    found = episodic_novelty(distance, jnp.ones((5, 10), bool), 3.0, epsilon)
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


def test_a_bonus_of_fewer_neighbours_sums_those_there_are_and_of_none_is_0():
    mask = jnp.arange(10) < jnp.array([0, 1, 4, 10])[:, None]
    found = episodic_novelty(jnp.zeros((4, 10)), mask, 1.0)
    wanted = [0.0, *(1 / (n**0.5 + 1e-3) for n in (1, 4, 10))]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert episodic_novelty(jnp.zeros((1, 100)), jnp.ones((1, 100), bool), 1.0) == 0.0  # s > 8


def test_an_episode_finds_the_nearest_of_what_it_met_and_forgets_the_oldest():
    random = np.random.default_rng(0)
    states = random.normal(size=(12, 2, 3)).astype(np.float32)
    episodic_memory = Episodic.init(2, 8, 3)
    put, nearest = jax.jit(Episodic.put), jax.jit(partial(Episodic.nearest, k=4))
    for t, x in enumerate(states):
        distance, mask = nearest(episodic_memory, x)
        for e in range(2):
            held = states[max(t - 8, 0) : t, e]
            wanted = np.sort(np.square(held - x[e]).sum(-1))[:4]
            assert mask[e].sum() == len(wanted)
            np.testing.assert_allclose(np.sort(distance[e][mask[e]]), wanted, rtol=1e-5)
        episodic_memory = put(episodic_memory, x)


def test_the_same_state_again_and_again_is_worth_less_and_less():
    episodic_memory, bonus = Episodic.init(1, 16, 2), []
    for _ in range(14):
        bonus.append(
            float(episodic_novelty(*episodic_memory.nearest(jnp.ones((1, 2)), 10), 1.0)[0])
        )
        episodic_memory = episodic_memory.put(jnp.ones((1, 2)))
    assert bonus[0] == 0.0 and bonus[10] == bonus[13] == pytest.approx(0.3161, abs=1e-4)
    assert all(np.diff(bonus[1:11]) < 0)


def test_the_family_has_these_weights_and_discounts():
    b, g = betas(32, 0.3), gammas(32, 0.997, 0.99)
    at = np.array([0, 1, 2, 8, 15, 16, 24, 30, 31])
    wanted = [0, 2.7e-5, 5.2e-5, 0.002795, 0.15, 0.198227, 0.299258, 0.299986, 0.3]
    np.testing.assert_allclose(np.asarray(b)[at], wanted, rtol=3e-2, atol=1e-6)
    wanted = [0.997, 0.996881, 0.996758, 0.995907, 0.994628, 0.994415, 0.99238, 0.990381, 0.99]
    np.testing.assert_allclose(np.asarray(g)[at], wanted, rtol=1e-5)
    eight = [0, 0.000381, 0.010334, 0.15, 0.289666, 0.299619, 0.299986, 0.3]
    np.testing.assert_allclose(betas(8, 0.3), eight, rtol=2e-3, atol=1e-6)
    eight = [0.997, 0.996437, 0.995768, 0.994974, 0.994031, 0.992911, 0.99158, 0.99]
    np.testing.assert_allclose(gammas(8, 0.997, 0.99), eight, rtol=1e-5)
    assert betas(1, 0.3).tolist() == [pytest.approx(0.3)] and betas(2, 0.3)[0] == 0.0


def test_a_running_mean_is_of_all_at_first_and_of_the_latest_later():
    running = Running.init(5.0)
    assert running.add(jnp.ones(3), jnp.zeros(3), 0.1).mean == 5.0
    for value in range(4):
        running = running.add(jnp.float32([value, 99.0]), jnp.array([1.0, 0.0]), 0.1)
    np.testing.assert_allclose(running.mean, 1.5)
    np.testing.assert_allclose(running.std, np.std(range(4)), rtol=1e-5)
    for _ in range(100):
        running = running.add(jnp.full(2, 7.0), jnp.ones(2), 0.1)
    np.testing.assert_allclose(running.mean, 7.0, atol=1e-2)


def test_the_inverse_model_learns_to_tell_actions_and_the_embedding_to_ignore_noise():
    """Of ten numbers two are a place that actions move; the others are noise."""
    spec = Spec(Box((10,)), Discrete(4))
    moves = jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])

    def steps(key, size=128):
        k_at, k_action, k_noise = jax.random.split(key, 3)
        at, action = jax.random.normal(k_at, (size, 2)), jax.random.randint(k_action, (size,), 0, 4)
        noise = jax.random.normal(k_noise, (2, size, 8))
        after = at + moves[action]
        return jnp.concatenate([at, noise[0]], -1), action, jnp.concatenate([after, noise[1]], -1)

    def loss(model, key):
        losses = inverse_losses(model, *steps(key))
        decay = 1e-3 * sum(jnp.square(x).sum() for x in jax.tree.leaves(model))
        return losses["inverse_loss"].mean() + decay

    import optax

    opt = optax.adam(3e-3)

    @jax.jit
    def trained(model, key):
        def step(x, key):
            slope, state = opt.update(jax.grad(loss)(x[0], key), x[1])
            return (optax.apply_updates(x[0], slope), state), None

        return jax.lax.scan(step, (model, opt.init(model)), jax.random.split(key, 1500))[0][0]

    model = trained(Controllable.init(KEY, spec, 32, 4), KEY)
    obs, action, after = steps(jax.random.key(9), 1000)
    assert inverse_losses(model, obs, action, after)["inverse_accuracy"].mean() > 0.95
    other = obs.at[:, 2:].set(after[:, 2:])  # the same place, and other noise
    moved = obs.at[:, :2].set(after[:, :2])
    noise, step = (jnp.square(model(obs) - model(x)).sum(-1).mean() for x in (other, moved))
    assert noise < 0.2 * step


# -- the agents -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_after_a_truncation_the_network_is_told_the_environments_reward_as_when_acting():
    r2d2 = tiny(R2D2, warmup=96, capacity=192, batch=32)
    source = parts(r2d2, Clock()).source
    spec = source.spec
    agent = r2d2.init(KEY, spec)
    policy = Policy(partial(r2d2.act, agent), partial(r2d2.memory, agent))
    state = source.init(KEY, r2d2.memory(agent, spec.envs))
    batch = source.collect(state, policy, KEY)[1]
    labelled = replace(batch, reward=batch.reward + 100.0)  # as a bonus would be added
    window, other = (jax.tree.map(lambda x: x[0], b) for b in (batch, labelled))
    actions = agent.learner.model.actions
    rows, after = rows_of(window, actions)
    assert rows.truncated.any()
    np.testing.assert_array_equal(rows_of(other, actions)[1], after)
    np.testing.assert_array_equal(
        after[..., actions][rows.done], squashed(window.reward[:-1])[rows.done]
    )


@pytest.mark.parametrize("name", ["r2d2", "ngu"])
def test_continuous_actions_are_refused_in_one_line(name):
    with pytest.raises(SettingsError, match="needs one discrete action"):
        tiny(ALGORITHMS[name], **TINY).check(Pendulum().spec)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"trace": 3}, "burn_in \\+ trace \\+ 1 = 5"),
        ({"recurrent": "rnn"}, "recurrent"),
        ({"hidden": ()}, "hidden"),
        ({"policies": 5}, "redraw"),
        ({"episodic": False, "lifelong": False}, "r2d2"),
        ({"neighbours": 17}, "memories=16"),
    ],
)
def test_what_cannot_work_is_refused(settings, said):
    with pytest.raises(SettingsError, match=said):
        tiny(NGU, **{**TINY, **settings}).check(SPEC)


@pytest.fixture(scope="module")
def family():
    """A rollout of a family of policies, and the agent that took it."""
    algorithm = tiny(NGU, **TINY, envs=4, redraw=True)
    source = Rollout(Clock(), 4, 24)

    @jax.jit
    def run(key):
        agent = algorithm.init(key, source.spec)
        policy = Policy(partial(algorithm.act, agent), partial(algorithm.memory, agent))
        state = source.init(key, algorithm.memory(agent, 4))
        _, batch, _ = source.collect(state, policy, key)
        memory = algorithm.memory(agent, 4)
        update_curiosity = {**memory, "policy": memory["policy"].at[:, 1].set(1.0)}
        greedy = algorithm.act(agent, state.obs, update_curiosity, key, False)
        return agent, batch, greedy

    return algorithm, *run(jax.random.PRNGKey(0))


def test_the_network_is_told_what_was_done_and_earned_and_who_acts(family):
    _, _, batch, _ = family
    context = np.asarray(batch.extras[CONTEXT])
    action, reward, policy, bonus = np.split(context, (2, 3, 5), -1)
    done = np.asarray(batch.done)
    assert done.any() and (policy.sum(-1) == 1).all()
    before = np.where(done[:-1, :, None], 0.0, np.eye(2)[np.asarray(batch.action)[:-1]])
    np.testing.assert_array_equal(action[1:], before)
    earned = np.where(done, 0.0, np.sqrt(batch.reward + 1) - 1 + 1e-3 * batch.reward)[:-1]
    np.testing.assert_allclose(reward[1:, :, 0], earned, atol=1e-5)
    new = done[:-1]  # a policy is drawn for each episode, and kept until it ends
    changed = (policy[1:] != policy[:-1]).any(-1)
    assert not changed[~new].any() and changed[new].any()
    # An episode begins with nothing that it could compare with.
    assert not bonus[0].any() and not bonus[1:][new].any() and bonus[1:][~new].all()


def test_what_was_met_is_forgotten_with_the_episode(family):
    """The first bonuses of an episode are those of a fresh start, to the bit: every reset of the
    clock is the same, and its second observation depends on the action alone."""
    _, _, batch, _ = family
    bonus, done, action = (np.asarray(x) for x in (batch.extras["bonus"], batch.done, batch.action))
    second = {}
    for t in range(23):
        for e in range(4):
            if (t == 0 or done[t - 1, e]) and not done[t, e]:
                second.setdefault(int(action[t, e]), set()).add(float(bonus[t + 1, e]))
    assert second and all(len(found) == 1 for found in second.values())


def test_a_step_is_rewarded_by_the_policy_that_took_it_for_the_state_it_led_to(family):
    algorithm, agent, batch, _ = family
    rows = part(batch, 0, -1)
    reward, gamma = algorithm.family(agent.curiosity, rows, batch.extras["bonus"][1:])
    who = np.asarray(batch.extras[CONTEXT])[:-1, :, 3:5].argmax(-1)
    # The standard deviation of bonuses is 1 at first.
    bonus = np.where(rows.done, 0.0, batch.extras["bonus"][1:])
    np.testing.assert_allclose(
        reward, rows.reward + np.where(who == 1, 0.3, 0.0) * bonus, rtol=1e-5
    )
    np.testing.assert_allclose(gamma, np.where(who == 1, 0.99, 0.997), rtol=1e-6)


def test_without_exploration_the_greedy_policy_of_the_family_acts(family):
    *_, (_, after, extras) = family
    assert (after["policy"] == jnp.array([1.0, 0.0])).all()
    assert (extras[CONTEXT][:, 3:5] == jnp.array([1.0, 0.0])).all()


@pytest.mark.slow
def test_r2d2_learns_what_only_a_memory_can_know():
    """In a T-maze of four steps a policy without one earns one half."""
    r2d2 = R2D2(
        envs=16, rollout=5, updates=2, batch=32, burn_in=0, trace=10, warmup=400, capacity=20_000,
        lr=3e-3, hidden=(16,), target_every=50, gamma=0.95
    )  # fmt: skip
    env = TMaze(length=4)
    running = program(parts(r2d2, env))
    state, _ = running.advance(running.start(keys(2)), 400)
    score = evaluate(Agents(r2d2, state.agent, env, 2), 100)
    assert score.per_seed.mean() > 0.85, score.per_seed
    alone = Alone(r2d2, jax.tree.map(lambda x: x[0], state.agent), env.spec)
    assert alone(np.zeros(2, np.float32)).shape == ()
