"""Environments given from Python as objects: classes, functions, specs and JAX environments."""

import subprocess
import sys
import textwrap

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest
from twin import ALGORITHMS, tiny

import spinward as sw
from spinward.core import Box, Discrete, Spec, config
from spinward.envs import given
from spinward.envs.pendulum import Pendulum
from spinward.errors import SettingsError
from spinward.presets.choice import preset
from spinward.run.experiment import DataChoice, EnvChoice
from spinward.run.run import load, train

PPO = ALGORITHMS["ppo"]


class Count(gymnasium.Env):
    """Counts to `most`; every step earns 1."""

    observation_space = gymnasium.spaces.Box(0.0, 100.0, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, most=4, render_mode=None):
        self.most = most

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.at += 1
        return np.full(1, self.at, np.float32), 1.0, self.at >= self.most, False, {}


def local_class():
    """A class as a notebook cell has it, which no other process can import."""

    class Local(Count):
        pass

    return Local


def test_a_class_that_can_be_imported_is_named(tmp_path):
    run = train(tiny(PPO), Count, 64, 2, out=tmp_path, env_kwargs={"most": 3})
    assert run.experiment.env == EnvChoice("test_given_envs:Count", {"most": 3})
    assert run.points[-1]["episode_length"] == [3.0, 3.0]
    assert (load(run.path, trust=True).evaluate(2).returns == 3.0).all()


@pytest.mark.slow
@pytest.mark.parametrize("wrap", [False, True], ids=["class", "function"])
def test_a_class_of_a_notebook_works_with_seeds_and_worker_processes(wrap, tmp_path):
    made = local_class()
    env = (lambda **more: made(**more)) if wrap else made
    run = train(tiny(PPO), env, 64, 2, out=tmp_path, name="run", env_kwargs={"most": 5})
    assert run.experiment.env.name.startswith("given:")
    assert run.points[-1]["episode_length"] == [5.0, 5.0]
    assert (run.evaluate(2).returns == 5.0).all()
    given.GIVEN.clear()  # as in another process
    for trust in (False, True):  # which would not help
        with pytest.raises(SettingsError, match=r"give it again, as in sw\.load\(RUN, env=MyEnv\)"):
            load(run.path, trust=trust).evaluate(2)
    assert (load(run.path, env=env).evaluate(2).returns == 5.0).all()
    with pytest.raises(SettingsError, match="actors cannot open given:"):
        train(tiny(PPO), env, 64, out=tmp_path, workers=2)


def test_an_object_that_is_gone_is_asked_for_and_another_name_is_not():
    given.require("CartPole-v1")
    with pytest.raises(SettingsError, match="given:Gone-1 was an object of the program"):
        given.require("given:Gone-1")


def test_two_classes_of_one_name_are_two_environments():
    names = {given.choice_of(local_class())[0]}

    class Local(Count):
        def __init__(self):
            super().__init__(most=9)

    names.add(given.choice_of(Local)[0])
    assert len(names) == 2


@config
class Walk:
    goal: float = 2.0
    spec = Spec(Box((1,), -5.0, 5.0), Discrete(2))

    def reset(self, key):
        return jnp.float32(0.0), jnp.zeros(1)

    def step(self, state, action, key):
        at = state + 1.0
        return at, at[None], jnp.float32(1.0), at >= self.goal, jnp.bool_(False)


def test_a_jax_environment_is_named_by_its_class_and_settings(tmp_path):
    run = train(tiny(PPO), Walk(goal=3.0), 64, out=tmp_path)
    assert run.experiment.env == EnvChoice("test_given_envs:Walk", {"goal": 3.0})
    assert run.points[-1]["episode_length"] == [3.0]
    assert given.choice_of(Pendulum(limit=7)) == ("spinward.envs.pendulum:Pendulum", {"limit": 7})


def test_a_spec_of_gymnasium_is_named_by_its_id():
    assert given.choice_of(gymnasium.spec("CartPole-v1"))[0] == "CartPole-v1"


@pytest.mark.parametrize("env", [gymnasium.make("CartPole-v1"), 3, None])
def test_what_is_no_environment_is_refused_in_one_line(env, tmp_path):
    with pytest.raises(SettingsError, match="is no environment: expected a name, a class"):
        sw.train(tiny(PPO), env, 64, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_script_without_a_guard_does_not_train_again_in_its_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import sys
        import gymnasium, numpy as np
        print("script")

        class Coin(gymnasium.Env):
            observation_space = gymnasium.spaces.Box(0.0, 1.0, (1,))
            action_space = gymnasium.spaces.Discrete(2)

            def reset(self, seed=None, options=None):
                super().reset(seed=seed)
                return np.zeros(1, np.float32), {}

            def step(self, action):
                return np.zeros(1, np.float32), float(action), True, False, {}

        import spinward as sw
        run = sw.train(sw.PPO(envs=2, rollout=8, minibatches=1), Coin, 64, 2, out=sys.argv[1])
        print(run.points[-1]["episode_length"])
        """)
    )
    words = [sys.executable, str(script), str(tmp_path / "runs")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200)
    assert done.stdout == "script\n[1.0, 1.0]\n", done.stderr


@pytest.mark.parametrize("algorithm", ["ppo", sw.PPO], ids=["name", "class"])
def test_an_algorithm_by_name_or_class_has_the_settings_of_the_command(algorithm, tmp_path):
    settings, reward = preset(sw.PPO, "T-Maze", 512)
    run = train(algorithm, "T-Maze", 512, out=tmp_path)
    assert settings and run.experiment.algorithm == sw.PPO(**settings)
    assert run.experiment.reward == reward
    with pytest.raises(SettingsError, match=r"there is no algorithm 'pp0'; expected one of ppo"):
        train("pp0", "T-Maze", 512, out=tmp_path)


def test_the_package_runs_as_the_command(tmp_path):
    words = [sys.executable, "-m", "spinward", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.strip().endswith(sw.__version__)


def test_a_function_that_makes_no_environment_is_told_and_one_that_opens_it_is_closed(tmp_path):
    with pytest.raises(SettingsError, match=r"made 3; expected a gymnasium.Env or a JAX env"):
        train(tiny(PPO), lambda: 3, 64, out=tmp_path)
    closed = []

    class Closes(Count):
        def close(self):
            closed.append(self)

    assert given.is_host(lambda: Closes()) and len(closed) == 1
    assert not list(tmp_path.iterdir())


def test_a_share_of_no_data_and_what_is_no_algorithm_are_told(tmp_path):
    with pytest.raises(SettingsError, match=r"data.share=0.5 is of logged data: give its path"):
        train(tiny(PPO), "CartPole-v1", 64, data=DataChoice(share=0.5), out=tmp_path)
    with pytest.raises(SettingsError, match=r"algorithm=3 is a int; expected an object, such as"):
        train(3, "CartPole-v1", 64, out=tmp_path)
