"""Returns and advantages of rollouts against RLax, slow twins, exact values and each other."""

import itertools
import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.core import Transition
from spinward.targets.advantages import average_of_others, gae, n_step_advantage, vtrace
from spinward.targets.returns import (
    discounts,
    ends,
    lambda_return,
    n_step_return,
    reward_to_go,
    td_target,
    total_return,
)

LITERALS = json.loads((Path(__file__).parent.parent / "literals/rlax_returns.json").read_text())
GAMMA, LAM = 0.9, 0.7


def batch_of(reward, terminated, truncated=None, weight=None):
    reward = jnp.asarray(reward, jnp.float32)
    truncated = jnp.zeros(reward.shape, bool) if truncated is None else jnp.asarray(truncated)
    weight = jnp.ones_like(reward) if weight is None else jnp.asarray(weight, jnp.float32)
    empty = jnp.zeros_like(reward)
    return Transition(empty, empty, reward, jnp.asarray(terminated), truncated, empty, weight, {})


@pytest.fixture(scope="module")
def rollout():
    """A batch with ends of both kinds and lost steps, values, next values and log-ratios."""
    random = np.random.default_rng(3)
    shape = (30, 8)
    reward, value, next_value, log_ratio = random.normal(size=(4, *shape)).astype(np.float32)
    terminated = random.random(shape) < 0.12
    truncated = (random.random(shape) < 0.12) & ~terminated
    weight = (random.random(shape) < 0.88).astype(np.float32)
    assert (terminated[-1] | truncated[-1]).any() and not (terminated[-1] | truncated[-1]).all()
    batch = batch_of(reward, terminated, truncated, weight)
    goes_on = ~np.asarray(ends(batch))[:-1]
    next_value[:-1] = np.where(goes_on, value[1:], next_value[:-1])
    return batch, value, next_value, log_ratio


def rows(batch):
    """The pieces of each env that belong together: (env, its time indices)."""
    done, weight = np.asarray(batch.done), np.asarray(batch.weight)
    for env in range(done.shape[1]):
        piece = []
        for t in range(len(done)):
            if weight[t, env] == 0:
                if piece:
                    yield env, piece
                piece = []
                continue
            piece.append(t)
            if done[t, env]:
                yield env, piece
                piece = []
        if piece:
            yield env, piece


def twin(batch, value, next_value, kind, n=3):
    """Each return as its definition has it, one step at a time; 0 for steps that are lost."""
    reward, terminated = np.asarray(batch.reward, float), np.asarray(batch.terminated)
    found = np.zeros(reward.shape)
    for env, piece in rows(batch):
        r = reward[piece, env]
        after = np.where(terminated[piece, env], 0.0, next_value[piece, env])
        size = len(piece)

        def n_step(i, n, r=r, after=after, size=size):
            stop = min(i + n, size)
            total = sum(GAMMA ** (k - i) * r[k] for k in range(i, stop))
            return total + GAMMA ** (stop - i) * after[stop - 1]

        for i, t in enumerate(piece):
            left = size - i
            mixed = sum((1 - LAM) * LAM ** (k - 1) * n_step(i, k) for k in range(1, left))
            found[t, env] = {
                "total": n_step(0, size),
                "to_go": n_step(i, size),
                "td": n_step(i, 1),
                "n": n_step(i, n),
                "lambda": mixed + LAM ** (left - 1) * n_step(i, left),
                "discount": GAMMA**i,
            }[kind]
    return found


@pytest.mark.parametrize(
    ("kind", "function"),
    [
        ("total", total_return),
        ("to_go", reward_to_go),
        ("td", td_target),
        ("n", partial(n_step_return, n=3)),
        ("lambda", partial(lambda_return, lam=LAM)),
    ],
)
def test_returns_are_their_definitions_where_episodes_end_and_steps_are_lost(
    rollout, kind, function
):
    batch, value, next_value, _ = rollout
    found = function(batch, next_value, gamma=GAMMA)
    np.testing.assert_allclose(found, twin(batch, value, next_value, kind), atol=2e-6)


def test_discounts_count_from_the_first_step_of_each_episode(rollout):
    batch, value, next_value, _ = rollout
    found = np.where(batch.weight > 0, discounts(batch, GAMMA), 0.0)
    np.testing.assert_allclose(found, twin(batch, value, next_value, "discount"), atol=1e-6)


@jax.jit
def ours_of_literals():
    given = {k: jnp.asarray(v)[:, None] for k, v in LITERALS["inputs"].items()}
    batch = batch_of(given["reward"], given["terminated"], given["truncated"])
    value, after, gamma = given["value"], given["next_value"], LITERALS["settings"]["gamma"]
    lam, n = LITERALS["settings"]["lam"], LITERALS["settings"]["n"]
    trace = vtrace(batch, value, after, given["log_ratio"], gamma, lam)
    return {
        "reward_to_go": reward_to_go(batch, after, gamma),
        "total_return": total_return(batch, after, gamma),
        "td_target": td_target(batch, after, gamma),
        "n_step_return": n_step_return(batch, after, gamma, n),
        "lambda_return": lambda_return(batch, after, gamma, lam),
        "gae": gae(batch, value, after, gamma, lam),
        "vtrace_target": trace.target,
        "vtrace_advantage": trace.advantage,
    }


def test_rlax_says_the_same():
    found, expected = ours_of_literals(), LITERALS["outputs"]
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name][:, 0], values, atol=3e-6, err_msg=name)


def test_estimators_meet_at_their_ends(rollout):
    batch, value, next_value, _ = rollout
    same = partial(np.testing.assert_allclose, atol=3e-6)
    td, full = td_target(batch, next_value, GAMMA), reward_to_go(batch, next_value, GAMMA)
    same(n_step_return(batch, next_value, GAMMA, 1), td)
    same(n_step_return(batch, next_value, GAMMA, 30), full)
    same(lambda_return(batch, next_value, GAMMA, 0.0), td)
    same(lambda_return(batch, next_value, GAMMA, 1.0), full)
    mixed = lambda_return(batch, next_value, GAMMA, LAM) - batch.weight * value
    same(gae(batch, value, next_value, GAMMA, LAM), mixed)
    same(n_step_advantage(batch, value, next_value, GAMMA, 30), batch.weight * (full - value))


def test_vtrace_of_the_policy_itself_is_gae(rollout):
    batch, value, next_value, _ = rollout
    found = vtrace(batch, value, next_value, jnp.zeros_like(value), GAMMA, LAM)
    advantage = gae(batch, value, next_value, GAMMA, LAM)
    np.testing.assert_allclose(found.advantage, advantage, atol=3e-6)
    np.testing.assert_allclose(found.target, value + advantage, atol=3e-6)


def test_vtrace_is_the_sum_over_products_of_clipped_ratios(rollout):
    batch, value, next_value, log_ratio = rollout
    lam, top_rho, top_c = 0.9, 1.2, 0.8
    found = vtrace(batch, value, next_value, log_ratio, GAMMA, lam, top_rho, top_c)
    ratio = np.exp(log_ratio)
    delta = np.minimum(top_rho, ratio) * (td_target(batch, next_value, GAMMA) - value)
    target, advantage = value.astype(float), np.zeros(value.shape)
    for env, piece in rows(batch):
        for i, t in enumerate(piece):
            factor = 1.0
            for s in piece[i:]:  # equation (1)
                target[t, env] += factor * delta[s, env]
                factor *= GAMMA * lam * min(top_c, ratio[s, env])
        for t, after in zip(piece, [*piece[1:], None], strict=True):
            goal = td_target(batch, next_value, GAMMA)[t, env]
            if after is not None:  # between V(s_{t+1}) and v_{t+1}, by shares 1 - lam and lam
                goal += GAMMA * lam * (target[after, env] - value[after, env])
            advantage[t, env] = min(top_rho, ratio[t, env]) * (goal - value[t, env])
    np.testing.assert_allclose(found.target, target, atol=5e-6)
    np.testing.assert_allclose(found.advantage, advantage, atol=5e-6)


def test_the_average_of_others_leaves_out_an_envs_own_steps():
    returns, weight = jnp.array([[1.0, 2.0, 9.0], [3.0, 4.0, 5.0]]), jnp.ones((2, 3))
    weight = weight.at[0, 2].set(0.0)
    found = average_of_others(returns, weight)
    np.testing.assert_allclose(found, [11 / 3, 9 / 3, 10 / 4], rtol=1e-6)
    np.testing.assert_array_equal(average_of_others(returns[:, :1], weight[:, :1]), [0.0])


def test_an_endless_task_that_is_cut_off_is_worth_its_future():
    """Reward 1 for ever, a hidden clock of 10 steps, gamma 0.9: worth 10; taken for an end, 5.26
    with one-step targets and 4.14 with Monte Carlo."""
    at = np.arange(200)[:, None] % 10 == 9
    no = np.zeros_like(at)
    cut, ended = batch_of(np.ones(at.shape), no, at), batch_of(np.ones(at.shape), at, no)

    def fitted(batch, target):
        value = jnp.float32(0.0)
        for _ in range(300):
            value = target(batch, jnp.full(at.shape, value), 0.9).mean()
        return float(value)

    for target in (td_target, reward_to_go, partial(n_step_return, n=4)):
        assert fitted(cut, jax.jit(target)) == pytest.approx(10.0, abs=1e-3)
    assert fitted(ended, jax.jit(td_target)) == pytest.approx(5.263, abs=1e-3)
    assert fitted(ended, jax.jit(reward_to_go)) == pytest.approx(4.138, abs=1e-3)


def test_targets_of_a_chain_fit_the_value_that_the_linear_system_has():
    """The expected target over a policy's own steps is its value, for every target."""
    random = np.random.default_rng(5)
    chain = random.dirichlet(np.ones(3), 3)
    reward = random.normal(size=3)
    value = np.linalg.solve(np.eye(3) - GAMMA * chain, reward)
    steps, envs = 6, 20000
    state = np.zeros((steps + 1, envs), int)
    for t in range(steps):
        state[t + 1] = (random.random(envs)[:, None] > chain[state[t]].cumsum(1)).sum(1)
    batch = batch_of(reward[state[:-1]], np.zeros((steps, envs), bool))
    after = jnp.asarray(value[state[1:]], jnp.float32)
    for target in (td_target, reward_to_go, partial(lambda_return, lam=0.5)):
        found = np.asarray(target(batch, after, gamma=GAMMA), float)[0]
        assert found.mean() == pytest.approx(value[0], abs=4 * found.std() / envs**0.5)
        assert found.std() > 0.1  # or the mean would say nothing


class Enumerated:
    """A process of 2 states, 2 actions and 3 steps, and all 64 ways through it, as a batch."""

    def __init__(self):
        random = np.random.default_rng(8)
        self.chain = random.dirichlet(np.ones(2), (2, 2))  # [state, action, next state]
        self.reward = random.normal(size=(2, 2)) + 1.0
        self.logits = jnp.asarray(random.normal(size=(3, 2, 2)), jnp.float32)  # [time, ...]
        paths = np.array(list(itertools.product((0, 1), repeat=6))).T
        self.action, following = paths[0::2], paths[1::2]
        self.state = np.concatenate([np.zeros((1, 64), int), following[:2]])
        self.luck = self.chain[self.state, self.action, following].prod(0)
        ended = np.zeros((3, 64), bool)
        ended[-1] = True
        self.batch = batch_of(self.reward[self.state, self.action], ended)
        self.value, self.next_value = self.exact_value(), jnp.zeros((3, 64))
        self.next_value = self.next_value.at[:2].set(self.value[1:])

    def log_prob(self, logits):
        log_probs = jax.nn.log_softmax(logits)
        return log_probs[np.arange(3)[:, None], self.state, self.action]

    def probability(self, logits):
        return self.luck * jnp.exp(self.log_prob(logits).sum(0))

    def worth(self, logits):
        """The expected discounted return."""
        return (self.probability(logits) * total_return(self.batch, self.zero, GAMMA)[0]).sum()

    @property
    def zero(self):
        return jnp.zeros((3, 64))

    def exact_value(self):
        policy = np.asarray(jax.nn.softmax(self.logits))
        following, values = np.zeros(2), []
        for t in (2, 1, 0):
            q = self.reward + GAMMA * self.chain @ following
            following = (policy[t] * q).sum(1)
            values.append(following[self.state[t]])
        return jnp.asarray(np.stack(values[::-1]), jnp.float32)

    def gradients(self, psi):
        """What each way through gives [64, ...]: the sum of its scores, each times `psi`."""
        scores = jax.jacobian(self.log_prob)(self.logits)  # [time, way, ...]
        return jnp.einsum("tw,tw...->w...", psi, scores)

    def forms(self):
        """The four forms [time, way] with the same discounting, the simplest first."""
        batch, zero = self.batch, self.zero
        weight = discounts(batch, GAMMA)
        to_go = reward_to_go(batch, zero, GAMMA)
        average = (self.probability(self.logits) * to_go).sum(1)  # of each time, over all ways
        advantage = gae(batch, self.value, self.next_value, GAMMA, 0.5)
        return {
            "total return": total_return(batch, zero, GAMMA),
            "reward to go": weight * to_go,
            "average baseline": weight * (to_go - average[:, None]),
            "advantage": weight * advantage,
        }


def test_all_forms_of_the_policy_gradient_have_the_mean_of_the_exact_one():
    process = Enumerated()
    probability = process.probability(process.logits)
    assert probability.sum() == pytest.approx(1.0, abs=1e-6)
    exact = jax.grad(process.worth)(process.logits)
    assert np.abs(exact).max() > 0.05
    forms, weight = process.forms(), discounts(process.batch, GAMMA)
    batch, value, after = process.batch, process.value, process.next_value
    forms["one step"] = weight * gae(batch, value, after, GAMMA, 0.0)
    forms["two steps"] = weight * n_step_advantage(batch, value, after, GAMMA, 2)
    anything = jnp.array([3.0, -2.0])[process.state]
    forms["any baseline"] = forms["reward to go"] - weight * anything
    forms["v-trace"] = weight * vtrace(batch, value, after, process.zero, GAMMA).advantage
    for name, psi in forms.items():
        mean = jnp.einsum("w,w...->...", probability, process.gradients(psi))
        np.testing.assert_allclose(mean, exact, atol=2e-6, err_msg=name)
    wrong = process.gradients(forms["reward to go"] / weight)
    assert np.abs(jnp.einsum("w,w...->...", probability, wrong) - exact).max() > 1e-3


def test_the_variance_of_the_policy_gradient_falls_form_by_form():
    process = Enumerated()
    probability = process.probability(process.logits)
    spread = []
    for psi in process.forms().values():
        gradients = process.gradients(psi).reshape(64, -1)
        mean = probability @ gradients
        spread.append(float(probability @ jnp.square(gradients - mean).sum(1)))
    assert spread == sorted(spread, reverse=True) and spread[-1] < 0.5 * spread[0], spread


def test_the_average_of_others_changes_no_mean():
    """Two environments side by side: all 64 x 64 pairs of ways through."""
    process = Enumerated()
    first, second = (x.reshape(-1) for x in np.indices((64, 64)))
    probability = process.probability(process.logits)
    to_go = reward_to_go(process.batch, process.zero, GAMMA)
    pairs = jnp.stack([to_go[:, first], to_go[:, second]], -1)  # [time, pair, env]
    other = jax.vmap(average_of_others, (1, None))(pairs, jnp.ones((3, 2)))[:, 0]  # [pair]
    psi = discounts(process.batch, GAMMA)[:, first] * (to_go[:, first] - other)
    scores = jax.jacobian(process.log_prob)(process.logits)[:, first]
    gradients = jnp.einsum("tw,tw...->w...", psi, scores)
    mean = jnp.einsum("w,w...->...", probability[first] * probability[second], gradients)
    np.testing.assert_allclose(mean, jax.grad(process.worth)(process.logits), atol=3e-6)
