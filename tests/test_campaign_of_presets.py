"""The campaign that judges presets: its lists, and its rule."""

import json

import pytest

from campaigns import presets
from campaigns.presets import JUDGED_ON, OURS, RANDOM, SB3, TUNED_ON, at_least_as_good
from spinward.presets.choice import presets_of
from spinward.store import settings


def test_no_task_is_both_tuned_on_and_judged_on():
    judged = {task.env for tasks in JUDGED_ON.values() for task in tasks}
    assert len(TUNED_ON) >= 10 and not judged & set(TUNED_ON)
    assert all(presets_of(settings.find("algorithms", name)) for name in JUDGED_ON)
    assert len(JUDGED_ON["ppo"]) == 10


@pytest.mark.parametrize(
    ("ours", "theirs", "by_chance", "as_good"),
    [
        (10.0, 9.0, 0.0, True),
        (9.8, 10.0, 0.0, True),  # 2 per cent of 10 below
        (9.7, 10.0, 0.0, False),
        (-14.0, -13.0, -1000.0, True),  # the distance from chance is 987
        (-40.0, -13.0, -1000.0, False),
        (0.5, 0.5, 0.5, True),
    ],
)
def test_the_rule_allows_two_per_cent_of_the_distance_from_chance(ours, theirs, by_chance, as_good):
    assert at_least_as_good(ours, theirs, by_chance) is as_good


def test_a_verdict_needs_every_task_with_enough_seeds(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(presets, "RESULTS", tmp_path)
    tasks = JUDGED_ON["dqn"]

    def rows(count, seeds):
        for task in tasks[:count]:
            for side, mean in ((OURS, 2.0), (SB3, 1.0), (RANDOM, 0.0)):
                for seed in range(1000, 1000 + seeds):
                    path = tmp_path / f"dqn-{task.name}-{side}-{seed}.json"
                    path.write_text(json.dumps({"mean": mean}))

    rows(len(tasks), 1)
    verdict = presets.summary()["verdicts"]["dqn"]
    assert verdict["judged"] == 0 and verdict["shown_as_good"] == len(tasks)
    assert verdict["verdict"].startswith("not judged")
    rows(len(tasks), 3)
    assert presets.summary()["verdicts"]["dqn"]["verdict"] == "passed"
    for task in tasks[:2]:
        for seed in range(1000, 1003):
            (tmp_path / f"dqn-{task.name}-{OURS}-{seed}.json").write_text('{"mean": 0.5}')
    assert presets.summary()["verdicts"]["dqn"]["verdict"] == "missed"
    assert "below" in capsys.readouterr().out
