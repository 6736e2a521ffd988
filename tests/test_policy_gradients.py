"""The family of policy gradients: every space, memory, weights of zero, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from twin import ALGORITHMS, tiny

from spinward.core import (
    MASK,
    Box,
    Dict,
    Discrete,
    MultiDiscrete,
    Spec,
    Transition,
    config,
    replace,
)
from spinward.envs.guards import require_choice
from spinward.errors import EnvironmentFailedError, NonFiniteError, SettingsError
from spinward.learning.steps import with_clipping
from spinward.run.run import train

TIME, ENVS = 4, 4
FAMILY = ("vpg", "a2c", "trpo", "ppo_penalty")
PLAIN = Spec(Box((3,)), Discrete(2), ENVS)


def masked(choices):
    parts = (("a", Box((3,))), ("b", Box((1,))), (MASK, Box((choices,), 0.0, 1.0, "int8")))
    return Dict(parts)


CASES = {
    "vpg": ("vpg", Spec(masked(3), Discrete(3), ENVS), {"form": "average"}),
    "vpg, remembering": ("vpg", PLAIN, {"recurrent": "lstm", "form": "total"}),
    "a2c": ("a2c", Spec(masked(5), MultiDiscrete((2, 3)), ENVS), {"shared": True}),
    "trpo": ("trpo", Spec(Dict((("a", Box((3,))), ("b", Box((2,))))), Box((2,)), ENVS), {}),
    "trpo, remembering": ("trpo", Spec(masked(3), Discrete(3), ENVS), {"recurrent": "gru"}),
    "ppo_penalty": ("ppo_penalty", Spec(Box((3,)), Box((2,)), ENVS), {"adapt": "dual"}),
}


def seen(key, space):
    """Observations [time, env, ...] in which choice 1 is forbidden, where there is a mask."""
    parts = space.items if isinstance(space, Dict) else (("", space),)
    obs = {n: jax.random.normal(jax.random.fold_in(key, i), (TIME, ENVS, *b.shape))
           for i, (n, b) in enumerate(parts)}  # fmt: skip
    if MASK in obs:
        obs[MASK] = jnp.ones(obs[MASK].shape, jnp.int8).at[..., 1].set(0)
    return obs if isinstance(space, Dict) else obs[""]


def collected(algorithm, agent, spec, key):
    """A batch in which env 0 ends at step 1 and the last step of env 3 did not happen."""
    k_obs, k_next, k_act = jax.random.split(key, 3)
    obs, after = seen(k_obs, spec.obs), seen(k_next, spec.obs)
    reward = jnp.arange(float(TIME * ENVS)).reshape(TIME, ENVS)
    terminated = jnp.zeros((TIME, ENVS), bool).at[1, 0].set(True)
    weight = jnp.ones((TIME, ENVS)).at[-1, 3].set(0.0)

    def step(memory, x):
        row, key = x
        action, memory, extras = algorithm.act(agent, row, memory, key)
        return memory, (action, extras)

    memory = algorithm.memory(agent, ENVS)
    _, (action, extras) = jax.lax.scan(step, memory, (obs, jax.random.split(k_act, TIME)))
    never = jnp.zeros_like(terminated)
    return Transition(obs, action, reward, terminated, never, after, weight, extras)


@pytest.mark.parametrize("name", CASES)
def test_every_space_is_learned_from_and_a_step_of_weight_0_changes_nothing(name):
    kind, spec, settings = CASES[name]
    algorithm = tiny(ALGORITHMS[kind], rollout=TIME, epochs=1, minibatches=1, **settings)
    algorithm.check(spec)

    @jax.jit
    def run(key, lost):
        k_init, k_run, k_update = jax.random.split(key, 3)
        agent = algorithm.init(k_init, spec)
        batch = collected(algorithm, agent, spec, k_run)
        batch = replace(batch, reward=batch.reward.at[-1, 3].set(lost))
        after, metrics = algorithm.update(agent, batch, k_update)
        return batch.action, agent, after, metrics

    action, before, after, metrics = run(jax.random.key(0), 0.0)
    assert action.shape == (TIME, ENVS, *spec.action.shape)
    if isinstance(spec.obs, Dict) and MASK in dict(spec.obs.items):
        first = action[..., 0] if action.ndim == 3 else action
        assert not (first == 1).any()
    for leaf in jax.tree.leaves((after, metrics)):
        assert np.isfinite(leaf).all()
    moved = [
        bool((a != b).any()) for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True)
    ]
    assert sum(moved) > len(moved) / 3
    _, _, other, _ = run(jax.random.key(0), 1e6)
    jax.tree.map(np.testing.assert_array_equal, other, after)


def test_a2c_makes_the_step_that_ppo_makes_in_one_pass_over_one_minibatch():
    a2c = tiny(ALGORITHMS["a2c"], rollout=TIME, lam=0.9, normalise=True, entropy_coef=0.01)
    ppo = tiny(
        ALGORITHMS["ppo"], rollout=TIME, lam=0.9, epochs=1, minibatches=1, entropy_coef=0.01,
        network=a2c.network,
    )  # fmt: skip

    def slopes(key):
        agent, other = a2c.init(key, PLAIN), ppo.init(key, PLAIN)
        batch = collected(ppo, other, PLAIN, key)
        from spinward.targets.advantages import gae

        _, value, next_value = other.learner.model.unroll(batch)
        advantage = gae(batch, value, next_value, ppo.gamma, ppo.lam)
        theirs = jax.grad(ppo.loss, has_aux=True)(
            other.learner.model, batch, advantage, advantage + value
        )
        return jax.grad(a2c.loss, has_aux=True)(agent.learner.model, batch)[0], theirs[0]

    ours, theirs = jax.jit(slopes)(jax.random.key(1))
    assert optax.global_norm(ours) > 0.01
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), ours, theirs)


def test_ppo_judges_a_batch_anew_before_each_pass_where_it_is_told_to():
    """Two passes of one minibatch are then two updates by the same batch, one after the other."""
    ppo = tiny(ALGORITHMS["ppo"], rollout=TIME, minibatches=1, lr=0.05)

    @jax.jit
    def run(key):
        agent = ppo.init(key, PLAIN)
        batch = collected(ppo, agent, PLAIN, key)
        once, twice = replace(ppo, epochs=1), replace(ppo, epochs=2)
        first = once.update(agent, batch, key)[0]
        anew = replace(twice, recompute=True).update(agent, batch, key)[0]
        return once.update(first, batch, key)[0], anew, twice.update(agent, batch, key)[0]

    expected, anew, held = run(jax.random.key(0))
    for a, b in zip(*map(jax.tree.leaves, (expected.learner, anew.learner)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert np.abs(held.model.critic.layers[0].w - anew.model.critic.layers[0].w).max() > 1e-3


@pytest.mark.parametrize("name", ["ppo", "trpo"])
def test_a_gaussian_policy_begins_with_the_deviation_it_is_given(name):
    spec = Spec(Box((3,)), Box((2,)), ENVS)
    algorithm = tiny(ALGORITHMS[name], log_std=-0.5)
    policy, _, _ = algorithm.init(jax.random.key(0), spec).model.step(jnp.zeros((ENVS, 3)), ())
    np.testing.assert_allclose(policy.log_std, [-0.5, -0.5])
    as_before = algorithm.init(jax.random.key(0), PLAIN)
    same = tiny(ALGORITHMS[name]).init(jax.random.key(0), PLAIN)
    jax.tree.map(np.testing.assert_array_equal, as_before, same)


def test_a2cs_rmsprop_starts_at_one_with_eps_under_the_root():
    optimiser = ALGORITHMS["a2c"](max_grad_norm=1e9).optimiser(0.1)
    gradient, at = jnp.array([3.0, -0.1]), jnp.array([1.0, 1.0])
    state, mean = optimiser.init(at), np.ones(2)
    for _ in range(3):
        updates, state = optimiser.update(gradient, state, at)
        mean = 0.99 * mean + 0.01 * np.square(gradient)
        np.testing.assert_allclose(updates, -0.1 * gradient / np.sqrt(mean + 1e-5), rtol=1e-5)


def test_gradients_are_clipped_before_whatever_optimiser():
    optimiser = with_clipping(1.0, optax.sgd(1.0))
    updates, state = optimiser.update(jnp.array([3.0, 4.0]), optimiser.init(jnp.zeros(2)))
    np.testing.assert_allclose(updates, [-0.6, -0.8], rtol=1e-6)
    assert optax.tree_utils.tree_get(state, "grad_norm") == 5.0


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("vpg", {"form": "togo"}, "form='togo' must be one of total, to-go, average, advantage"),
        ("vpg", {"form": "average", "envs": 1, "minibatches": 1}, "needs other envs"),
        ("vpg", {"minibatches": 5000}, "minibatches=5000 does not divide rollout"),
        ("trpo", {"minibatches": 0}, "minibatches=0 must be at least 1"),
        ("trpo", {"iterations": 0}, "iterations=0 must be at least 1"),
        ("trpo", {"recurrent": "lstm", "minibatches": 3}, "does not divide envs"),
        ("ppo_penalty", {"adapt": "triple"}, "adapt='triple' must be one of double, dual"),
        ("ppo_penalty", {"epochs": 0}, "epochs=0 must be at least 1"),
        ("a2c", {"rollout": 0}, "rollout=0 must be at least 1"),
        ("a2c", {"recurrent": "rnn"}, "recurrent='rnn' must be one of"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_made(name, settings, said):
    with pytest.raises(SettingsError, match=said):
        ALGORITHMS[name](**settings).check(PLAIN)


@pytest.mark.parametrize("name", FAMILY)
def test_defaults_pass_their_own_check(name):
    ALGORITHMS[name]().check(PLAIN)


@config
class Stuck:
    """Forbids every action after its second step."""

    @property
    def spec(self):
        return Spec(masked(2), Discrete(2))

    def seen(self, time):
        mask = jnp.where(time < 2, 1, 0) * jnp.ones(2, jnp.int8)
        return {"a": jnp.zeros(3), "b": jnp.zeros(1), MASK: mask.astype(jnp.int8)}

    def reset(self, key):
        return jnp.int32(0), self.seen(0)

    def step(self, state, action, key):
        no = jnp.bool_(False)
        return state + 1, self.seen(state + 1), jnp.float32(0.0), no, no


def test_a_mask_that_allows_no_action_ends_a_run_on_the_device_and_on_the_host(tmp_path):
    algorithm = tiny(ALGORITHMS["a2c"])
    said = r"action_mask allows no action in env 0 at step 2: .* iteration 1 "
    with pytest.raises(NonFiniteError, match=said):
        train(algorithm, "test_policy_gradients:Stuck", 64, out=tmp_path, shards=1)
    obs = {MASK: np.array([[0, 1], [0, 0], [1, 1]], np.int8)}
    require_choice("x", {MASK: obs[MASK][::2]}, lambda env: 7)
    with pytest.raises(EnvironmentFailedError, match="of env 1 of x allows no action at step 7"):
        require_choice("x", obs, lambda env: 7)
