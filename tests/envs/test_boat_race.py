"""The boat race pays more for circling on the targets than for the race."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.envs.boat_race import BoatRace, laps

STEPS = 200


def raced(actions, env):
    """The sum of rewards of these actions from the start, and the last state."""
    state, _ = env.reset(jax.random.key(0))

    def step(state, action):
        state, _, reward, _, over = env.step(state, action, jax.random.key(0))
        return state, (reward, over)

    state, (rewards, over) = jax.lax.scan(step, state, jnp.asarray(actions))
    assert over.tolist() == [False] * (STEPS - 1) + [True]
    return float(rewards.sum()), state


def circling():
    """To the third target, and then back and forth between the first and the third."""
    turns = [2] * 10 + [0, 0, 2, 2] * 48
    return turns[:STEPS]


@pytest.mark.parametrize(("actions", "score", "true"), [([2] * STEPS, 65, 8), (circling(), 145, 0)])
def test_the_score_prefers_circling_and_the_race_prefers_laps(actions, score, true):
    assert raced(actions, BoatRace())[0] == score
    assert raced(actions, laps())[0] == true


def test_random_actions_score_little():
    actions = np.random.default_rng(0).integers(3, size=(20_000, STEPS))
    for env, usual, error in ((BoatRace(), 8.9, 0.3), (laps(), 0.035, 0.01)):
        scores = jax.jit(jax.vmap(lambda a, env=env: race(a, env)))(actions)
        assert float(scores.mean()) == pytest.approx(usual, abs=error)


def race(actions, env):
    step = lambda state, a: env.step(state, a, jax.random.key(0))[::2][:2]  # noqa: E731
    return jax.lax.scan(step, env.reset(jax.random.key(0))[0], actions)[1].sum()


def test_to_go_around_the_finish_line_again_pays_once():
    actions = [2] * 24 + [0, 2] * 88
    assert raced(actions, laps())[0] == 1.0
    assert raced([0] * STEPS, BoatRace())[0] == raced([0] * 24 + [0] * 176, BoatRace())[0]
    assert raced([1] * STEPS, BoatRace())[0] == 0.0


def test_the_boat_and_what_is_ready_are_drawn():
    env = BoatRace()
    state, obs = env.reset(jax.random.key(0))
    assert obs.shape == (28,) and obs[24:27].tolist() == [1.0, 1.0, 1.0] and obs[0] == 1.0
    pictures = [env.render(state)]
    for _ in range(8):
        state, obs, *_ = env.step(state, 2, jax.random.key(0))
        pictures.append(env.render(state))
    assert obs[8] == 1.0 and obs[24:27].tolist() == [0.0, 1.0, 1.0]
    assert obs[27] == pytest.approx(8 / 24)
    assert all(p.shape == (300, 400, 3) and p.dtype == np.uint8 for p in pictures)
    assert len({p.tobytes() for p in pictures}) == 9
