"""Python and notebooks: pictures, errors, rewards, and a whole notebook."""

import sys
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from twin import tiny

import spinward as sw
from spinward.cli.main import main
from spinward.errors import SettingsError
from spinward.networks.towers import actor_critic
from spinward.rewards.function import Function
from spinward.run import progress

PPO = tiny(sw.PPO)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return sw.train(PPO, "CartPole-v1", 320, 2, out=out, name="a", shards=1, logs=10,
                    evaluate_every=100, evaluate_episodes=2)  # fmt: skip


def test_a_run_shows_its_curves_a_video_a_report_and_a_card(run, tmp_path):
    picture = run.plot()
    assert picture._repr_png_().startswith(b"\x89PNG")
    picture.save(tmp_path / "x.svg")
    assert "<svg" in (tmp_path / "x.svg").read_text()
    assert run.plot(metric="entropy").figure.axes[0].get_ylabel() == "entropy"
    with pytest.raises(SettingsError, match="logs no metric 'entropi'; expected one of entropy"):
        run.plot(metric="entropi")
    film = run.video(seed=1, frames=5)
    assert film.path == run.path / "videos/seed-1.gif"
    assert 'src="data:image/gif;base64,' in film._repr_html_()
    page = run.report()
    assert page.path.is_file() and "<iframe sandbox srcdoc=" in page._repr_html_()
    card = run._repr_html_()
    assert "PPO in CartPole-v1, 2 seeds from 0, 320 of 320 steps" in card
    assert f"{run.final().mean():.1f}" in card and "data:image/png;base64," in card


class Handle:
    def __init__(self):
        self.pages = []

    def update(self, page):
        self.pages.append(page)


def test_progress_in_a_notebook_is_one_display_that_is_updated(tmp_path, monkeypatch):
    handle, shown = Handle(), []

    class ZMQInteractiveShell:
        pass

    def display(page, display_id):
        shown.append(page)
        return handle

    module = SimpleNamespace(HTML=str, display=display)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=ZMQInteractiveShell))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    assert progress.in_notebook()
    sw.train(PPO, "CartPole-v1", 64, out=tmp_path, logs=4, name="<x>")
    assert len(shown) == 1 and "compiling" in shown[0] and "<b>&lt;x&gt;</b>" in shown[0]
    assert "100%  64 of 64 steps" in handle.pages[-1] and "value='1.0000'" in handle.pages[-1]
    monkeypatch.undo()
    assert not progress.in_notebook()


def test_a_cell_that_is_run_again_goes_on_with_its_run(tmp_path):
    more = {"out": tmp_path, "name": "r", "logs": 4}
    first = sw.train(PPO, "CartPole-v1", 64, **more)
    with pytest.raises(SettingsError, match=r"exists; choose another name, .* exist_ok=True"):
        sw.train(PPO, "CartPole-v1", 64, **more)
    again = sw.train(PPO, "CartPole-v1", 64, exist_ok=True, **more)
    assert again.path == first.path and again.points == first.points
    told = r"exists with algorithm.fields.lr=0.00025, and this run has 0.5: choose another name"
    with pytest.raises(SettingsError, match=told):
        sw.train(tiny(sw.PPO, lr=0.5), "CartPole-v1", 64, exist_ok=True, **more)


def test_misspelt_settings_are_told_with_the_nearest_name():
    with pytest.raises(SettingsError, match="PPO has no setting 'entropy_coeff'; did you mean ent"):
        sw.PPO(entropy_coeff=0.1)
    with pytest.raises(SettingsError, match="RND has no setting 'x'; it has beta"):
        sw.RND(x=1)
    with pytest.raises(SettingsError, match="train has no argument 'seedz'; did you mean seed"):
        sw.train(PPO, "CartPole-v1", seedz=2)
    with pytest.raises(SettingsError, match="no argument 'env_kwarg'; did you mean env_kwargs"):
        sw.train(PPO, "CartPole-v1", env_kwarg={"limit": 5})
    with pytest.raises(SettingsError, match="tune has no argument 'trails'; did you mean trials"):
        sw.tune(PPO, "CartPole-v1", trails=2)
    with pytest.raises(SettingsError, match="tune has no argument 'exist_ok'; there are algorithm"):
        sw.tune(PPO, "CartPole-v1", exist_ok=True)
    told = r"lr is a setting of the algorithm, .* give it as in sw.PPO\(lr=0.1\)"
    with pytest.raises(SettingsError, match=told):
        sw.train("ppo", "CartPole-v1", lr=0.1)


def test_functions_without_a_name_are_refused_before_anything_is_trained(tmp_path):
    def mine(*args):
        return actor_critic(*args)

    for function in (lambda *args: actor_critic(*args), mine):
        with pytest.raises(SettingsError, match=r"network=.*: settings that are functions are sav"):
            sw.train(tiny(sw.PPO, network=function), "CartPole-v1", 64, out=tmp_path, name="x")
    with pytest.raises(SettingsError, match=r"function=.*<lambda>: settings that are functions"):
        sw.train(PPO, "CartPole-v1", 64, reward=lambda obs: 1.0, out=tmp_path, name="x")
    assert not (tmp_path / "x").exists()


def upright(obs, action, next_obs):
    return jnp.cos(next_obs[2]) - 0.1 * action - 0.01 * obs[0] ** 2


def torque(action, reward):
    return reward - jnp.sum(jnp.abs(action))


def branches(obs):
    return 1.0 if obs[0] > 0 else 0.0


def vector(next_obs):
    return next_obs


def of_texts(prompt, completion):
    return 0.0


def test_a_reward_is_a_function_of_a_step(tmp_path):
    run = sw.train(PPO, "CartPole-v1", 64, reward=upright, out=tmp_path, logs=4, name="r")
    means = run.curves("reward")[1][0]
    assert (means > 0.8).all() and (means < 1.0).all()  # upright, less 0.1 for half of the actions
    assert run.points[-1]["episode_return"] != means[-1]
    with pytest.raises(SettingsError, match=r"uses 'test_notebook:upright'.*--trust"):
        _ = sw.load(run.path).experiment
    assert sw.load(run.path, trust=True).experiment.reward == Function(upright)


def test_the_reward_of_a_step_has_its_action_in_the_units_of_the_environment():
    reward, made = Function(torque), sw.Experiment(tiny(sw.SAC), "Pendulum-v1", 64).env.make()
    state = reward.init(None, made.spec)
    from spinward.core import Transition

    action = jnp.array([[[0.5]], [[-2.0]]])
    zeros = jnp.zeros((2, 1))
    batch = Transition(jnp.zeros((2, 1, 3)), action, zeros + 5.0, zeros > 0, zeros > 0,
                       jnp.zeros((2, 1, 3)), zeros + 1.0, {})  # fmt: skip
    _, labelled, _ = reward.label(state, batch, None)
    np.testing.assert_allclose(labelled.reward, [[4.0], [3.0]])  # Pendulum's torque is up to 2


@pytest.mark.parametrize(
    ("reward", "told"),
    [
        (branches, "branches\\(\\) failed on one step: Tracer.*written in jax.numpy"),
        (vector, "vector\\(\\) returned an array of shape \\(4,\\) for one step; expected a num"),
        (of_texts, "of_texts\\(\\) takes prompt, completion; expected parameters among obs, act"),
        (Function(), "this reward needs a function"),
    ],
)
def test_rewards_that_are_none_are_refused_before_there_is_a_folder(reward, told, tmp_path):
    with pytest.raises(SettingsError, match=told):
        sw.train(PPO, "CartPole-v1", 64, reward=reward, out=tmp_path, name="x")
    assert not (tmp_path / "x").exists()


def test_the_command_line_takes_a_function_of_a_step(tmp_path, capsys):
    words = ["train", "ppo", "CartPole-v1", "--steps", "64", "--envs", "2", "--rollout", "8"]
    words += ["--hidden", "4", "--logs", "2", "--out", str(tmp_path), "--name", "r"]
    assert main([*words, "--reward", "test_notebook:upright"]) == 0
    config = (tmp_path / "r/config.json").read_text()
    assert '"function": "test_notebook:upright"' in config


@pytest.mark.slow
def test_the_example_notebook_runs(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    path = Path(__file__).parents[2] / "examples/first_hour.ipynb"
    book = nbformat.read(path, 4)
    client = nbclient.NotebookClient(book, timeout=600, resources={"metadata": {"path": tmp_path}})
    client.execute()
    outputs = [out for cell in book.cells if cell.cell_type == "code" for out in cell.outputs]
    kinds = {kind for out in outputs for kind in out.get("data", {})}
    assert {"image/png", "text/html"} <= kinds
    progress = [out for out in outputs if "<progress" in out.get("data", {}).get("text/html", "")]
    ended = ["100%" in out["data"]["text/html"] for out in progress]
    assert ended.count(True) >= 5 and ended.count(False) <= 1  # the watcher ended one
