"""How rules are learned over a run, and the one that comes with the package."""

from functools import partial

import jax
import numpy as np

from spinward.algorithms.lpg import LPG, OURS
from spinward.algorithms.lpg_meta import LPGMeta
from spinward.envs.grids import Grid
from spinward.experience.rollout import Rollout
from spinward.loop import Parts
from spinward.program import program
from spinward.rewards.environment import Environment
from spinward.run.learned import read


def test_the_step_size_of_a_rule_falls_to_zero_over_its_run():
    meta = LPGMeta(
        lives=2, envs=2, rollout=4, updates=1, lifetime=2, predictions=3, width=4, tabular=True,
        sgd=True, lr=0.01, agent_lr=(2.0,), anneal_steps=2 * 2 * 4 * 2 * 2,
    )  # fmt: skip
    source = meta.source(partial(Rollout, Grid(2, 2, 1)))
    assert source.stride * 2 == meta.anneal_steps
    running = program(Parts(meta, source, Environment()))
    state, moved = running.start(jax.random.key(0)[None]), []
    for _ in range(3):
        before = np.asarray(state.agent.learner.model.cell.w)
        state, _ = running.advance(state, 1)
        moved.append(np.abs(np.asarray(state.agent.learner.model.cell.w) - before).max())
    assert 0.009 < moved[0] < 0.0101 and 0.001 < moved[1] < 0.006 and moved[2] == 0.0


def test_a_rule_comes_with_the_package_and_is_whole():
    opened = LPG().opened(read)
    assert opened.learned is not None
    assert opened.learned == LPG(rule=str(OURS)).opened(read).learned
