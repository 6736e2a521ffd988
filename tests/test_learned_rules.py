"""How rules are learned over a run, and the one that comes with the package."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.algorithms.lpg import LPG, OURS
from spinward.algorithms.lpg_meta import LPGMeta
from spinward.core import Transition, replace
from spinward.envs.grids import Grid
from spinward.experience.material import source_for
from spinward.experiments.lpg import going_on
from spinward.loop import Parts
from spinward.networks.table import Table
from spinward.programs.choose import program
from spinward.rewards.environment import Environment
from spinward.store.parameters import read

READER = SimpleNamespace(arrays=read)


@pytest.mark.slow
def test_the_step_size_of_a_rule_falls_to_zero_over_its_run():
    meta = LPGMeta(
        lives=2, envs=2, rollout=4, updates=1, lifetime=2, predictions=3, width=4, tabular=True,
        descent="sgd", lr=0.01, agent_lr=(2.0,), anneal_steps=2 * 2 * 4 * 2 * 2,
    )  # fmt: skip
    source = source_for(meta.wants(None), Grid(2, 2, 1))
    assert source.stride * 2 == meta.anneal_steps
    running = program(Parts(meta, source, Environment()))
    state, moved = running.start(jax.random.key(0)[None]), []
    for _ in range(3):
        before = np.asarray(state.agent.learner.model.cell.w)
        state, _ = running.advance(state, 1)
        moved.append(np.abs(np.asarray(state.agent.learner.model.cell.w) - before).max())
    assert 0.009 < moved[0] < 0.0101 and 0.001 < moved[1] < 0.006 and moved[2] == 0.0


def test_a_rule_comes_with_the_package_and_is_whole():
    opened = LPG().opened(READER)
    assert opened.learned is not None
    assert opened.learned == LPG(rule=str(OURS)).opened(READER).learned


def test_a_life_is_judged_by_what_follows_an_end_too():
    meta = LPGMeta(tabular=True, gamma=0.9, lam=1.0, through_ends=True)
    flags = jnp.array([[False], [True], [False], [False]])
    batch = Transition(
        obs=jnp.arange(4)[:, None, None], action=jnp.zeros((4, 1), int),
        reward=jnp.array([[0.0], [0.0], [0.0], [1.0]]), terminated=flags,
        truncated=jnp.zeros_like(flags), next_obs=jnp.arange(1, 5)[:, None, None],
        weight=jnp.ones((4, 1)), extras={},
    )  # fmt: skip
    nothing = Table(jnp.zeros((5, 1)))
    through = meta.advantage(nothing, batch)[:, 0]
    np.testing.assert_allclose(through, [0.9**3, 0.9**2, 0.9, 1.0], rtol=1e-5)
    cut = replace(meta, through_ends=False).advantage(nothing, batch)[:, 0]
    np.testing.assert_allclose(cut, [0.0, 0.0, 0.9, 1.0], rtol=1e-5)


def test_an_agent_that_sees_no_ends_is_told_of_the_next_episode_but_in_the_last_row():
    over = jnp.array([[True, False], [False, False], [True, True]])
    obs = jnp.arange(6).reshape(3, 2, 1)
    batch = Transition(
        obs, jnp.zeros((3, 2), int), jnp.ones((3, 2)), over & (obs[..., 0] != 4),
        over & (obs[..., 0] == 4), obs + 10, jnp.ones((3, 2)), {},
    )  # fmt: skip
    found = going_on(batch)
    assert found.next_obs[..., 0].tolist() == [[2, 11], [12, 13], [14, 15]]
    assert found.terminated.tolist() == [[False, False], [False, False], [False, True]]
    assert found.truncated.tolist() == [[False, False], [False, False], [True, False]]
