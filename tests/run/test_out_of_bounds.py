"""Observations outside their space are said once, also of environments without workers."""

import jax.numpy as jnp
import numpy as np
import pytest

import spinward as sw
from spinward.core import Box, Dict, Discrete, Spec, TrainState, config
from spinward.envs.pool import REPORTED
from spinward.experience.vector import VectorState
from spinward.run.out_of_bounds import BoundsRemark


@config
class Climbs:
    """Its second number grows by one in each step, up to `top`."""

    top: float = 3.0

    spec = Spec(Box((2,), 0.0, 3.0), Discrete(2))

    def reset(self, key):
        return jnp.zeros(2), jnp.zeros(2)

    def step(self, state, action, key):
        state = state.at[1].set(jnp.minimum(state[1] + 1.0, self.top))
        return state, state, jnp.float32(1.0), jnp.bool_(False), jnp.bool_(False)


@pytest.mark.parametrize(("top", "lines"), [(3.0, 0), (5.0, 1)])
@pytest.mark.parametrize("kind", ["ppo", "dqn"])
def test_a_run_says_once_that_observations_are_outside_their_space(
    kind, top, lines, tmp_path, capfd
):
    REPORTED.clear()
    small = {"envs": 2, "hidden": (4,)}
    algorithm = (
        sw.PPO(**small, rollout=4, minibatches=1)
        if kind == "ppo"
        else sw.DQN(**small, rollout=4, capacity=64, warmup=16, batch=8)
    )
    sw.train(algorithm, Climbs(top), 64, 2, out=tmp_path, shards=1, logs=4)
    said = [line for line in capfd.readouterr().err.splitlines() if "outside" in line]
    assert len(said) == lines
    if lines:
        assert "observation[1] is 5, outside its bounds 0 to 3; it is used as it is" in said[0]


def test_environments_that_share_a_host_program_are_checked_too(capfd):
    """EnvPool's have a state of this kind: [seed, env, ...], of a dict here."""
    REPORTED.clear()
    spec = Spec(Dict((("a", Box((2,), -1.0, 1.0)), ("b", Box((), 0.0, 1.0)))), Discrete(2))
    remark = BoundsRemark("envpool:Some-v0", None, spec)
    obs = {"a": np.zeros((2, 3, 2), np.float32), "b": np.ones((2, 3), np.float32)}
    state = TrainState((), VectorState(obs, (), np.zeros((2, 3)), np.zeros((2, 3))), (), None)
    remark.check(state)
    assert capfd.readouterr().err == ""
    obs["a"][1, 2, 0] = -2.0
    for _ in range(2):
        remark.check(state)
    line = "observation['a'][0] is -2, outside its bounds -1 to 1; it is used as it is"
    assert capfd.readouterr().err == f"spinward: warning: envpool:Some-v0: {line}\n"
