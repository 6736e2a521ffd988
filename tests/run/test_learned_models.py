"""The part of a report on learned models: what the log says, and what the models imagine."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from twin import ALGORITHMS, tiny

from spinward.errors import NonFiniteError
from spinward.report import learned_models, results
from spinward.report.plot import Curve
from spinward.run.run import train

NAN = np.nan


def test_an_error_that_grows_is_named_with_the_steps():
    steps = np.array([100, 200, 300, 400])
    returns = np.array([
        [0.5, 0.1, 0.2, 0.31],  # more than thrice its least
        [0.5, 0.1, 0.9, 0.29],  # again below that
        [0.4, 0.3, 0.2, 0.1],
        [NAN, 0.1, 0.2, 0.9],  # too few points
    ])  # fmt: skip
    found = learned_models.growing(Curve("model_error", steps, returns), 7)
    assert found == [
        "model_error of seed 7 grew: 0.1 at step 200, 0.31 at step 400. "
        "The models may be diverging."
    ]


@pytest.fixture(scope="module")
def pets():
    return tiny(ALGORITHMS["pets"], plans=8, elites=2, particles=2, iterations=1, rollout=60,
                capacity=240, learn_terminal=False)  # fmt: skip


@pytest.mark.parametrize(
    "env", ["Pendulum-v1", pytest.param("gymnasium:Pendulum-v1", marks=pytest.mark.slow)]
)
def test_a_report_shows_what_models_imagine_beside_what_happens(env, pets, tmp_path):
    run = train(pets, env, 480, 1, out=tmp_path, name="a")
    real, imagined = learned_models.trajectories(run)
    assert real.shape == (51, 3) and imagined.shape == (2, 51, 3)
    np.testing.assert_allclose(np.square(real[:, :2]).sum(1), 1.0, atol=1e-5)  # a real pendulum
    np.testing.assert_array_equal(imagined[:, 0], [real[0]] * 2)
    agents = run.agents()
    agent = jax.tree.map(lambda x: jnp.asarray(x[0]), agents.agent)
    obs, actions = learned_models.real_steps(agents.env, pets, agent, run.config["seed"] + 1)
    np.testing.assert_array_equal(obs, real)
    for member in range(2):
        model = pets.dynamics(agent).member(member)
        x = model.inputs(jnp.concatenate([obs[0], np.clip(actions[0], -1, 1)]))
        change = model.targets.undone(model.members(x)[0])[1:]
        np.testing.assert_allclose(imagined[member, 1], obs[0] + change, rtol=1e-4, atol=1e-5)
    picture = learned_models.figure(real, imagined)
    assert len(picture.axes) == 3 and len(picture.axes[0].lines) == 3
    drawn = picture.axes[0].lines[-1].get_ydata()
    np.testing.assert_array_equal(drawn, real[:, 0])
    page = results.write_report(run).read_text()
    assert "The learned models" in page and "imagined and real trajectories" in page
    assert "log-likelihood of held-out steps" in page


def test_a_run_without_a_model_has_no_such_part(tmp_path):
    run = train(tiny(ALGORITHMS["ppo"]), "CartPole-v1", 64, 1, out=tmp_path, name="a")
    assert learned_models.content(run) == ""
    assert "The learned models" not in results.write_report(run).read_text()


def test_models_that_diverge_end_a_run_and_are_named_with_the_step(pets, tmp_path, monkeypatch):
    monkeypatch.setattr("spinward.models.diagnostics.DIVERGED", 0.0)
    with pytest.raises(NonFiniteError, match=r"model_error.*step") as caught:
        train(pets, "Pendulum-v1", 480, 1, out=tmp_path, name="a")
    assert "env steps" in str(caught.value)
