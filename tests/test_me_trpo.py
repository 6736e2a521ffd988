"""TRPO on episodes imagined by random members of an ensemble, and when the members stop it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_mb_mpo import Exact
from test_mbpo import transitions, world
from twin import ALGORITHMS, assert_same, copied, tiny

from spinward.core import Box, Policy, Spec, config, replace, static, struct
from spinward.envs.cartpole import CartPole
from spinward.envs.pendulum import Pendulum
from spinward.errors import SettingsError
from spinward.experience.rollout import Rollout
from spinward.models.branched import EnsembleWorld, member_returns
from spinward.models.imagined import ImaginedByMembers
from spinward.models.learned import windows
from spinward.presets.choice import preset
from spinward.run.run import train

METRPO, TRPO = ALGORITHMS["me_trpo"], ALGORITHMS["trpo"]
A = np.array([[0.9, 0.2], [-0.1, 0.8]], np.float32)
B = np.array([0.3, -0.4], np.float32)


def follow(obs, action):
    """The next state and the reward of a world whose state is what is seen."""
    next_obs = obs @ A.T + action * B
    return next_obs, -jnp.square(next_obs).sum(-1) - 0.1 * jnp.square(action).sum(-1)


@struct
class LineState:
    obs: jax.Array
    time: jax.Array


@config
class Line:
    limit: int = 6

    @property
    def spec(self):
        return Spec(Box((2,)), Box((1,), -1.0, 1.0))

    def reset(self, key):
        obs = jax.random.normal(key, (2,))
        return LineState(obs, jnp.int32(0)), obs

    def seen(self, key):
        return self.reset(key)[1]

    def step(self, state, action, key):
        obs, reward = follow(state.obs, action)
        time = state.time + 1
        return LineState(obs, time), obs, reward, jnp.bool_(False), time >= self.limit


@struct
class Members:
    """Models that are right, but for a constant that each adds to what it sees and earns."""

    shift: jax.Array  # [member, dim]
    law: object = static(default=follow)
    sampled: bool = static(default=True)

    def member(self, i):
        return partial(self.of, self.shift[i])

    def of(self, shift, obs, action, key):
        next_obs, reward = self.law(obs, action)
        return next_obs + shift, reward


def test_with_members_that_are_exact_it_is_trpo_in_the_environment():
    me_trpo = tiny(METRPO, models=3, imagined=6, horizon=6, value_minibatches=4, updates=3)
    trpo = TRPO(envs=6, rollout=6, minibatches=4, hidden=(8,))
    base = trpo.init(jax.random.key(0), replace(Line().spec, envs=6))
    exact = EnsembleWorld(Members(jnp.zeros((3, 2))), jnp.arange(3), (), Line().spec)
    dream = ImaginedByMembers(exact, Line(), Line().spec, limit=6)
    mine, told = jax.jit(lambda base, key: me_trpo.trained(base, dream, key))(
        base, jax.random.key(1)
    )
    source, expected = Rollout(Line(), 6, 6), []

    @jax.jit
    def awake(agent, key):
        k_init, k_collect, k_update = jax.random.split(key, 3)
        act = Policy(partial(trpo.act, agent), partial(trpo.memory, agent))
        _, batch, _ = source.collect(source.init(k_init, ()), act, k_collect)
        return trpo.update(agent, batch, k_update)

    agent = base
    for key in jax.random.split(jax.random.key(1), 3):
        agent, metrics = awake(agent, key)
        expected.append(float(metrics["gain"]))
    assert_same(copied(mine), copied(agent), 1e-5)
    assert float(told["gain"]) == pytest.approx(expected[-1], rel=1e-3)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), base.policy, agent.policy)
    assert max(jax.tree.leaves(moved)) > 1e-2


def test_each_imagined_step_is_of_a_random_member():
    """A member of its own would take all the steps of an episode to the same side."""
    dream = ImaginedByMembers(world([0.0, 1.0], [0, 1]), Line(), Line().spec, limit=40)
    source = Rollout(dream, 6, 40)
    act = Policy(lambda obs, memory, key: (jnp.zeros((6, 1)), memory, {}), lambda envs: ())
    _, batch, _ = source.collect(source.init(jax.random.key(0), ()), act, jax.random.key(1))
    steps = np.asarray(batch.next_obs - batch.obs)[..., 0].round()
    np.testing.assert_array_equal(steps.sum(1), np.full(40, 3))  # half of the copies, each step
    assert (np.abs(steps.mean(0) - 0.5) < 0.3).all() and set(np.unique(steps)) == {0.0, 1.0}
    assert batch.truncated[-1].all() and not batch.truncated[:-1].any()
    state, _ = dream.reset(jax.random.key(2))
    alone = dream.step(state, jnp.zeros(1), jax.random.key(3))
    assert alone[1].shape == (2,) and alone[0].time == 1 and not alone[4]


def test_returns_of_members_are_sums_until_the_end():
    """Member k adds k to what is seen, and that is its reward; beyond 3 an episode ends."""
    dream = world([1.0, 2.0], [0, 1], terminal=lambda obs: obs[..., 0] > 3.5)
    starts = jnp.array([[0.0, 0.0], [2.0, 0.0]])
    found = member_returns(dream, lambda obs: jnp.zeros((2, 1)), starts, 5)
    np.testing.assert_allclose(found, [(4 * 1 + 2 * 1) / 2, (2 * 2 + 1 * 2) / 2], rtol=1e-5)
    known = replace(dream, known_reward=lambda obs, action, after: 10.0 * after[..., 0])
    found = member_returns(known, lambda obs: jnp.zeros((2, 1)), starts, 1)
    np.testing.assert_allclose(found, [10 * (1 + 3) / 2, 10 * (2 + 4) / 2], rtol=1e-5)


def test_members_see_actions_as_the_policy_is_trained_with_them():
    dream = world([1.0], [0], known_reward=lambda obs, action, after: action[..., 0])
    found = member_returns(dream, lambda obs: jnp.full((2, 1), 5.0), jnp.zeros((2, 2)), 3)
    np.testing.assert_allclose(found, [3.0])


@pytest.mark.parametrize("name", ["Hopper-v5", "HalfCheetah-v5", "MountainCarContinuous-v0", ""])
def test_defaults_and_presets_fit_each_other(name):
    for kind in (METRPO, ALGORITHMS["pets"]):
        settings = preset(kind, name, 5000)[0] if name else {}
        kind(**settings).check(Spec(Box((11,), -10.0, 10.0), Box((3,), -1.0, 1.0)))


ROUNDS = {  # the returns of five members after each round
    "stops": ([[0] * 5, [1] * 5, [2, 2, 2, 2, 0], [3, 3, 3, 0, 0], [3, 3, 3, 0, 0]], 2, 4),
    "goes on": ([[0] * 5, [1] * 5, [0] * 5, [2, 2, 2, 2, 0], [3] * 5], 4, 4),
    "ends with its rounds": ([[0] * 5, [1] * 5, [2] * 5, [3] * 5, [4] * 5, [5] * 5], 4, 4),
    "keeps the first": ([[5] * 5, [1] * 5, [2] * 5, [3] * 5], 0, 2),
}


@pytest.mark.parametrize("case", ROUNDS)
def test_rounds_end_where_too_few_members_find_a_policy_better(case, monkeypatch):
    table, kept, rounds = ROUNDS[case]
    table = jnp.array(table, jnp.float32)
    me_trpo = tiny(METRPO, models=5, imagined=5, rounds=4, failures=2, updates=3)
    agent = me_trpo.init(jax.random.key(0), Line().spec).base
    agent = replace(agent, policy=jnp.int32(0))

    def trained(self, base, env, key):
        return replace(base, policy=base.policy + 1), {"loss": 1.0 * base.policy}

    def act(self, base, obs, memory, key, explore):
        return base.policy, memory, {}

    monkeypatch.setattr(METRPO, "trained", trained)
    monkeypatch.setattr(TRPO, "act", act)
    monkeypatch.setattr(
        "spinward.algorithms.me_trpo.member_returns",
        lambda world, act, starts, steps: table[act(0)],
    )
    exact = EnsembleWorld(Members(jnp.zeros((5, 2))), jnp.arange(5), (), Line().spec)
    after, told = me_trpo.improved(agent, exact, Line(), jax.random.key(1))
    assert int(after.policy) == kept and int(told["policy_updates"]) == 3 * rounds
    assert float(told["imagined_return"]) == pytest.approx(float(table[kept].mean()))
    assert float(told["loss"]) == rounds - 1


def test_members_validate_from_the_same_states_in_every_round(monkeypatch):
    seen = []
    monkeypatch.setattr(METRPO, "trained", lambda self, base, env, key: (base, {"loss": 1.0}))
    monkeypatch.setattr(
        "spinward.algorithms.me_trpo.member_returns",
        lambda world, act, starts, steps: (seen.append((starts, steps)), jnp.zeros(3))[1],
    )
    me_trpo = tiny(METRPO, models=3, imagined=6, starts=7, rounds=2)
    agent = me_trpo.init(jax.random.key(0), Line().spec).base
    exact = EnsembleWorld(Members(jnp.zeros((3, 2))), jnp.arange(3), (), Line().spec)
    with jax.disable_jit():
        me_trpo.improved(agent, exact, Line(), jax.random.key(1))
    assert len(seen) == 3 and seen[0][0].shape == (7, 2) and seen[0][1] == me_trpo.horizon
    np.testing.assert_array_equal(seen[0][0], seen[2][0])
    assert len(np.unique(seen[0][0][:, 0])) == 7


def test_after_a_fit_actions_have_the_first_deviation_again(monkeypatch):
    me_trpo = tiny(METRPO, log_std=-0.25)
    agent = me_trpo.init(jax.random.key(0), Line().spec)
    assert agent.base.policy.policy.actor.log_std.tolist() == [-0.25]
    narrow = replace(agent.base.policy.policy.actor, log_std=jnp.array([-3.0]))
    policy = replace(agent.base.policy, policy=replace(agent.base.policy.policy, actor=narrow))
    seen = []

    def improved(self, base, world, starts, key):
        seen.append(base.policy.policy.actor)
        return base, {}

    monkeypatch.setattr(METRPO, "improved", improved)
    agent = replace(agent, base=replace(agent.base, policy=policy))
    agent, told = me_trpo.update(agent, transitions(4, 4), jax.random.key(1))
    assert seen[0].log_std.tolist() == [-0.25]
    np.testing.assert_array_equal(seen[0].layers.layers[0].w, narrow.layers.layers[0].w)
    assert int(agent.model.steps.count) == 16 and told["model_error"] > 0


def test_windows_are_steps_in_a_row_and_actions_as_they_were_taken():
    batch = transitions(7, 2)
    batch = replace(batch, action=3.0 * batch.action, extras={"log_prob": batch.reward})
    cut = windows(batch, 3, bounded=True)
    assert cut.reward.shape == (3, 4) and cut.obs.shape == (3, 4, 2) and cut.extras == {}
    firsts = [[0, 0], [0, 1], [3, 0], [3, 1]]
    for row, (time, env) in enumerate(firsts):
        np.testing.assert_array_equal(cut.obs[:, row], batch.obs[time : time + 3, env])
    assert float(jnp.abs(cut.action).max()) == 1.0


def test_ends_are_learned_from_the_steps_that_are_kept_or_known():
    learns, knows = tiny(METRPO, capacity=64), tiny(METRPO, capacity=64, learn_terminal=False)
    batch = transitions(4, 4, terminated=0.5)
    agent = learns.init(jax.random.key(0), Line().spec)
    model, told = jax.jit(lambda agent, key: agent.model.fitted(batch, key, learns))(
        agent, jax.random.key(1)
    )
    np.testing.assert_array_equal(model.steps.terminated[:16], batch.terminated.reshape(-1))
    assert "end_loss" in told and model.world(learns).end != ()
    other = knows.init(jax.random.key(0), Line().spec).model
    assert other.steps.terminated == () and other.end == () and other.world(knows).end == ()


BIASED = {"imagined": 40, "horizon": 100, "value_minibatches": 50, "value_epochs": 15}
BIASED |= {"updates": 40, "kl_limit": 0.05, "gamma": 0.95, "lam": 0.9, "value_lr": 3e-3}


@struct
class Swings:
    def seen(self, key):
        return Pendulum().reset(key)[1]


@jax.vmap
def swing(obs, action):
    return Exact()(obs, action, jax.random.key(0))


@pytest.mark.slow
def test_a_biased_member_cannot_be_made_use_of():
    """A member that sees the pole a little higher than it is promises too much if it is alone."""
    raised = {}
    for members in (1, 5):
        shift = jnp.zeros((members, 3)).at[0, 0].set(0.1)
        me_trpo = METRPO(models=members, learn_terminal=False, **BIASED)
        spec, every = Pendulum().spec, jnp.arange(members)
        biased = EnsembleWorld(Members(shift, law=swing), every, (), spec)
        exact = EnsembleWorld(Members(jnp.zeros((members, 3)), law=swing), every, (), spec)

        @jax.jit
        def learn(key, me_trpo=me_trpo, biased=biased, exact=exact, spec=spec):
            base = me_trpo.trpo.init(key, replace(spec, envs=40))
            dream = ImaginedByMembers(biased, Swings(), spec, 100)
            base, _ = me_trpo.trained(base, dream, key)
            act = Policy(partial(me_trpo.trpo.act, base), partial(me_trpo.trpo.memory, base))

            def mean_return(law):
                source = Rollout(ImaginedByMembers(law, Swings(), spec, 100), 500, 100)
                state = source.init(jax.random.key(3), ())
                return source.collect(state, act, jax.random.key(4))[1].reward.sum(0).mean()

            return mean_return(biased), mean_return(exact)

        dreamt, real = learn(jax.random.key(1))
        raised[members] = float((dreamt - real) / jnp.abs(real))
    assert raised[5] < 0.2 < raised[1]


@pytest.mark.parametrize(
    ("settings", "spec", "said"),
    [
        ({}, CartPole().spec, "needs continuous actions"),
        ({}, Spec(Box((8, 8, 3)), Line().spec.action), "models vectors"),
        ({"imagined": 5}, Line().spec, "imagined=5 is no multiple of models=2"),
        ({"value_minibatches": 3}, Line().spec, "value_minibatches=3 does not divide imagined"),
        ({"window": 5}, Line().spec, "window=5 is more than the steps"),
        ({"capacity": 8}, Line().spec, "holds less than envs"),
    ],
)
def test_what_cannot_work_is_refused(settings, spec, said):
    with pytest.raises(SettingsError, match=said):
        tiny(METRPO, **settings).check(spec)


@pytest.mark.slow
def test_pendulum_is_learned_in_ten_thousand_steps(tmp_path):
    settings, _ = preset(METRPO, "Pendulum-v1", 10_000)
    run = train(METRPO(**settings), "Pendulum-v1", 10_000, 2, out=tmp_path, name="pendulum")
    greedy = run.evaluate(20).returns.mean(1)
    assert greedy.min() > -300.0
