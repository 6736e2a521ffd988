"""Observations with a part that critics read and policies do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from twin import ALGORITHMS, keys, parts, tiny

from spinward.core import PRIVILEGED, Box, Dict, Discrete, Spec, config, replace
from spinward.errors import SettingsError
from spinward.programs.choose import program
from spinward.run.assemble import assemble
from spinward.run.experiment import Experiment
from spinward.run.policy import TrainedPolicy

OBS = Dict((("x", Box((2,))), (PRIVILEGED, Box((1,)))))


@config
class Secret:
    """A reward of +1 or -1 at the end of three steps, which only the privileged part foretells."""

    action: str = "discrete"

    @property
    def spec(self):
        space = Discrete(2) if self.action == "discrete" else Box((1,), -1.0, 1.0)
        return Spec(OBS, space)

    def see(self, state):
        time, sign = state
        return {"x": jnp.stack([time, 1.0]), PRIVILEGED: sign[None]}

    def reset(self, key):
        state = jnp.float32(0.0), jax.random.rademacher(key, (), jnp.float32)
        return state, self.see(state)

    def step(self, state, action, key):
        state = state[0] + 1.0, state[1]
        over = state[0] >= 3
        return state, self.see(state), jnp.where(over, state[1], 0.0), over, jnp.bool_(False)


def changed(one, sign):
    return {**one, PRIVILEGED: jnp.full_like(one[PRIVILEGED], sign)}


@pytest.mark.parametrize("recurrent", ["", "lstm"])
@pytest.mark.parametrize("name", ["ppo", "a2c"])
def test_the_value_knows_what_the_policy_is_not_shown(name, recurrent):
    more = {"minibatches": 2} if name == "ppo" else {}
    algorithm = tiny(ALGORITHMS[name], envs=16, rollout=12, lr=1e-2, recurrent=recurrent,
                     gamma=1.0, **more)  # fmt: skip
    run = program(parts(algorithm, Secret()))
    state, _ = run.advance(run.start(keys(1)), 150)
    agent = jax.tree.map(lambda x: x[0], state.agent)
    obs = {"x": jnp.array([[0.0, 1.0]] * 2), PRIVILEGED: jnp.array([[-1.0], [1.0]])}
    memory = algorithm.memory(agent, 2)
    policy, after, _ = agent.model.step(obs, memory)
    np.testing.assert_array_equal(*policy.log_prob(jnp.zeros(2, jnp.int32))[:, None])
    value = agent.model.value(after if recurrent else obs)
    assert value[0] < -0.1 and value[1] > 0.1  # without it they would be the same


@pytest.mark.parametrize("name", ["ddpg", "td3", "sac"])
def test_critics_of_actions_read_it_and_actors_do_not(name):
    algorithm = tiny(ALGORITHMS[name])
    agent = algorithm.init(jax.random.key(0), Secret("box").spec)
    obs = {"x": jnp.ones((3, 2)), PRIVILEGED: jnp.ones((3, 1))}
    action, _, _ = algorithm.act(agent, obs, algorithm.memory(agent, 3), jax.random.key(1), False)
    other, _, _ = algorithm.act(
        agent, changed(obs, -1.0), algorithm.memory(agent, 3), jax.random.key(1), False
    )
    np.testing.assert_array_equal(action, other)
    critic = agent.critic.model
    assert (critic(obs, action) != critic(changed(obs, -1.0), action)).all()


def test_a_trained_policy_acts_without_it():
    algorithm = tiny(ALGORITHMS["ppo"], normalise_obs=True)
    spec = Secret().spec
    agent = algorithm.init(jax.random.key(0), replace(spec, envs=4))
    policy = TrainedPolicy(algorithm, agent, spec)
    assert policy({"x": [0.0, 1.0]}) in (0, 1)


def test_observations_of_which_a_policy_may_read_nothing_are_refused():
    spec = Spec(Dict(((PRIVILEGED, Box((1,))),)), Discrete(2))
    with pytest.raises(SettingsError, match="a policy can read nothing of these observations"):
        tiny(ALGORITHMS["ppo"]).init(jax.random.key(0), spec)


@config
class Duel(Secret):
    @property
    def spec(self):
        return Spec(Box((2,)), Discrete(2), players=2)


def test_games_for_two_are_refused_by_those_who_learn_to_act_alone(monkeypatch):
    monkeypatch.setattr("spinward.envs.ids.make", lambda name, settings=None: Duel())
    for name in ("ppo", "dqn"):
        with pytest.raises(SettingsError, match=r"is a game for 2 players; .* learns to act alone"):
            assert assemble(Experiment(tiny(ALGORITHMS[name]), "twin:Duel", 10)).parts
