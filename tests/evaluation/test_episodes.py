"""Whole episodes, and those that do not end."""

import jax.numpy as jnp
import numpy as np
import pytest
from twin import Clock, HostClock

from spinward.core import config
from spinward.evaluation.episodes import Agents, evaluate


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
    assert whole.cut == 0
    cut = evaluate(agents, episodes, limit=4)
    np.testing.assert_array_equal(cut.returns, np.full((2, episodes), [[10.0], [7.5]]))
    assert cut.cut == episodes and cut.to_json()["cut"] == episodes
    assert cut.to_json()["value"] == 8.75 and cut.to_json()["interval"] == "range of 2 seeds"
