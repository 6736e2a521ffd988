"""The predicted reward beside the film."""

from functools import partial
from itertools import islice

import jax
import numpy as np

import spinward as sw
from spinward.report import reward_bar
from spinward.report.results import frames
from spinward.report.reward_bar import BAD, FULL, GOOD, INK, with_bar
from spinward.run import folders


def column(value):
    """The colours of the bar's middle column, from above."""
    picture = with_bar(np.zeros((80, 160, 3), np.uint8), value)
    assert picture.shape == (80, 170, 3) and not picture[:, :160].any()
    return [tuple(x) for x in picture[:, 165].tolist()]


def test_the_bar_is_as_long_as_the_prediction_and_stands_on_its_side():
    half, full, low = column(FULL / 2), column(9 * FULL), column(-FULL)
    assert half.count(GOOD) == 19 and half[40] == INK and half.index(GOOD) == 21
    assert full.count(GOOD) == 38 and full.index(GOOD) == 2
    assert low.count(BAD) == 37 and low.index(BAD) == 41 and GOOD not in low
    for nothing in (0.0, float("nan")):
        assert not {GOOD, BAD} & set(column(nothing))


def test_a_run_with_a_learned_reward_is_filmed_with_its_bar(tmp_path):
    reward = sw.Preferences(teacher="oracle", labels=16, segment=5, rounds=2, hidden=(8,),
                            members=2, updates=20, first_updates=40)  # fmt: skip
    algorithm = sw.PPO(envs=2, rollout=16, minibatches=1, hidden=(8,))
    more = {"reward": reward, "out": tmp_path, "shards": 1}
    run = sw.train(algorithm, "Pendulum-v1", steps=128, logs=4, name="learned", **more)
    film = list(islice(frames(run, limit=3), 3))
    made, policy = run.made, run.policy()
    init = partial(made.parts.reward.init, spec=made.spec)
    state = folders.last(run.path, run.checkpoint_paths(), "reward", init, made.experiment)
    state = jax.tree.map(lambda x: x[0], state)
    assert int(state.fits) > 0
    key = jax.random.PRNGKey(run.config["seed"] + 1)
    first, obs = made.env.reset(key)
    policy(np.asarray(obs))
    each = reward.each(state, np.asarray(obs)[None], policy.unit_action[None])[:, 0]
    value = float(((each - state.mean) / state.std).mean())
    assert np.array_equal(film[0], with_bar(made.env.render(first), value))
    assert value != 0.0


def test_other_runs_are_filmed_as_they_are(tmp_path):
    algorithm = sw.PPO(envs=2, rollout=16, minibatches=1, hidden=(8,))
    run = sw.train(algorithm, "CartPole-v1", steps=32, logs=1, name="plain", out=tmp_path)
    frame = np.zeros((4, 4, 3), np.uint8)
    assert reward_bar.bar_of(run, 0)(frame, None, None) is frame
