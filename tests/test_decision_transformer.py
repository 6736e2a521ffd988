"""Decision Transformer: returns to go, contexts, what is attended to, and acting with a memory."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.algorithms.decision_transformer import DecisionTransformer, context_of
from spinward.cli import main
from spinward.core import Box, Discrete, Spec, Transition, config, replace
from spinward.envs.pendulum import Pendulum
from spinward.errors import SettingsError
from spinward.evaluation.episodes import Agents, evaluate
from spinward.experience.episodes import CUT, TIME, TO_GO, with_returns
from spinward.experience.material import Data, source_for
from spinward.loop import Parts
from spinward.networks.recurrent import REWARD
from spinward.networks.return_conditioned import PastSteps
from spinward.programs.choose import program
from spinward.rewards.environment import Environment
from spinward.run.run import load

CHOICES = Spec(Box((2,)), Discrete(3))
NUMBERS = Spec(Box((2,)), Box((2,), -1.0, 1.0))
SMALL = {"width": 16, "layers": 2, "heads": 2, "context": 4, "longest": 10}
KEY = jax.random.PRNGKey(0)


def steps_of(lengths, spec=CHOICES, cut=(), seed=0):
    """Steps of episodes of these lengths, with random content."""
    random, rows = np.random.default_rng(seed), sum(lengths)
    last = np.cumsum(lengths) - 1
    flags = np.zeros((3, rows), bool)
    for i, at in enumerate(last):
        flags[2 if i in cut else i % 2, at] = True
    discrete = isinstance(spec.action, Discrete)
    action = random.integers(0, 3, rows) if discrete else random.uniform(-1, 1, (rows, 2))
    return Transition(
        obs=random.normal(size=(rows, 2)).astype(np.float32),
        action=action.astype(np.int32 if discrete else np.float32),
        reward=np.arange(1.0, rows + 1, dtype=np.float32),
        terminated=flags[0],
        truncated=flags[1] | flags[2],
        next_obs=random.normal(size=(rows, 2)).astype(np.float32),
        weight=np.ones(rows, np.float32),
        extras={CUT: flags[2]},
    )


def test_returns_to_go_are_those_of_whole_episodes():
    steps = with_returns(steps_of([3, 2, 2]), 1.0)
    assert steps.extras[TIME].tolist() == [0, 1, 2, 0, 1, 0, 1]
    assert steps.extras[TO_GO].tolist() == [6, 5, 3, 9, 5, 13, 7]
    half = with_returns(steps_of([3, 2, 2]), 0.5).extras[TO_GO]
    assert half.tolist() == [1 + 1 + 0.75, 3.5, 3, 6.5, 5, 9.5, 7]
    left = with_returns(steps_of([3, 2, 2], cut=(1,)), 1.0)
    assert left.reward.tolist() == [1, 2, 3, 6, 7] and left.extras[TO_GO].tolist()[3:] == [13, 7]
    with pytest.raises(SettingsError, match="no episode of these 3 steps is whole"):
        with_returns(steps_of([3], cut=(0,)), 1.0)


@pytest.fixture(params=[CHOICES, NUMBERS], ids=["choices", "numbers"])
def agent(request):
    algorithm = DecisionTransformer(**SMALL)
    return algorithm, algorithm.init(KEY, request.param), request.param


def random_context(spec, batch=3, time=4, padded=0):
    k = jax.random.split(KEY, 3)
    discrete = isinstance(spec.action, Discrete)
    at = jnp.broadcast_to(jnp.arange(time) - padded, (batch, time))
    action = spec.action.sample(k[1], (batch, time))
    assert discrete or action.shape == (batch, time, 2)
    obs = jax.random.normal(k[0], (batch, time, 2))
    return PastSteps(obs, action, jax.random.uniform(k[2], (batch, time)), at, at >= 0)


def other(action, spec):
    return (action + 1) % 3 if isinstance(spec.action, Discrete) else -action


def test_an_action_depends_on_what_came_before_it_and_on_nothing_else(agent):
    _, state, spec = agent
    # Larger than at the start, where outputs hardly differ.
    model = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(KEY, x.shape), state.learner.model)
    context = random_context(spec)
    before = model(context)

    def changed(**fields):
        """At which steps the output differs."""
        after = model(replace(context, **fields))
        return (after != before).reshape(3, 4, -1).any((0, 2)).tolist()

    assert changed(action=context.action.at[:, 2].set(other(context.action[:, 2], spec))) == [
        False, False, False, True]  # fmt: skip
    assert changed(obs=context.obs.at[:, 2].add(1.0)) == [False, False, True, True]
    assert changed(to_go=context.to_go.at[:, 1].add(1.0)) == [False, True, True, True]


def test_padding_is_not_attended_to(agent):
    _, state, spec = agent
    context = random_context(spec, padded=2)
    before = state.learner.model(context)[:, 2:]
    assert not context.valid[:, :2].any() and context.valid[:, 2:].all()
    other_padding = replace(
        context,
        obs=context.obs.at[:, :2].set(100.0),
        action=context.action.at[:, :2].set(other(context.action[:, :2], spec)),
        to_go=context.to_go.at[:, :2].set(-50.0),
        time=context.time.at[:, :2].set(7),
    )
    np.testing.assert_array_equal(state.learner.model(other_padding)[:, 2:], before)
    # Nor does it count in the loss.
    algorithm = agent[0]
    batch = replace(steps_of([12], spec), extras={})
    batch = jax.tree.map(lambda x: jnp.asarray(x).reshape(3, 4, *x.shape[1:]), batch)
    values = [algorithm.loss(state.learner.model, x, batch)[0] for x in (context, other_padding)]
    assert values[0] == values[1]


def test_a_context_ends_with_its_episode_and_has_padding_before_it():
    steps = with_returns(steps_of([3, 5]), 1.0)
    agent = replace(DecisionTransformer(**SMALL).init(KEY, CHOICES), scale=jnp.float32(2.0))
    window = jax.tree.map(lambda x: jnp.asarray(x)[jnp.array([[0, 1], [1, 2], [2, 3], [3, 4]])],
                          steps)  # fmt: skip
    context, _ = context_of(agent, window)
    assert context.valid.tolist() == [[False, False, False, True], [False, False, True, True]]
    assert context.time.tolist()[1] == [-2, -1, 0, 1]
    assert context.to_go.tolist()[1] == [2.5, 1.5, 15.0, 13.0]
    np.testing.assert_allclose(context.obs[1], agent.obs(steps.obs[1:5]), rtol=1e-6)


@pytest.mark.parametrize("spec", [CHOICES, NUMBERS], ids=["choices", "numbers"])
def test_acting_is_the_forward_pass_of_training_on_the_same_context(spec):
    algorithm = DecisionTransformer(**SMALL, target_return=(20.0,))
    agent = algorithm.init(KEY, spec)
    agent = replace(agent, scale=jnp.float32(4.0), target=jnp.float32(20.0))
    random = np.random.default_rng(1)
    obs, reward = random.normal(size=(7, 2, 2)).astype(np.float32), random.random((7, 2))
    memory, taken = algorithm.memory(agent, 2), []
    for t in range(7):
        action, memory, _ = algorithm.act(agent, obs[t], memory, KEY, False)
        taken.append(action)
        memory = {**memory, REWARD: jnp.float32(reward[t])}
        first = max(0, t - 3)
        earned = np.concatenate([np.zeros((1, 2)), np.cumsum(reward, 0)])[first : t + 1]
        empty = np.zeros((t + 1 - first, 2), np.float32)
        window = Transition(
            obs[first : t + 1], jnp.stack(taken[first:]), empty, empty, empty, empty, empty,
            {TIME: np.arange(first, t + 1)[:, None] + np.zeros((1, 2), int),
             TO_GO: np.float32(20.0 - earned)})  # fmt: skip
        context, _ = context_of(
            agent,
            jax.tree.map(
                jnp.asarray,
                replace(
                    window,
                    reward=obs[: t + 1 - first, :, 0],
                    terminated=(),
                    truncated=(),
                    next_obs=(),
                    weight=(),
                ),
            ),
        )
        output = agent.learner.model(context)[:, -1]
        wanted = output.argmax(-1) if isinstance(spec.action, Discrete) else output
        np.testing.assert_allclose(action, wanted, atol=1e-5)
    assert memory["to_go"][0, -1] == pytest.approx(20.0 - reward[:6, 0].sum(), abs=1e-5)


@config
class Choice:
    """The first of two actions decides what the end of three steps is worth: 0, 5 or 10. With
    `risky`, the first two are a safe 6, and the last 10 or 0 with equal chances."""

    risky: bool = False

    @property
    def spec(self):
        return Spec(Box((1,)), Discrete(3))

    def reset(self, key):
        return (jnp.int32(0), jnp.float32(0.0)), jnp.zeros(1)

    def step(self, state, action, key):
        time, worth = state
        lucky = 10.0 * jax.random.bernoulli(key)
        risky = jnp.where(action == 2, lucky, 6.0)
        worth = jnp.where(time == 0, risky if self.risky else 5.0 * action, worth)
        over = time == 2
        after = (time + 1, worth)
        reward = jnp.where(over, worth, 0.0)
        return after, jnp.full(1, time + 1.0), reward, over, jnp.zeros_like(over)


def taught(env, targets, steps=300):
    """The returns [target, episode] of a policy that learned from random actions."""
    from spinward.experience.behaviour import Uniform
    from spinward.run.recording import played

    fields = played(env, Uniform(env.spec), (), 3_000, 0).fields
    names = ("obs", "action", "reward", "terminated", "truncated", "next_obs")
    data = Transition(**{n: fields[n] for n in names}, weight=np.ones(3_000, np.float32), extras={})
    algorithm = DecisionTransformer(
        context=3, width=32, layers=1, updates=steps, lr=3e-3, first_updates=20, longest=3
    )
    parts = Parts(
        algorithm, source_for(algorithm.wants(env.spec), None, Data(data, env.spec)), Environment()
    )
    run = program(parts)
    agent, _ = run.advance(run.start(KEY[None]), 1)
    asked = partial(replace, agent.agent)
    return [
        evaluate(Agents(algorithm, asked(target=jnp.full(1, float(t))), env, 1), 200).returns[0]
        for t in targets
    ]


def test_the_return_follows_the_one_that_is_asked_for():
    returns = taught(Choice(), (0, 5, 10, 30))
    assert [x.mean() for x in returns] == [0.0, 5.0, 10.0, 10.0]  # 30 is more than there is


def test_it_takes_luck_for_skill():
    """A known failure, which the page warns of: asked for 10, it takes the worse arm."""
    (returns,) = taught(Choice(risky=True), (10,))
    assert set(returns.tolist()) == {0.0, 10.0} and returns.mean() < 6.0


def test_the_target_is_a_quantile_of_the_episodes_or_what_is_set():
    steps = with_returns(steps_of([1] * 101), 1.0)  # returns 1, 2, ..., 101
    steps = jax.tree.map(lambda x: jnp.asarray(x)[:, None], steps)

    def target(**settings):
        algorithm = DecisionTransformer(**SMALL, **settings)
        fitted = algorithm.fit(algorithm.init(KEY, CHOICES), steps)
        assert fitted.scale == 101.0
        return float(fitted.target)

    assert target() == pytest.approx(96.0) and target(target_quantile=0.5) == pytest.approx(51.0)
    assert target(target_return=(250.0,)) == 250.0
    with pytest.raises(SettingsError, match="expected one number, or none"):
        DecisionTransformer(target_return=(1.0, 2.0)).check(CHOICES)


@pytest.mark.slow
@pytest.mark.parametrize("env", ["Pendulum-v1", "gymnasium:CartPole-v1"])
def test_a_run_is_evaluated_by_the_same_command_as_any(env, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = (
        f"data generate {env} data --quality random --steps 2000",
        f"train decision_transformer {env} --data data --steps 40 --updates 20 --width 16 "
        "--layers 1 --context 5 --name run",
        "evaluate runs/run --episodes 4 --json",
    )
    for line in lines:
        assert main.main(line.split()) == 0
    assert '"mode": "greedy"' in capsys.readouterr().out
    policy = load("runs/run").policy()
    action = policy(Pendulum().spec.zeros() if "Pendulum" in env else np.zeros(4, np.float32))
    assert np.isfinite(action).all()
