"""Trajectory Transformer: the discretiser, what is attended to, the cache, and plans by beam
search."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.algorithms.trajectory_transformer import TrajectoryTransformer, decayed
from spinward.cli import main
from spinward.core import Box, Discrete, Spec, Transition, config, replace
from spinward.errors import SettingsError
from spinward.evaluation.episodes import Agents, evaluate
from spinward.experience.behaviour import Uniform
from spinward.experience.episodes import TIME, TO_GO, with_returns
from spinward.experience.material import Data, source_for
from spinward.loop import Parts
from spinward.networks.discretiser import Discretiser
from spinward.networks.recurrent import REWARD
from spinward.networks.trajectory_model import TrajectoryModel, selected
from spinward.programs.choose import program
from spinward.rewards.environment import Environment
from spinward.run.recording import played
from spinward.search import beam
from spinward.search.token_plans import TokenPlans

KEY = jax.random.PRNGKey(0)
CHOICES = Spec(Box((2,)), Discrete(3))
NUMBERS = Spec(Box((2,)), Box((2,), -1.0, 1.0))
SMALL = {"width": 16, "layers": 2, "heads": 2, "context": 4, "horizon": 2, "bins": 8}


@pytest.mark.parametrize("kind", ["quantile", "uniform"])
def test_tokens_that_are_read_back_are_the_same_tokens(kind):
    random = np.random.default_rng(0)
    rows = np.stack([
        random.normal(size=1_000),
        np.full(1_000, 3.0),  # constant
        random.integers(0, 4, 1_000),  # fewer values than bins
        np.where(random.random(1_000) < 0.9, 0.0, random.exponential(size=1_000)),  # mostly one
        random.standard_cauchy(1_000),
        1e6 + np.float32(random.integers(0, 3, 1_000)) / 16,  # neighbours in float32
    ], 1)  # fmt: skip
    rows = jnp.asarray(rows, jnp.float32)
    made = Discretiser.fitted(rows, 50, kind, {})
    tokens = made.tokens(rows)
    np.testing.assert_array_equal(made.tokens(made.values(tokens)), tokens)
    assert tokens.min() >= 0 and tokens.max() <= 49
    width = jnp.take_along_axis(jnp.diff(made.edges), tokens.T, 1).T
    assert (jnp.abs(made.values(tokens) - rows) <= 0.5 * width * (1 + 1e-4) + 1e-6).all()
    far = made.tokens(jnp.full((1, 6), 1e9)), made.tokens(jnp.full((1, 6), -1e9))
    assert far[0].tolist() == [[49] * 6] and far[1].tolist() == [[0] * 6]


def test_bins_have_equally_many_rows_or_equal_widths():
    rows = jnp.asarray(np.random.default_rng(0).permutation(1_003)[:, None] ** 2.0, jnp.float32)
    made = Discretiser.fitted(rows, 50, "quantile", {})
    counts = np.bincount(made.tokens(rows)[:, 0], minlength=50)
    assert set(counts.tolist()) <= {20, 21} and made.used.all()
    edges = Discretiser.fitted(jnp.array([[0.0], [10.0], [4.0]]), 5, "uniform", {}).edges
    np.testing.assert_allclose(edges, [[0.0, 2.0, 4.0, 6.0, 8.0, 10.0]], atol=1e-6)


def test_a_choice_has_a_bin_for_each_of_its_values():
    rows = jnp.array([[0.0, 7.0], [2.0, 8.0], [2.0, 9.0]])
    made = Discretiser.fitted(rows, 6, "quantile", {0: 4})
    every = jnp.array([[i, 7.0] for i in range(4)])
    assert made.tokens(every)[:, 0].tolist() == [0, 1, 2, 3]
    assert made.values(made.tokens(every))[:, 0].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert made.used[0].tolist() == [True, False, True, False, False, False]


@pytest.fixture(scope="module")
def model():
    made = TrajectoryModel.init(KEY, CHOICES, 8, 4, 16, 2, 2)
    return jax.tree.map(lambda x: x + 0.1 * jax.random.normal(KEY, x.shape), made)


def random_tokens(model, batch=2, steps=4):
    return jax.random.randint(KEY, (batch, steps * model.entries), 0, model.bins)


def test_a_token_depends_on_those_before_it_and_on_no_value(model):
    tokens = random_tokens(model)  # 5 entries: two of what is seen, action, reward, value
    every = jnp.ones_like(tokens, bool)
    before = model.logits(tokens, every)

    def first_changed(at):
        after = model.logits(tokens.at[:, at].set((tokens[:, at] + 1) % 8), every)
        differs = (after != before).any((0, 2))
        return int(differs.argmax()) if differs.any() else None

    assert [first_changed(at) for at in range(10)] == [0, 1, 2, 3, None, 5, 6, 7, 8, None]
    padded = every.at[:, 5:10].set(False)
    one = model.logits(tokens, padded)[:, 10:]
    other = model.logits(tokens.at[:, 5:10].set(0), padded)[:, 10:]
    np.testing.assert_array_equal(one, other)


def test_with_a_cache_the_logits_are_the_same(model):
    tokens = random_tokens(model)
    valid = jnp.ones_like(tokens, bool).at[1, :5].set(False)
    wanted = model.logits(tokens, valid)
    hidden, cache = model.extend(tokens[:, :7], valid[:, :7], 0, model.cache(2, 4))
    for at in range(7, 20):
        logits = model.next_logits(hidden, at % 5)
        np.testing.assert_allclose(logits, wanted[:, at - 1], atol=1e-5)
        hidden, cache = model.extend(tokens[:, at : at + 1], valid[:, at : at + 1], at % 5, cache)
    both = selected(cache, jnp.array([1, 1, 0]))
    np.testing.assert_array_equal(both.keys[0][0], cache.keys[0][1])
    np.testing.assert_array_equal(both.mask[2], cache.mask[0])


def test_the_least_likely_tokens_are_cut():
    logits = jnp.log(jnp.array([[0.1, 0.4, 0.2, 0.3], [0.25, 0.25, 0.25, 0.25]]))
    kept = jnp.isfinite(beam.likeliest(logits, 0.55))
    # .1 and .1 + .2 are below .55; of equals all stay.
    assert kept.tolist() == [[False, True, False, True], [True] * 4]
    assert jnp.isfinite(beam.likeliest(logits, 0.0)).all()
    assert jnp.isfinite(beam.likeliest(logits, 0.99)).tolist()[0] == [False, True, False, False]


class Chain:
    """Three states and two actions; copies of a plan try the actions in turn."""

    reward = jnp.array([[0.0, 1.0], [0.5, 0.0], [3.0, -1.0]])
    after = jnp.array([[1, 0], [2, 1], [0, 2]])
    value = jnp.array([0.2, 1.0, 4.0])  # of the state after an action

    def select(self, state, index):
        return state[index]

    def act(self, state, key):
        action = jnp.arange(len(state)) % 2
        after = self.after[state, action]
        return after, action, self.reward[state, action], self.value[after]

    def observe(self, state, key):
        return state


def exhaustive(horizon, gamma=0.9):
    """The best estimated return of all plans from state 0, and its first action."""
    chain, best = Chain(), (-np.inf, None)
    for plan in itertools.product((0, 1), repeat=horizon):
        state, total = 0, 0.0
        for t, action in enumerate(plan):
            total += gamma**t * float(chain.reward[state, action])
            state = int(chain.after[state, action])
        best = max(best, (total + gamma**horizon * float(chain.value[state]), plan[0]))
    return best


@pytest.mark.parametrize("horizon", [1, 2, 3, 4])
def test_a_beam_that_is_wide_enough_finds_the_best_of_all_plans(horizon):
    plans = beam.search(Chain(), jnp.zeros(1, jnp.int32), KEY, 2**horizon, 2, horizon, 0.9)
    score, first = exhaustive(horizon)
    np.testing.assert_allclose(plans.score[0], score, rtol=1e-5)
    assert int(plans.actions[0, 0]) == first
    assert len(np.unique(plans.actions, axis=0)) == 2**horizon and jnp.isfinite(plans.score).all()


def test_a_narrow_beam_keeps_what_looks_best_by_rewards_and_values():
    def plans(width, horizon):
        return beam.search(Chain(), jnp.zeros(1, jnp.int32), KEY, width, 2, horizon, 0.9)

    # One step: 0 + 0.9 * 1 = 0.9 for action 0, and 1 + 0.9 * 0.2 = 1.18 for action 1.
    np.testing.assert_allclose(plans(2, 1).score, [1.18, 0.9], rtol=1e-6)
    # A beam of one goes on with action 1 alone, from state 0 again: 1 + 0.9 * 1.18.
    one = plans(1, 2)
    np.testing.assert_allclose(one.score, [1 + 0.9 * 1.18], rtol=1e-6)
    np.testing.assert_allclose(one.rewards, [1.9], rtol=1e-6)
    # The best of all, which a beam of two keeps: 0 + 0.9 * 0.5 + 0.81 * 4.
    np.testing.assert_allclose(plans(2, 2).score, [3.69, 1 + 0.9 * 1.18], rtol=1e-6)
    assert exhaustive(2)[0] == pytest.approx(3.69) and plans(2, 2).actions[0].tolist() == [0, 0]


def test_of_plans_with_the_same_actions_one_counts():
    assert beam.repeated(jnp.array([[1, 2], [2, 1], [1, 2], [1, 2]])).tolist() == [
        False, False, True, True]  # fmt: skip


def test_a_step_is_what_was_seen_and_done_the_reward_and_the_return_after_it():
    algorithm = TrajectoryTransformer(**SMALL, gamma=0.5)
    agent = algorithm.init(KEY, NUMBERS)
    flags = jnp.array([False, False, True])
    steps = Transition(jnp.arange(6.0).reshape(3, 2), jnp.zeros((3, 2)), jnp.array([1.0, 2.0, 4.0]),
                       flags, flags & False, jnp.zeros((3, 2)), jnp.ones(3), {})  # fmt: skip
    rows = algorithm.numbers(agent, with_returns(steps, 0.5))
    np.testing.assert_allclose(rows[1], [2.0, 3.0, 0.0, 0.0, 2.0, 4.0])
    np.testing.assert_allclose(rows[:, -1], [2.0 + 0.5 * 4.0, 4.0, 0.0])


def test_a_window_ends_with_its_episode():
    algorithm = TrajectoryTransformer(**SMALL)
    agent = algorithm.init(KEY, CHOICES)
    zeros = jnp.zeros((4, 2))
    times = jnp.array([[0, 4], [1, 5], [2, 0], [0, 1]])
    batch = Transition(jnp.zeros((4, 2, 2)), zeros, zeros, zeros, zeros, jnp.zeros((4, 2, 2)),
                       zeros + 1.0, {TIME: times, TO_GO: zeros})  # fmt: skip
    _, valid = algorithm.windows(agent, batch)
    assert valid[:, ::5].tolist() == [[True, True, True, False], [True, True, False, False]]


def test_actions_count_more_in_the_loss_and_padding_not_at_all(model):
    tokens = random_tokens(model)
    valid = jnp.ones_like(tokens, bool).at[0, 10:].set(False)
    algorithm = TrajectoryTransformer(**SMALL, action_weight=5.0)
    log_probs = np.asarray(jax.nn.log_softmax(model.logits(tokens, valid)))
    total = count = 0.0
    for row, at in itertools.product(range(2), range(1, 20)):
        if row == 0 and at >= 10:
            continue
        weight = 5.0 if at % 5 == 2 else 1.0
        total -= weight * log_probs[row, at - 1, tokens[row, at]]
        count += 1
    np.testing.assert_allclose(algorithm.loss(model, tokens, valid)[0], total / count, rtol=1e-5)


def test_matrices_decay_and_embeddings_norms_and_biases_do_not(model):
    chosen = jax.tree.map(lambda x, kept: x if kept else None, model, decayed(model))
    layers, other = chosen.decoder.layers, chosen.decoder
    assert layers.q.w is not None and layers.down.w is not None and chosen.heads is not None
    assert layers.q.b is None and layers.mlp_norm.scale is None
    assert other.embedding is None and other.positions is None


@pytest.mark.parametrize("spec", [CHOICES, NUMBERS], ids=["choices", "numbers"])
def test_an_action_is_planned_from_the_tokens_of_the_last_steps(spec):
    algorithm = TrajectoryTransformer(**SMALL, plans=3)
    agent = algorithm.init(KEY, spec)
    model, bins = agent.learner.model, agent.discretiser
    memory, random = algorithm.memory(agent, 2), np.random.default_rng(0)
    act = jax.jit(algorithm.act)
    rows = []
    for t in range(5):
        obs, reward = random.random((2, 2)).astype(np.float32), random.random(2)
        action, memory, _ = act(agent, obs, memory, jax.random.PRNGKey(t))
        if t == 4:
            break
        memory = {**memory, REWARD: jnp.float32(reward)}
        of_action = np.asarray(memory["newest"][:, 2:-2])
        rows.append(np.concatenate([bins.tokens_of(jnp.asarray(obs), slice(0, 2)), of_action,
                                    bins.tokens_of(jnp.float32(reward)[:, None], slice(-2, -1)),
                                    np.zeros((2, 1), int)], 1))  # fmt: skip
    # The last two steps, as 4 are read and 2 are planned; then what is seen.
    past = np.concatenate([*rows[-2:], bins.tokens_of(jnp.asarray(obs), slice(0, 2))], 1)
    np.testing.assert_array_equal(memory["tokens"].reshape(2, -1), past[:, :-2])
    keys = [jax.random.fold_in(jax.random.PRNGKey(4), env) for env in range(2)]
    tried = TokenPlans(model, bins, algorithm.cut_share)
    for env in range(2):
        tokens = jnp.asarray(past[env : env + 1], jnp.int32)
        state = model.extend(tokens, tokens >= 0, 0, model.cache(1, 4))
        plans = beam.search(tried, state, keys[env], 3, 2, 2, 0.99)
        np.testing.assert_array_equal(plans.actions[0, 0], memory["newest"][env, 2:-2])
    assert action.shape == (2,) if spec is CHOICES else (abs(action) <= 1).all()


@config
class Delayed:
    """The right choice depends on the state: it earns nothing then, and 1 in the step after."""

    @property
    def spec(self):
        return Spec(Box((2,)), Discrete(2))

    def seen(self, state):
        which, _, time = state
        return jnp.array([which, time]).astype(jnp.float32)

    def reset(self, key):
        state = jax.random.randint(key, (), 0, 2), jnp.float32(0.0), jnp.int32(0)
        return state, self.seen(state)

    def step(self, state, action, key):
        which, owed, time = state
        after = jax.random.randint(key, (), 0, 2), jnp.float32(action == which), time + 1
        over = time == 5
        return after, self.seen(after), owed, jnp.zeros_like(over), over


def learned(env, algorithm, rows=4_000):
    fields = played(env, Uniform(env.spec), (), rows, 0).fields
    names = ("obs", "action", "reward", "terminated", "truncated", "next_obs")
    weight = np.ones(rows, np.float32)
    data = Data(Transition(**{n: fields[n] for n in names}, weight=weight, extras={}), env.spec)
    parts = Parts(algorithm, source_for(algorithm.wants(env.spec), None, data), Environment())
    run = program(parts)
    state, metrics = run.advance(run.start(KEY[None]), 1)
    return state.agent, metrics


@pytest.mark.slow
def test_plans_earn_more_than_the_random_actions_that_they_learned_from():
    env = Delayed()
    algorithm = TrajectoryTransformer(
        updates=1000, width=32, layers=2, heads=2, context=4, horizon=2, bins=12, lr=1e-3,
        plans=8, cut_share=0.0)  # fmt: skip
    agent, metrics = learned(env, algorithm)
    assert metrics["loss"].size
    returns = evaluate(Agents(algorithm, agent, env, 1), 50).returns
    # Random actions earn 2.5 of 5 in the mean.
    assert returns.mean() > 4.0
    # A plan of one step, without the value after it, would see nothing of what it earns.
    blind = replace(algorithm, horizon=1, gamma=1e-9)
    assert evaluate(Agents(blind, agent, env, 1), 50).returns.mean() < 3.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": 10}, "horizon=10 must be below context=10"),
        ({"discretiser": "even"}, "discretiser='even' must be quantile or uniform"),
        ({"bins": 2}, "bins=2 is below the 3 actions"),
        ({"heads": 3}, "heads=3 does not divide width=128"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        TrajectoryTransformer(**settings).check(CHOICES)
    with pytest.raises(SettingsError, match="needs a vector as observation"):
        TrajectoryTransformer().check(Spec(Box((8, 8, 3)), Discrete(3)))


@pytest.mark.slow
def test_a_run_is_evaluated_by_the_same_command_as_any(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = (
        "data generate gymnasium:CartPole-v1 data --quality random --steps 2000",
        "train trajectory_transformer gymnasium:CartPole-v1 --data data --steps 20 --updates 10 "
        "--width 16 --layers 1 --context 4 --horizon 2 --plans 2 --name run",
        "evaluate runs/run --episodes 2 --json",
    )
    for line in lines:
        assert main.main(line.split()) == 0
    assert '"mode": "greedy"' in capsys.readouterr().out
