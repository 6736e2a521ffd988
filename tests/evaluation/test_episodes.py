"""Whole episodes, and those that do not end."""

import jax.numpy as jnp
import numpy as np
import pytest
from twin import Clock, HostClock

from spinward.core import config
from spinward.envs.cartpole import CartPole
from spinward.envs.gymnasium import Gymnasium
from spinward.evaluation import episodes as whole_episodes
from spinward.evaluation.episodes import LIMIT, UNKNOWN, Agents, evaluate, limit_for


@config
class Constant:
    """Acts as the number that is its agent."""

    def memory(self, agent, envs):
        return ()

    def act(self, agent, obs, memory, key, explore=True):
        return jnp.broadcast_to(agent, obs.shape[:1]), memory, {}


@pytest.mark.parametrize("env", [Clock(), HostClock()], ids=["device", "host"])
@pytest.mark.parametrize("episodes", [3, 12])
def test_an_episode_that_is_cut_counts_with_its_return_so_far_and_is_counted(env, episodes):
    # Action 0 goes on for 5 steps, action 1 ends after 3; rewards are the time, and 0.5 * action.
    agents = Agents(Constant(), jnp.array([0, 1], jnp.int32), env, 2)
    whole = evaluate(agents, episodes)
    np.testing.assert_array_equal(whole.returns, np.full((2, episodes), [[15.0], [7.5]]))
    assert whole.cut == 0 and whole.limit == UNKNOWN  # neither clock says that it has a limit
    cut = evaluate(agents, episodes, limit=4)
    np.testing.assert_array_equal(cut.returns, np.full((2, episodes), [[10.0], [7.5]]))
    assert cut.cut == episodes and cut.to_json()["cut"] == episodes
    assert cut.to_json()["limit"] == 4
    assert cut.to_json()["value"] == 8.75 and cut.to_json()["interval"] == "range of 2 seeds"


def test_an_environment_without_a_limit_is_left_sooner():
    assert limit_for(CartPole()) == LIMIT == limit_for(Gymnasium("CartPole-v1"))
    assert limit_for(Gymnasium("CliffWalking-v1")) == UNKNOWN < LIMIT


def test_it_is_told_while_an_episode_goes_on(monkeypatch, capsys):
    monkeypatch.setattr(whole_episodes, "LONG", 3)
    agents = Agents(Constant(), jnp.array([0, 1], jnp.int32), HostClock(), 2)
    evaluate(agents, 12, limit=4)
    line = "an episode has not ended after 3 steps; it is cut after 4 (--limit)"
    assert capsys.readouterr().err.splitlines() == [f"spinward: {line}"]
    evaluate(agents._replace(agent=jnp.array([1, 1], jnp.int32)), 3)
    assert not capsys.readouterr().err  # both end in their third step
