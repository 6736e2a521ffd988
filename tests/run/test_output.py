"""What commands print, and where: results on standard output, what happens on standard error."""

import io
import json
import re

import numpy as np
import pytest
from twin import tiny

import spinward as sw
from spinward.algorithms.ppo import PPO
from spinward.cli import progress
from spinward.cli.main import main
from spinward.cli.progress import Progress
from spinward.report.results import final
from spinward.run.experiment import EnvChoice, Experiment
from spinward.run.watching import Point


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return sw.train(tiny(sw.PPO), "CartPole-v1", 640, 2, out=out, name="a", shards=1)


def printed(capsys, *words):
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr()


def test_the_scores_of_evaluate_are_on_standard_output(run, capsys):
    said = printed(capsys, "evaluate", run.path, "--episodes", 2)
    scores = json.loads(printed(capsys, "evaluate", run.path, "--episodes", 2, "--json").out)
    assert f"mean {scores['mean']:.1f} (" in said.out and said.err == ""
    for seed, score in enumerate(scores["per_seed"]):
        assert f"  seed {seed}: {score:.1f}\n" in said.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["plot"], "picture: {run}/curve.png"),
        (["report"], "report: {run}/report.html"),
        (["watch", "--frames", "5"], "video: {run}/videos/seed-0.gif"),
        (
            ["data", "record", "--out", "{run}/x.npz", "--steps", "10"],
            "10 transitions: {run}/x.npz",
        ),
    ],
)
def test_files_that_a_command_writes_are_named_on_standard_output(run, capsys, words, told):
    words = [word.format(run=run.path) for word in words]
    place = 2 if words[0] == "data" else 1
    said = printed(capsys, *words[:place], run.path, *words[place:])
    assert said.out.strip() == told.format(run=run.path) and said.err == ""


def test_the_end_of_training_is_on_standard_output_unless_that_has_json(tmp_path, capsys):
    words = ["train", "ppo", "CartPole-v1", "--steps", 64, "--envs", 2, "--rollout", 8]
    words += ["--hidden", 4, "--logs", 2, "--out", tmp_path, "--name"]
    said = printed(capsys, *words, "a")
    assert re.search(r"^done in .* 64 env steps$", said.out, re.M) and "report: " in said.out
    assert "seed 0: " in said.err and "done" not in said.err
    said = printed(capsys, *words, "b", "--json")
    assert json.loads(said.out)["env_steps"] == 64 and "done in" in said.err


def test_plot_draws_any_metric_of_the_log(run, capsys):
    said = printed(capsys, "plot", run.path, "--metric", "entropy")
    assert said.out.strip() == f"picture: {run.path}/entropy.png"
    assert (run.path / "entropy.png").read_bytes().startswith(b"\x89PNG")
    _, values = run.curves("entropy")
    rows = json.loads(printed(capsys, "plot", run.path, "--metric", "entropy", "--json").out)
    assert rows[0]["metric"] == "entropy" and rows[0]["final"]["per_seed"] == list(values[:, -1])
    table = printed(capsys, "plot", run.path, "--metric", "entropy", "--table").out
    assert f"{values[:, -1].mean():.2f}" in table


def test_plot_names_the_metrics_there_are(run, capsys):
    assert main(["plot", str(run.path), "--metric", "entropi"]) == 2
    assert "logs no metric 'entropi'; expected one of entropy" in capsys.readouterr().err
    assert main(["plot", str(run.path), "--metric", "zzz"]) == 2
    assert "expected one of approx_kl, clip_fraction, entropy, " in capsys.readouterr().err


def test_the_last_value_of_a_metric_is_that_of_the_last_point_that_has_one():
    class Logged:
        def curves(self, metric):
            return np.arange(3), np.array([[1.0, 2.0, np.nan], [3.0, 4.0, 6.0], [np.nan] * 3])

    assert final(Logged(), "x")["per_seed"] == [2.0, 6.0, None]
    assert final(Logged(), "x")["iqm"] is None  # one seed has none, and is not left out


class Terminal(io.StringIO):
    def isatty(self):
        return True


def told(monkeypatch, stream, times, iterations=10):
    """What is written of log points at these times after the start."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.sys, "stderr", stream)
    report = Progress(Experiment(PPO(), EnvChoice("CartPole-v1"), 1000, 2))
    for i, now[0] in enumerate(times, 1):
        metrics = {"episode_return": [float(i), None]}
        report(Point(i, iterations, i * 100, iterations * 100, metrics, now[0], i))
    return stream.getvalue()


def test_without_a_terminal_there_is_a_plain_line_every_half_minute(monkeypatch):
    text = told(monkeypatch, io.StringIO(), [10.0, 29.0, 31.0, 40.0, 62.0])
    lines = text.splitlines()
    assert len(lines) == 2 and "\r" not in text and "\033" not in text
    assert lines[0].startswith(" 30%  300 of 1,000 steps  19 steps/s  return 3.0")
    assert lines[1].startswith(" 50%  500 of 1,000 steps  16 steps/s  return 5.0")
    assert lines[1].endswith("ETA 0:01:02")


def test_a_metric_of_an_earlier_point_is_told_where_the_newest_point_has_none(monkeypatch):
    points = iter(
        [{"episode_return": [7.0, 9.0], "held_out_loss": [1.0]}, {"episode_return": [5.0]}]
    )
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.sys, "stderr", io.StringIO())
    report = Progress(Experiment(PPO(), EnvChoice("CartPole-v1"), 1000, 2))
    for i, now[0] in enumerate([1.0, 2.0], 1):
        report(Point(i, 2, i, 2, next(points), now[0], i))
    assert report.words.metrics == {"episode_return": [5.0], "held_out_loss": [1.0]}


def test_a_short_run_without_a_terminal_tells_of_no_progress(monkeypatch):
    assert told(monkeypatch, io.StringIO(), [1.0, 2.0], iterations=2) == ""


def test_in_a_terminal_one_line_is_redrawn_and_ended_at_the_end(monkeypatch):
    text = told(monkeypatch, Terminal(), [1.0, 1.05, 2.0], iterations=3)
    assert text.startswith("compiling ...") and text.count("\r\033[K") == 2
    assert "200 of 300" not in text and text.endswith("ETA 0:00:00\n") and text.count("\n") == 1
