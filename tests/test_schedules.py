"""Settings that change over a run have the values of their formulas, in every program."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest
from twin import ALGORITHMS, HostClock, assert_same, copied, keys, parts, tiny

import spinward as sw
from spinward import schedules
from spinward.cli.main import main
from spinward.errors import SettingsError, Stopped
from spinward.programs import choose
from spinward.programs.choose import program
from spinward.run.experiment import Experiment
from spinward.schedules import parsed

CASES = [  # text, share of the run, value
    ("linear:3e-4:0", 0.0, 3e-4),
    ("linear:3e-4:0", 0.25, 2.25e-4),
    ("linear:3e-4:0", 1.0, 0.0),
    ("linear:1:0.1:0.5", 0.25, 0.55),
    ("linear:1:0.1:0.5", 0.5, 0.1),
    ("linear:1:0.1:0.5", 0.9, 0.1),
    ("cosine:2:1", 0.25, 1.0 + (1 + math.cos(math.pi / 4)) / 2),
    ("cosine:2:1", 0.5, 1.5),
    ("warmup:0.2:5", 0.05, 1.275),
    ("warmup:0.2:5", 0.7, 5.0),
    ("warmup:0.2:linear:5:1", 0.1, 2.525),
    ("warmup:0.2:linear:5:1", 0.2, 5.0),
    ("warmup:0.2:linear:5:1", 0.6, 3.0),
    ("warmup:0.1:cosine:5:1:0.5", 0.3, 3.0),
    ("warmup:0.1:cosine:5:1:0.5", 0.8, 1.0),
]


@pytest.mark.parametrize(("text", "share", "value"), CASES)
def test_a_schedule_has_the_value_of_its_formula(text, share, value):
    schedule = dataclasses.replace(parsed(text), iterations=1000.0)
    assert float(schedule.at(round(1000 * share))) == pytest.approx(value, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("text", sorted({text for text, *_ in CASES}))
def test_a_schedule_is_written_as_the_text_that_it_is_read_from(text):
    assert parsed(str(parsed(text))) == parsed(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("linear:1", "is no schedule; expected linear:START:END"),
        ("linear:1:x", "'x' is no finite number"),
        ("linear:1:nan", "'nan' is no finite number"),
        ("cosine:1:0:2", "2 must be a share of the run, above 0 up to 1"),
        ("warmup:0:1", "0 must be a share of the run"),
        ("warmup:0.5", "is no schedule"),
        ("warmup:0.5:linear:1:0:0.4", "the end, at 0.4 of the run, is in the warm-up"),
        ("linear:1:0:0.5:3", "is no schedule"),
    ],
)
def test_what_is_no_schedule_is_refused(text, told):
    with pytest.raises(SettingsError, match=told.replace("(", r"\(")):
        parsed(text)


def ran(made, iterations, split=()):
    """The metrics of a program, run in chunks of these sizes, and the agent at the end."""
    running = program(made)
    try:
        state, at, pieces = running.start(keys(2)), 0, []
        for size in split or (iterations,):
            state, metrics = running.advance(state, size, at)
            pieces.append(metrics)
            at += size
        assert at == iterations
        return {k: np.concatenate([p[k] for p in pieces], 1) for k in metrics}, copied(state.agent)
    finally:
        running.close()


def with_schedules(name, env=None, **settings):
    made = parts(tiny(ALGORITHMS[name]), env)
    algorithm = dataclasses.replace(made.algorithm, **settings)
    return made._replace(algorithm=schedules.over(algorithm, 10))


@pytest.mark.parametrize("where", ["device", "calling", "python"])
def test_each_iteration_has_its_own_value_in_every_program_and_in_chunks_of_any_size(
    where, monkeypatch
):
    if where == "python":
        monkeypatch.setattr(choose, "LARGE", 0)
    made = with_schedules(
        "dqn", HostClock() if where != "device" else None,
        lr=parsed("linear:0.01:0.001"), gamma=parsed("linear:0.5:1"),
    )  # fmt: skip
    metrics, agent = ran(made, 10)
    expected = 0.01 - 0.009 * np.arange(10) / 10
    np.testing.assert_allclose(metrics["lr"], [expected] * 2, rtol=1e-5)
    np.testing.assert_allclose(metrics["gamma"], [0.5 + np.arange(10) / 20] * 2, rtol=1e-5)
    again, other = ran(made, 10, (3, 1, 6))
    assert (again["lr"] == metrics["lr"]).all()
    assert_same(agent, other)


slow = [pytest.param(name, marks=pytest.mark.slow) for name in ("sac", "trpo", "c51")]


@pytest.mark.parametrize("name", ["ppo", *slow])
def test_a_schedule_of_one_value_learns_what_the_number_learns(name):
    """Every float setting that an update reads is replaced, whatever the algorithm."""
    kind = ALGORITHMS[name]
    hints = {f.name: f.default for f in dataclasses.fields(kind) if f.type in (float, "float")}
    numbers = {n: v for n, v in hints.items() if math.isfinite(v)}
    flat = {n: parsed(f"linear:{v}:{v}") for n, v in numbers.items()}
    _, agent = ran(with_schedules(name, **flat), 3)
    _, plain = ran(parts(tiny(kind, **numbers)), 3)
    assert_same(agent, plain, atol=1e-5)


def test_a_stopped_run_with_schedules_goes_on_to_the_same_bytes(tmp_path):
    def stop(point):
        return sw.STOP if point.iteration == 7 else None

    algorithm = tiny(sw.PPO, lr="cosine:0.01:0", entropy_coef="warmup:0.5:0.1")
    more = {"out": tmp_path, "shards": 1}
    whole = sw.train(algorithm, "CartPole-v1", 320, 2, name="whole", **more)
    with pytest.raises(Stopped):
        sw.train(algorithm, "CartPole-v1", 320, 2, name="half", watch=stop, **more)
    run = sw.load(tmp_path / "half").train()
    assert run.points == whole.points
    assert_same(*(copied(each.agents().agent) for each in (run, whole)))
    steps, lr = run.curves("lr")
    iterations = steps // 16 - 1
    expected = 0.01 * (1 + np.cos(np.pi * iterations / 20)) / 2
    np.testing.assert_allclose(lr, [expected] * 2, rtol=1e-4)
    assert run.evaluate(2, explore=True).returns.shape == (2, 2)


def test_the_command_line_takes_schedules_and_keeps_them_in_the_settings(tmp_path, capsys):
    words = ["train", "ppo", "CartPole-v1", "--steps", "128", "--envs", "2", "--rollout", "8"]
    words += ["--hidden", "4", "--logs", "4", "--out", str(tmp_path), "--lr", "linear:3e-4:0"]
    assert main([*words, "--name", "r"]) == 0
    fields = json.loads((tmp_path / "r/config.json").read_text())["algorithm"]["fields"]
    assert fields["lr"] == "linear:0.0003:0.0" and fields["anneal_steps"] == 0
    run = sw.load(tmp_path / "r")
    assert run.experiment.algorithm.lr == parsed("linear:3e-4:0")
    rows = run.curves("lr")[1][0]
    assert rows[0] > rows[-1] > 0
    capsys.readouterr()
    assert main([*words, "--name", "s", "--lr", "linear:3e-4"]) == 2
    assert "is no schedule; expected linear:START:END" in capsys.readouterr().err
    assert main([*words, "--name", "s", "--anneal-steps", "9"]) == 2
    assert "is a schedule by itself; set anneal_steps=0" in capsys.readouterr().err
    assert main([*words, "--name", "s", "--lr", "linear:-1:0"]) == 2
    assert "lr=linear:-1.0:0.0 must be at least 0" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_a_setting_of_a_reward_has_a_schedule_too(tmp_path):
    reward = sw.RND(beta="linear:1:0", width=4)
    run = sw.train(tiny(sw.PPO), "CartPole-v1", 64, reward=reward, out=tmp_path, logs=4)
    np.testing.assert_allclose(run.curves("beta")[1][0], [1.0, 0.75, 0.5, 0.25])


def test_schedules_are_leaves_so_that_one_compilation_serves_all_of_a_shape():
    one, other = (tiny(sw.PPO, lr=parsed(f"linear:{x}:0")) for x in (1, 2))
    assert jax.tree.structure(one) == jax.tree.structure(other)


def test_actors_of_ray_are_refused_schedules():
    experiment = Experiment(sw.A2C(lr="linear:1e-3:0"), "CartPole-v1", 100, workers=2)
    with pytest.raises(SettingsError, match="actors of Ray know no schedules"):
        experiment.check()
