"""The parent of several shards reads each line of their logs once, however long the logs are."""

import json
import time

import pytest

from spinward.algorithms.ppo import PPO
from spinward.run.assemble import assemble
from spinward.run.experiment import EnvChoice, Experiment
from spinward.run.shards import MergedProgress
from spinward.store import log as record

POINTS = 10_000


def line(iteration):
    point = {"iteration": iteration, "env_steps": 100 * iteration, "episode_return": [1.0, None]}
    return json.dumps(point) + "\n"


@pytest.fixture
def parsed(monkeypatch):
    """Counts the lines that are parsed."""
    lines = []
    real = json.loads
    monkeypatch.setattr(record.json, "loads", lambda text: lines.append(text) or real(text))
    return lines


def test_each_line_is_parsed_once_and_a_poll_without_new_lines_is_quick(parsed, tmp_path):
    experiment = Experiment(PPO(), EnvChoice("CartPole-v1"), 2**30, 4, shards=2)
    logs = [tmp_path / "shards" / str(i) / "metrics.jsonl" for i in range(2)]
    (tmp_path / "config.json").write_text("{}")
    for log in logs:
        log.parent.mkdir(parents=True)
        log.write_text("".join(line(i) for i in range(1, POINTS + 1)))
    points = []
    progress = MergedProgress(assemble(experiment), tmp_path, points.append)
    assert len(parsed) == 2 * POINTS and progress.first == POINTS
    began = time.process_time()
    for _ in range(100):
        progress.report()
    assert (time.process_time() - began) / 100 < 0.005  # seconds; a parse of both takes 0.05
    assert len(parsed) == 2 * POINTS and not points
    with open(logs[0], "a") as one, open(logs[1], "a") as other:
        one.write(line(POINTS + 1) + line(POINTS + 2)[:20])
        one.flush()
        progress.report()
        assert not points  # not all shards are there
        one.write(line(POINTS + 2)[20:])
        other.write(line(POINTS + 1))
    progress.report()
    assert [p.iteration for p in points] == [POINTS + 1]
    assert points[0].metrics["episode_return"] == [1.0, None, 1.0, None]
    assert len(parsed) == 2 * POINTS + 3
