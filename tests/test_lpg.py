"""Learned policy gradient: what a rule reads, how agents follow it, and how it is learned."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from twin import ALGORITHMS, assert_same, first, tiny

from spinward.algorithms import lpg
from spinward.algorithms.lpg import Learned
from spinward.cli import main
from spinward.core import Box, Discrete, Spec, Transition, replace, struct
from spinward.envs import ids
from spinward.envs.grids import Grid
from spinward.envs.pendulum import Pendulum
from spinward.errors import DamagedFileError, SettingsError
from spinward.experience.material import source_for
from spinward.learning.minibatches import mean, standardise
from spinward.learning.steps import adam, descend
from spinward.losses.policy import policy_gradient
from spinward.networks.rule import Rule
from spinward.networks.table import states
from spinward.rewards.environment import Environment
from spinward.run.assemble import assemble
from spinward.run.experiment import Experiment
from spinward.run.run import load, train
from spinward.store import parameters as learned
from spinward.targets.bandits import Arms

TIME, ENVS, Y = 6, 3, 4
LPG, LPGMeta = ALGORITHMS["lpg"], ALGORITHMS["lpg_meta"]
TABLE = LPG(envs=ENVS, rollout=TIME, tabular=True, descent="sgd", lr=2.0, normalise_reward=False)
META = LPGMeta(lives=3, envs=ENVS, rollout=TIME, updates=2, lifetime=4, predictions=Y, width=5,
               tabular=True, descent="sgd", agent_lr=(2.0,), critic_lr=0.05)  # fmt: skip
ROOM = Grid(2, 2, 1)


def batch_of(key, states=16, actions=5, dtype=None):
    random = np.random.default_rng(key)
    obs, next_obs = random.integers(0, states, (2, TIME, ENVS, 1))
    flags = random.random((2, TIME, ENVS)) < 0.25
    reward = random.normal(size=(TIME, ENVS))
    fields = jnp.asarray(obs), jnp.asarray(random.integers(0, actions, (TIME, ENVS)))
    return Transition(
        *fields, jnp.asarray(reward, dtype), jnp.asarray(flags[0]),
        jnp.asarray(flags[1] & ~flags[0]), jnp.asarray(next_obs),
        jnp.ones((TIME, ENVS), dtype), {},
    )  # fmt: skip


def read_of(key):
    """What a rule reads of an agent: probabilities and two predictions."""
    random = np.random.default_rng(key)
    y, next_y = random.dirichlet(np.ones(Y), (2, TIME, ENVS)).astype(np.float32)
    return (
        jnp.asarray(random.random((TIME, ENVS)), jnp.float32),
        jnp.asarray(y),
        jnp.asarray(next_y),
    )


RULE = Rule.init(jax.random.key(3), Y, 5)
READ = jax.jit(lambda batch, *read: RULE(batch, 0.9, *read))


def test_a_rule_reads_backwards_and_hears_nothing_from_beyond_an_episode():
    batch, read = batch_of(0), read_of(1)
    done = jnp.zeros((TIME, ENVS), bool).at[2, 1].set(True)
    batch = replace(batch, terminated=done, truncated=jnp.zeros_like(done))
    before = READ(batch, *read)
    later = READ(replace(batch, reward=batch.reward.at[4].add(1.0)), *read)
    for a, b in zip(before, later, strict=True):
        changed = (a != b).reshape(TIME, ENVS, -1).any(2)
        assert changed[:5, [0, 2]].all() and changed[3:5, 1].all()
        assert not changed[5].any() and not changed[:3, 1].any()


def test_a_rule_is_told_of_the_end_and_keeps_the_prediction_of_a_truncated_step():
    batch, (prob, y, next_y) = batch_of(0), read_of(1)
    one = jnp.zeros((TIME, ENVS), bool).at[2, 1].set(True)
    none = jnp.zeros_like(one)
    cut = replace(batch, terminated=none, truncated=one)
    over = replace(batch, terminated=one, truncated=none)
    other = next_y.at[2, 1].set(jnp.array([0.7, 0.1, 0.1, 0.1]))
    cases = {
        "cut": (cut, next_y),
        "cut'": (cut, other),
        "over": (over, next_y),
        "over'": (over, other),
    }
    outputs = {name: READ(batch, prob, y, n)[0] for name, (batch, n) in cases.items()}
    assert (outputs["over"] == outputs["over'"]).all()
    assert (outputs["cut"] != outputs["cut'"])[2, 1]
    assert outputs["cut"][2, 1] != outputs["over"][2, 1]


@struct
class ByHand:
    """A rule that is REINFORCE: raises by what followed, and wants the prediction there is."""

    scale: jax.Array

    def __call__(self, batch, gamma, prob, y, next_y):
        def back(total, x):
            reward, done = x
            total = reward + gamma * jnp.where(done, 0.0, total)
            return total, total

        steps = batch.reward, batch.done
        policy_output = jax.lax.scan(back, jnp.zeros(ENVS), steps, reverse=True)[1]
        return self.scale * policy_output, jnp.log(y)


def agent_of(algorithm, rule, key=0, dtype=None):
    spec = Spec(Box((1,), 0, 15, "int32"), Discrete(5), ENVS)
    agent = first(algorithm, spec, jax.random.key(key))
    learner = jax.jit(lambda k: algorithm.learner(k, Grid(2, 2, 2).spec, Y))(jax.random.key(key))
    noise = np.random.default_rng(key)
    model = jax.tree.map(
        lambda x: jnp.asarray(noise.normal(size=x.shape), dtype or x.dtype), learner.model
    )
    return replace(agent, learner=replace(learner, model=model), rule=rule)


def test_an_agent_whose_rule_is_the_return_is_reinforce():
    algorithm = replace(TABLE, gamma=0.9, max_grad_norm=1e9)
    agent, batch = agent_of(algorithm, ByHand(jnp.float32(1.0))), batch_of(2)
    after, metrics = jax.jit(algorithm.update)(agent, batch, jax.random.key(0))
    returns = np.zeros((TIME, ENVS))
    for t in reversed(range(TIME)):
        later = returns[t + 1] if t + 1 < TIME else 0.0
        returns[t] = batch.reward[t] + 0.9 * np.where(batch.done[t], 0.0, later)

    def loss(logits):
        log_prob = jax.nn.log_softmax(logits)[batch.obs[..., 0], batch.action]
        return -(log_prob * returns).mean()

    table = agent.learner.model.policy.rows
    expected = table - algorithm.lr * jax.grad(loss)(table)
    np.testing.assert_allclose(after.learner.model.policy.rows, expected, atol=2e-6)
    np.testing.assert_allclose(
        after.learner.model.prediction.rows, agent.learner.model.prediction.rows, atol=1e-6
    )
    assert metrics["prediction_loss"] == pytest.approx(0.0, abs=1e-6)


def test_what_a_rule_makes_of_an_agent_does_not_depend_on_the_size_of_rewards():
    algorithm = replace(TABLE, normalise_reward=True)
    small, large = batch_of(2), replace(batch_of(2), reward=50.0 * batch_of(2).reward)
    start, key, update = agent_of(algorithm, RULE), jax.random.key(0), jax.jit(algorithm.update)
    one = other = start
    for _ in range(2):
        one, other = update(one, small, key)[0], update(other, large, key)[0]
    found = one.learner.model.policy.rows
    np.testing.assert_allclose(found, other.learner.model.policy.rows, atol=1e-3)
    assert jnp.abs(found - start.learner.model.policy.rows).max() > 0.05
    plain, _ = jax.jit(TABLE.update)(start, large, key)
    scaled, _ = update(start, large, key)
    change = plain.learner.model.policy.rows - scaled.learner.model.policy.rows
    assert jnp.abs(change).max() > 0.05


def test_predictions_fall_towards_what_the_rule_wants_by_kl():
    algorithm = replace(TABLE, kl_coef=0.7, max_grad_norm=1e9)
    agent, batch = agent_of(algorithm, RULE), batch_of(2)
    after, _ = jax.jit(algorithm.update)(agent, batch, jax.random.key(0))
    model = agent.learner.model
    prob = jax.nn.softmax(model.policy.rows)[batch.obs[..., 0], batch.action]
    y, next_y = (
        jax.nn.softmax(model.prediction.rows)[o[..., 0]] for o in (batch.obs, batch.next_obs)
    )
    wanted = np.asarray(jax.nn.softmax(RULE(batch, algorithm.gamma, prob, y, next_y)[1]))

    def loss(rows):
        y = jax.nn.softmax(rows)[batch.obs[..., 0]]
        return 0.7 * (y * (jnp.log(y) - jnp.log(wanted))).sum(-1).mean()

    rows = model.prediction.rows
    expected = rows - algorithm.lr * jax.grad(loss)(rows)
    np.testing.assert_allclose(after.learner.model.prediction.rows, expected, atol=2e-6)


def validated(algorithm, rule, agent, batches, last, advantage, cut=False):
    """A policy gradient's loss on held steps, after an update on each of `batches`."""
    for batch in batches:
        agent = jax.lax.stop_gradient(agent) if cut else agent
        agent, metrics = algorithm.update(replace(agent, rule=rule), batch, jax.random.key(0))
    log_prob = agent.learner.model(last.obs).log_prob(last.action)
    loss = mean(policy_gradient(log_prob, advantage), last.weight)
    return loss + 0.1 * metrics["policy_output_square"]


@pytest.mark.parametrize(("descent", "lr"), [("sgd", 2.0), ("rmsprop", 2.0), ("adam", 0.1)])
def test_meta_gradients_are_finite_differences_through_several_updates(descent, lr):
    with jax.enable_x64(True):
        dtype = jnp.float64
        algorithm = replace(TABLE, descent=descent, lr=lr)
        rule = jax.tree.map(lambda x: jnp.asarray(x, dtype), Rule.init(jax.random.key(0), Y, 5))
        agent = agent_of(algorithm, rule, dtype=dtype)
        optimiser = algorithm.optimiser()
        agent = replace(
            agent, learner=replace(agent.learner, opt_state=optimiser.init(agent.learner.model))
        )
        batches = [batch_of(k, dtype=dtype) for k in range(3)]
        last = batch_of(9, dtype=dtype)
        advantage = jnp.asarray(np.random.default_rng(0).normal(size=(TIME, ENVS)))
        flat, shaped = ravel_pytree(rule)

        def loss(x, cut=False):
            return validated(algorithm, shaped(x), agent, batches, last, advantage, cut)

        value, gradient_of = jax.jit(loss), jax.jit(jax.grad(loss), static_argnums=1)
        gradient = gradient_of(flat, False)
        for seed in range(3):
            way = np.random.default_rng(seed).normal(size=flat.shape)
            steep = descent == "adam"  # where a gradient is near zero
            size = 1e-7 if steep else 1e-5
            found = (value(flat + size * way) - value(flat - size * way)) / (2 * size)
            np.testing.assert_allclose(gradient @ way, found, rtol=1e-4 if steep else 2e-6)
        cut = gradient_of(flat, True)
        cosine = gradient @ cut / jnp.sqrt((gradient @ gradient) * (cut @ cut))
        assert cosine < 0.998  # an unroll that is not differentiated would give the same


@pytest.fixture(scope="module")
def lives():
    """The state of a run of `META` after two steps, their metrics, and one step more."""
    closed = META.system(source_for(META.wants(ROOM.spec), ROOM), Environment())
    state, step = jax.jit(closed.init)(jax.random.key(1)), jax.jit(closed.step)
    for _ in range(2):
        state, metrics = step(state)
    return state, metrics, step


@pytest.mark.slow
def test_a_life_is_validated_after_each_update_and_all_of_them_pass_the_gradient_back(
    lives,
):
    state, *_ = lives
    life = jax.tree.map(lambda x: x[0], state.source)
    rule, key = state.agent.learner.model, jax.random.key(7)

    def whole(rule):
        _, metrics, _ = META.lived(rule, Environment(), life, key)
        return metrics["validation_loss"]

    found, gradient = jax.jit(jax.value_and_grad(whole))(rule)
    inner, now, batches, advantages = META.settings_of(life.arm), life, [], []
    taught = jax.jit(partial(descend, META.fit, adam(META.critic_lr)))
    critic = life.critic

    def advantage(batch):
        return standardise(META.advantage(critic.model, batch), batch.weight)

    *keys, k_validate = jax.random.split(key, META.updates + 1)
    run = jax.jit(partial(META.ran, reward=Environment()))
    for k in keys:  # what is sampled is fixed, and the slow way learns from it again
        now, batch, _ = run(now, key=k)
        batches.append(batch)
        advantages.append(advantage(batch))
        critic, _ = taught(critic, batch)
        agent, _ = inner.update(replace(now.agent, rule=rule), batch, k)
        now = replace(now, agent=replace(agent, rule=()))
    _, last, _ = run(now, key=k_validate)
    judging = list(zip([*batches[1:], last], [*advantages[1:], advantage(last)], strict=True))

    def slow(rule):
        agent, losses = replace(life.agent, rule=rule), []
        for batch, (later, better) in zip(batches, judging, strict=True):
            agent, _ = inner.update(agent, batch, key)
            log_prob = agent.learner.model(later.obs).log_prob(later.action)
            losses.append(-(log_prob * better).mean())
        return jnp.stack(losses).mean()

    expected, by_hand = jax.jit(jax.value_and_grad(slow))(rule)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-6), gradient, by_hand
    )
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(by_hand)) > 1e-5


@pytest.mark.slow
def test_the_slope_of_each_life_is_clipped_and_not_their_sum(lives):
    state, *_ = lives
    rule, keys = state.agent.learner.model, jax.random.split(jax.random.key(3), META.lives)
    given = rule, state.source, Environment(), 0.05, keys
    gradient_of = jax.jit(jax.vmap(jax.grad(META.loss, has_aux=True), (None, 0, None, None, 0)))
    each, _ = gradient_of(*given)
    norms = jax.vmap(optax.global_norm)(each)
    limit = float(jnp.sort(norms)[:2].mean())  # between the smallest and the next
    meta = replace(META, max_grad_norm=limit)
    (_, metrics), _, found = jax.jit(meta.gradient)(*given)
    scale = jnp.minimum(1.0, limit / norms)
    expected = jax.tree.map(lambda x: jnp.einsum("l,l...->...", scale, x) / META.lives, each)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-7), found, expected
    )
    assert metrics["gradients_clipped"] == 1.0 - 1.0 / META.lives


@pytest.mark.slow
def test_lives_end_at_different_times_and_begin_in_another_task(lives):
    state, metrics, step = lives
    assert metrics["finite"] and metrics["episodes"] > 0
    ages, tasks = [], []
    for _ in range(4):
        state, _ = step(state)
        ages.append(np.asarray(state.source.age))
        tasks.append(np.asarray(state.source.task.env.level.reward[:, 0]))
    ages = np.array(ages)
    assert ages.max() < META.lifetime and (ages == 0).any(0).all()
    for before, after, young in zip(tasks, tasks[1:], ages[1:] == 0, strict=False):
        assert ((before != after) == young).all()
    assert float(np.abs(state.source.critic.model.rows).max()) > 0.0
    counted = float(state.agent.arms.count.sum())
    assert counted == (ages == 0).sum() + float(lives[0].agent.arms.count.sum())


def test_a_bandit_prefers_what_earned_more_and_what_it_seldom_drew():
    arms = Arms.init(2, 3)
    some = jnp.array([0, 0, 0, 1]), jnp.array([1, 1, 2, 0]), jnp.array([1.0, 3.0, 5.0, 7.0])
    arms = arms.add(*some, jnp.array([True, True, False, True]))
    assert arms.mean.tolist() == [[0, 2, 0], [7, 0, 0]]
    assert arms.count.tolist() == [[0, 2, 0], [1, 0, 0]]
    odds = np.asarray(arms.odds(0.5, 1.0))
    hope = np.array([1.0, 2.0 + 3**-0.5, 1.0]) / 0.5
    np.testing.assert_allclose(odds[0], np.exp(hope) / np.exp(hope).sum(), rtol=1e-5)
    drawn = jax.vmap(lambda k: arms.draw(0, k, 0.5, 1.0))(jax.random.split(jax.random.key(0), 2000))
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 2000, odds[0], atol=0.03)


def test_the_bandit_sets_the_agents_steps():
    meta = replace(META, agent_lr=(2.0, 4.0), agent_kl_coef=(0.5, 1.0))
    inner = meta.settings_of(jnp.int32(3))
    assert (float(inner.lr), float(inner.kl_coef)) == (4.0, 1.0) and len(meta.choices) == 4


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rule") / "mine"
    learned.save(folder, rule=RULE)
    return folder


def test_a_saved_rule_trains_agents_and_is_kept_with_them(saved, tmp_path):
    algorithm = LPG(rule=str(saved), envs=2, rollout=4, hidden=(4,))
    run = train(algorithm, "CartPole-v1", steps=40, out=tmp_path, shards=1)
    agent = jax.tree.map(lambda x: x[0], run.agents().agent)
    assert_same(agent.rule, jax.tree.map(np.asarray, RULE))
    assert agent.learner.model.prediction.layers.layers[-1].b.shape == (Y,)
    assert load(run.path).evaluate(2).returns.shape == (1, 2)


@pytest.mark.slow
def test_the_rule_of_a_run_that_learned_one_is_used_by_the_command_line(tmp_path, capsys):
    meta = replace(META, lives=2, updates=1)
    run = train(meta, "Grid-Small", steps=72, out=tmp_path, name="meta", shards=1)
    words = ["train", "lpg", "--rule", str(run.path), "Grid-Small", "--steps=40", "--envs=2"]
    assert main.main([*words, "--rollout=4", f"--out={tmp_path}", "--name=a"]) == 0
    leaves, _ = learned.read(run.path)
    kept = load(tmp_path / "a").agents().agent.rule
    np.testing.assert_array_equal(kept.cell.w[0], leaves["agent.learner.model.cell.w"][0])
    assert load(tmp_path / "a").experiment.algorithm.tabular


def test_no_rule_at_all_is_refused_where_none_is_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(lpg, "OURS", tmp_path / "none")
    with pytest.raises(SettingsError, match="give its run by --rule"):
        assert assemble(Experiment(LPG(), "CartPole-v1", 10)).parts


def test_rules_that_do_not_fit_are_refused_before_training(saved, tmp_path):
    def refused(rule, kind, said):
        with pytest.raises(kind, match=said):
            train(LPG(rule=str(rule)), "CartPole-v1", out=tmp_path, name="none")
        assert not (tmp_path / "none").exists()

    refused(tmp_path / "nowhere", SettingsError, "there is no folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", SettingsError, "nothing that was learned")
    learned.save(tmp_path / "other", weights={"w": np.zeros((2, 3))})
    refused(tmp_path / "other", SettingsError, "holds no rule: it has weights.w")
    odd = replace(RULE, to_policy=replace(RULE.to_policy, w=jnp.zeros((7, 1))))
    learned.save(tmp_path / "odd", rule=odd)
    refused(tmp_path / "odd", SettingsError, r"to_policy.w is \(7, 1\), not \(5, 1\)")
    sick = replace(RULE, to_policy=replace(RULE.to_policy, b=jnp.full(1, jnp.nan)))
    learned.save(tmp_path / "sick", rule=sick)
    refused(tmp_path / "sick", SettingsError, "not finite")
    torn = learned.save(tmp_path / "torn", rule=RULE) / "state.safetensors"
    torn.write_bytes(torn.read_bytes()[:-1] + b"\x01")
    refused(tmp_path / "torn", DamagedFileError, "SHA-256|no checkpoint|expected")


@pytest.mark.parametrize("kind", [LPG, LPGMeta])
def test_continuous_actions_are_refused_in_one_line(kind, tmp_path):
    with pytest.raises(SettingsError, match="made for one discrete action"):
        train(tiny(kind), "Pendulum-v1", out=tmp_path, name="none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(SettingsError, match="made for one discrete action"):
        tiny(kind).check(Pendulum().spec)


def test_what_else_cannot_work_is_refused():
    with pytest.raises(SettingsError, match="the number of the state"):
        states(Box((4,)))
    with pytest.raises(SettingsError, match="the number of the state"):
        tiny(LPG, tabular=True).check(Spec(Box((1,), 0.0, 4.0), Discrete(2)))
    with pytest.raises(SettingsError, match="lifetime=1 is less"):
        replace(META, lifetime=1).check(ROOM.spec)
    with pytest.raises(SettingsError, match="descent='fast' is not one of adam, rmsprop, sgd"):
        replace(META, descent="fast").check(ROOM.spec)
    with pytest.raises(SettingsError, match="environment in JAX"):
        source_for(META.wants(ROOM.spec), ids.make("gymnasium:CartPole-v1"))
    with pytest.raises(SettingsError, match="a rule does not act"):
        META.act(None, None, (), None)
    with pytest.raises(SettingsError, match="settings are words"):
        assert assemble(Experiment(LPG(learned=Learned("", RULE)), "CartPole-v1", 10)).parts
