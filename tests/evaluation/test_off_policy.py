"""Policies judged by logged steps alone: what is estimated, what is refused, and the verdict."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_importance import TRUTH

from spinward.cli import main as command
from spinward.core import Box, Discrete, Spec, Transition, config, no_memory, replace
from spinward.data.steps import read_data
from spinward.errors import DamagedFileError, SettingsError
from spinward.evaluation import fitted_q, off_policy
from spinward.evaluation.off_policy import EvaluationOptions, evaluate
from spinward.evaluation.target_policy import Target
from spinward.experience.episodes import CUT, PROBABILITY
from spinward.experience.wanted import Logged
from spinward.experiments.ope_coverage import CERTAIN, GAMMA, LOGGED, START, WANTED, values
from spinward.experiments.ope_coverage import MOVES as P
from spinward.experiments.ope_coverage import REWARDS as R
from spinward.experiments.ope_coverage import STEPS as H

SPEC = Spec(Box((8,)), Discrete(2))
QUICK = {"gamma": GAMMA, "updates": 1500, "copying": 1000, "resamples": 100}


@config
class Table:
    """Acts with given probabilities, by the state that an observation of 3 + 5 numbers marks."""

    memory = staticmethod(no_memory)

    def check(self, spec):
        pass

    def wants(self, spec):
        return Logged(1, 1)

    def init(self, key, spec):
        return jnp.ones((3, 2)) / 2

    def act(self, agent, obs, memory, key, explore=True):
        logits = jnp.log(obs[..., :3] @ agent)
        chance = jax.random.categorical(key, logits)
        return (chance if explore else logits.argmax(-1)).astype(jnp.int32), memory, {}

    def log_prob(self, agent, batch):
        one = jax.nn.one_hot(batch.action, 2)
        return jnp.log((batch.obs[..., :3] @ agent * one).sum(-1))


def marked(state, t):
    return np.concatenate([np.eye(3)[state], np.eye(5)[np.minimum(t, 4)]], -1).astype(np.float32)


def logged(n, seed=0, policy=LOGGED, told=True):
    """Steps of the decision process of the estimators' tests."""
    random, fields = np.random.default_rng(seed), []
    state = random.choice(3, n, p=START)
    for t in range(H):
        action = (random.random(n) > policy[state, 0]).astype(np.int32)
        after = (random.random(n)[:, None] > np.cumsum(P[state, action], 1)).sum(1).clip(max=2)
        fields.append((marked(state, np.full(n, t)), action, R[state, action],
                       np.full(n, t == H - 1), marked(after, np.full(n, t + 1)),
                       policy[state, action]))  # fmt: skip
        state = after
    obs, action, reward, last, next_obs, prob = (
        np.stack(x, 1).reshape(n * H, *x[0].shape[1:]) for x in zip(*fields, strict=True)
    )
    no = np.zeros(n * H, bool)
    extras = {CUT: no} | ({PROBABILITY: np.float32(prob)} if told else {})
    return Transition(obs, action, np.float32(reward), last, no, next_obs,
                      np.ones(n * H, np.float32), extras)  # fmt: skip


def target(policy=WANTED, **more):
    return Target(Table(), jnp.asarray(policy, jnp.float32), SPEC, **{"explore": True, **more})


@pytest.fixture(scope="module")
def judged():
    return evaluate(target(), logged(400), EvaluationOptions(**QUICK))


def test_every_estimate_is_near_the_truth_and_the_policy_is_called_better(judged):
    for name, spread in (("weighted IS", 0.106), ("weighted per-decision IS", 0.068),
                         ("doubly robust", 0.07), ("weighted doubly robust", 0.07),
                         ("MAGIC", 0.1), ("direct method", 0.1)):  # fmt: skip
        numbers = judged["estimates"][name]
        assert numbers["value"] == pytest.approx(TRUTH, abs=3 * spread / 2**0.5), name
        assert numbers["low"] < numbers["value"] < numbers["high"], name
    assert judged["data"]["value"] == pytest.approx(0.835, abs=0.15)
    assert judged["verdict"].startswith("better than the data's policy (+0.")
    assert 30 < judged["effective_size"] < 200 and judged["outside_share"] == 0.0
    assert (judged["episodes"], judged["rows"], judged["propensities"]) == (400, 2000, "logged")
    said = off_policy.lines(judged)
    assert said[0] == "400 episodes, 2,000 steps, gamma 0.9" and said[-1] == judged["verdict"]


def test_probabilities_that_were_not_logged_are_estimated_and_that_is_said():
    found = evaluate(target(), logged(400, told=False), EvaluationOptions(**QUICK))
    assert found["propensities"] == "estimated"
    assert found["estimates"]["weighted per-decision IS"]["value"] == pytest.approx(TRUTH, abs=0.25)
    assert "probabilities of its actions are estimated" in " ".join(off_policy.lines(found))


def test_the_policy_of_the_data_is_told_from_no_other():
    """The mean return of this sample is above the truth by chance, which the doubly robust estimate
    sees and takes for a loss; an estimate without a model does not."""
    found = evaluate(target(LOGGED), logged(400, seed=1), EvaluationOptions(**QUICK))
    assert found["verdict"].startswith("no difference from the data's policy can be told")
    assert found["estimates"]["IS"]["value"] == pytest.approx(found["data"]["value"], abs=1e-6)


def test_data_without_exploration_cannot_tell():
    found = evaluate(target(WANTED), logged(300, policy=CERTAIN), EvaluationOptions(**QUICK))
    assert found["verdict"].startswith("cannot tell:") and "outside the data" in found["verdict"]


def test_too_few_effective_episodes_cannot_tell():
    rare = np.array([(0.9, 0.1), (0.1, 0.9), (0.1, 0.9)])
    found = evaluate(target(1 - rare), logged(300, policy=rare), EvaluationOptions(**QUICK))
    assert found["verdict"].startswith("cannot tell: effective sample size ")
    assert found["verdict"].endswith("of 300")


def test_clipping_limits_weights_and_says_for_how_many():
    options = EvaluationOptions(**QUICK | {"clip": 1.0})
    found = evaluate(target(), logged(200), options)
    assert 0.1 < found["clipped_share"] < 0.6


def test_one_step_is_a_bandit_and_has_the_names_of_one():
    steps = logged(300)
    first = np.arange(1500) % 5 == 0
    steps = jax.tree.map(lambda x: x[first], steps)
    steps = replace(steps, terminated=np.ones(300, bool))
    found = evaluate(target(), steps, EvaluationOptions(**QUICK))
    assert set(found["estimates"]) == {"IPS", "SNIPS", "direct method", "doubly robust",
                                       "weighted doubly robust"}  # fmt: skip
    truth = START @ (WANTED * R).sum(1)
    assert found["estimates"]["SNIPS"]["value"] == pytest.approx(truth, abs=0.12)
    assert found["estimates"]["direct method"]["value"] == pytest.approx(truth, abs=0.08)


def test_episodes_that_the_recording_cut_are_left_out():
    steps = logged(50)
    cut = np.arange(250) == 249
    steps = replace(steps, extras={**steps.extras, CUT: cut},
                    terminated=steps.terminated & ~cut, truncated=cut)  # fmt: skip
    whole, left_out = off_policy.whole_episodes(steps)
    assert len(whole.reward) == 245 and left_out == 1
    few = jax.tree.map(lambda x: x[:15], steps)
    with pytest.raises(SettingsError, match="3 episodes are whole; at least 4 are needed"):
        off_policy.whole_episodes(few)


def test_a_share_of_random_actions_gives_a_greedy_policy_its_probabilities():
    obs = marked(np.array([0, 1, 2]), np.zeros(3, int))
    found = target(explore=False, epsilon=0.2).does(obs)
    np.testing.assert_allclose(found, [(0.1, 0.9), (0.9, 0.1), (0.9, 0.1)], atol=1e-6)
    np.testing.assert_allclose(target().does(obs), WANTED, atol=1e-6)
    np.testing.assert_allclose(target(explore=False).does(obs), [(0, 1), (1, 0), (1, 0)])


@config
class Remembers(Table):
    def memory(self, agent, envs):
        return jnp.zeros(envs)


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (target(epsilon=1.0), r"epsilon=1\.0 must be at least 0 and below 1"),
        (Target(Remembers(), jnp.ones((3, 2)), SPEC), "Remembers has a memory"),
        (
            Target(Table(), jnp.ones((3, 2)), Spec(SPEC.obs, Box((1,), -1, 1)), epsilon=0.1),
            r"epsilon=0\.1 is for one discrete action",
        ),
    ],
)
def test_a_policy_that_cannot_be_judged_is_refused(one, said):
    with pytest.raises(SettingsError, match=said):
        one.check()


def test_the_values_of_a_given_policy_are_those_of_dynamic_programming():
    steps = logged(2000)
    scaled = fitted_q.standardised(steps)
    after = target().does(steps.next_obs)
    algorithm = fitted_q.FittedQ(GAMMA, anneal_updates=4000)
    agent = fitted_q.learn(algorithm, replace(scaled, extras={fitted_q.NEXT: after}), SPEC, 4000)
    q, _ = values(WANTED)
    state, time = steps.obs[:500, :3].argmax(1), steps.obs[:500, 3:].argmax(1)
    found = fitted_q.taken(agent.learner.model, scaled.obs[:500], steps.action[:500])
    np.testing.assert_allclose(found, q[time, state, steps.action[:500]], atol=0.25)
    error = np.asarray(found) - q[time, state, steps.action[:500]]
    assert np.sqrt(np.square(error).mean()) < 0.08


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from spinward.envs.cartpole import CartPole
    from spinward.experiments.controllers import balance, data_of

    out = tmp_path_factory.mktemp("judged")
    steps = data_of(CartPole(), balance, 2000, random_share=0.5).steps
    names = ("obs", "action", "reward", "terminated", "truncated", "next_obs")
    fields = {name: getattr(steps, name) for name in names}
    np.savez(out / "data.npz", **fields)
    np.savez(out / "bad.npz", **fields, action_prob=np.where(np.arange(2000) == 7, 1.5, 0.5))
    words = ["train", "bc", "CartPole-v1", "--data", str(out / "data.npz"), "--out", str(out)]
    assert command.main([*words, "--name", "run", "--steps", "1000"]) == 0
    return out


def test_the_command_judges_a_run_by_a_file(run, capsys):
    capsys.readouterr()
    words = ["evaluate", str(run / "run"), "--offline", str(run / "data.npz"), "--explore",
             "--fit-updates", "500", "--json"]  # fmt: skip
    assert command.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["propensities"] == "estimated" and found["gamma"] == 0.99
    assert found["left_out"] == 0 and found["estimates"]["IS"]["value"] > 0
    assert found["verdict"] in off_policy.lines(found)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["bad.npz"], "action_prob is outside (0, 1]"),
        (["data.npz", "--agent", "3"], "agent=3: this run has the seeds 0 to 0"),
        (["data.npz", "--gamma", "2"], "gamma=2.0 must be between 0 and 1"),
        (["none.npz"], "there is no data file"),
        (["data.npz", "--env", "CartPole-v1"], "opens no environment: leave out --env"),
    ],
)
def test_mistakes_are_one_line(run, more, said, capsys):
    words = ["evaluate", str(run / "run"), "--offline", str(run / more[0]), *more[1:]]
    assert command.main(words) == (4 if "bad.npz" in more else 2)
    assert said in capsys.readouterr().err


def test_flags_of_an_estimate_from_data_need_data(run, capsys):
    assert command.main(["evaluate", str(run / "run"), "--epsilon", "0.1"]) == 2
    assert "--clip and --gate are of --offline DATA" in capsys.readouterr().err


def test_what_is_not_finite_is_null_in_json():
    assert off_policy.in_json({"a": {"b": float("inf")}, "c": 1.0}) == {"a": {"b": None}, "c": 1.0}


def test_densities_may_be_above_1(tmp_path):
    spec = Spec(Box((2,)), Box((1,), -1.0, 1.0))
    rows = {"obs": np.zeros((4, 2)), "action": np.zeros((4, 1)), "next_obs": np.zeros((4, 2)),
            "reward": np.zeros(4), "terminated": np.ones(4), "truncated": np.zeros(4)}  # fmt: skip
    np.savez(tmp_path / "a.npz", **rows, action_prob=np.full(4, 3.0))
    assert read_data(tmp_path / "a.npz", spec).extras[PROBABILITY].tolist() == [3.0] * 4
    np.savez(tmp_path / "b.npz", **rows, action_prob=np.array([1.0, 0.0, 1.0, np.nan]))
    with pytest.raises(DamagedFileError, match="action_prob of row 3 is nan"):
        read_data(tmp_path / "b.npz", spec)


def test_support_by_known_probabilities_is_what_their_ratios_lack_of_one():
    random = np.random.default_rng(0)
    taken = random.choice(3, 4000, p=[0.7, 0.3, 0.0])
    behaves = np.array([0.7, 0.3, 0.0])
    for policy, share in (([0.3, 0.7, 0.0], 0.0), ([0.3, 0.3, 0.4], 0.4), ([0.0, 0.0, 1.0], 1.0)):
        with np.errstate(divide="ignore"):
            ratio = np.log(np.array(policy)[taken]) - np.log(behaves[taken])
        assert off_policy.unsupported(ratio) == pytest.approx(share, abs=0.05)


def test_no_model_of_the_datas_policy_is_fitted_where_its_probabilities_are_logged(monkeypatch):
    monkeypatch.delattr(fitted_q, "copied")
    found = evaluate(target(), logged(100), EvaluationOptions(**QUICK))
    assert found["propensities"] == "logged"
    with pytest.raises(AttributeError, match="copied"):
        evaluate(target(), logged(100, told=False), EvaluationOptions(**QUICK))


def test_a_model_of_values_outside_all_returns_of_the_data_is_called_wrong(judged):
    assert not [line for line in off_policy.lines(judged) if "model of the values is wrong" in line]
    wild = dict(judged["estimates"]["direct method"], value=judged["returns"][1] + 1.0)
    estimates = judged["estimates"] | {"direct method": wild}
    said = off_policy.lines(judged | {"estimates": estimates})
    assert [line for line in said if "model of the values is wrong" in line]
    assert said[-1] == judged["verdict"]
