"""The log of notifications, its example's page, and the verdict of its experiment."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from spinward.cli import main
from spinward.data import store
from spinward.experiments import notifications, push_notifications
from spinward.experiments.notifications import Campaign
from spinward.experiments.push_notifications import Outcome, concluded

pytest.importorskip("pyarrow")
FOLDER = Path(__file__).parents[2] / "examples/push_notifications"
PAGE = (FOLDER / "README.md").read_text()
LINES = re.search(r"```sh\n(.*?)```", PAGE, re.S)[1].replace("\\\n", " ").splitlines()
APP = runpy.run_path(str(FOLDER / "app.py"))


def words_of(start):
    return next(shlex.split(line)[1:] for line in LINES if line.startswith(start))


def test_a_log_has_the_probability_of_each_decision_and_no_row_after_a_person_left():
    rows = notifications.logged(Campaign(3000, 7, 0.3), 0)
    usual = notifications.usual(rows)
    send = (rows["action"] == "send").astype(int)
    np.testing.assert_allclose(rows["propensity"], np.where(send == usual, 0.85, 0.15))
    # Of 20,000 decisions 15 % are the other one, give or take three standard errors.
    assert np.mean(send != usual) == pytest.approx(0.15, abs=0.008)
    assert not rows["opened"][send == 0].any()
    np.testing.assert_allclose(rows["reward"], rows["opened"] - 0.08 * send)
    person, day = rows["person_id"], rows["day"]
    new = np.diff(person, prepend=-1) > 0
    assert (day[new] == 0).all() and (np.diff(day)[~new[1:]] == 1).all()
    assert 0.5 < np.mean(day[np.append(new[1:], True)] == 6) < 1.0  # some left before
    for name in ("affinity", "days_since_open"):
        assert 0.05 < np.isnan(rows[name]).mean() < 0.4


def test_the_logged_return_is_what_the_services_policy_earns():
    """Two ways to the same number: rewards of the log, and the play of the same policy."""
    campaign = Campaign(20_000, 7, 0.3)
    rows = notifications.logged(campaign, 3)
    of_log = rows["reward"].sum() / campaign.people
    played = notifications.earned(notifications.explored(0.3, 4), campaign, 5)
    assert of_log == pytest.approx(played.mean(), abs=4 * played.std() / np.sqrt(20_000))
    discounted = notifications.earned(notifications.usual, campaign, 6, gamma=0.0)
    assert discounted.max() <= 0.92 + 1e-9  # of the first day alone


def test_the_page_leads_from_the_log_to_a_scorer_that_sees_what_was_learned_from(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    APP["log"]("impressions.parquet", people=300)
    assert main.main(words_of("spinward data import")) == 0
    card = store.opened("log").card
    assert card.actions == ("drop", "send") and set(card.filled) == set(notifications.FILLED)
    assert "affinity?" in card.features and "topic=news" in card.features
    assert "opened" not in card.features and "model_version" not in card.features
    assert main.main(words_of("spinward data split")) == 0
    train = words_of("spinward train dqn")
    train[train.index("--steps") + 1] = "100"
    assert main.main(train) == 0
    assert main.main(words_of("spinward export")) == 0
    contract = json.loads(Path("scorer/contract.json").read_text())
    assert contract["features"] == list(card.features) and contract["filled"] == card.filled
    choose = APP["scorer"]("scorer")
    people = notifications.People(50, np.random.default_rng(0))
    features = people.features()
    np.testing.assert_array_equal(
        notifications.matrix(contract, features)[:9],
        [card.observe({k: v[i] for k, v in features.items()}) for i in range(9)],
    )
    import spinward as sw

    policy = sw.load("runs/better").policy()
    rows = ({k: v[i] for k, v in features.items()} for i in range(50))
    assert choose(features).tolist() == [int(policy(card.observe(row))) for row in rows]
    capsys.readouterr()
    gate = [*words_of("spinward evaluate"), "--fit-updates", "100"]
    assert main.main(gate) == 6  # 150 people are too few
    assert "do not deploy: cannot tell: effective sample size" in capsys.readouterr().err
    gate[gate.index("--offline") + 1] = "parts/train"
    assert main.main(gate) == 2
    assert "the run learned from 100% of its episodes" in capsys.readouterr().err


def outcomes(count, value=0.8, logged=0.6, size=7.0, verdict="cannot tell: ...", low=0.7, fqe=0.7):
    result = {
        "estimates": {
            "weighted doubly robust": {"value": 0.75, "low": low, "high": 0.9},
            "direct method": {"value": 0.78, "low": fqe, "high": 0.85},
        },
        "data": {"value": 0.6},
        "gain": {"value": 0.1, "low": 0.05, "high": 0.2},
        "truncated_share": 0.0,
        "effective_size": size,
        "verdict": verdict,
    }
    return [Outcome(result, value + 0.001 * i, logged) for i in range(count)]


@pytest.mark.parametrize(
    ("month", "silent", "week", "failing"),
    [
        (outcomes(10), outcomes(5), outcomes(3, verdict="better"), ""),
        (outcomes(8) + outcomes(2, low=0.85), outcomes(5), [], ""),
        (outcomes(7) + outcomes(3, low=0.85), outcomes(5), [], "weighted doubly robust"),
        (outcomes(7) + outcomes(3, fqe=0.84), outcomes(5), [], "fitted Q evaluation"),
        (outcomes(10, logged=0.85, fqe=0.7), outcomes(5), [], "true gain"),
        (outcomes(10), [*outcomes(4), *outcomes(1, verdict="better", logged=0.1)], [],
         "called 'cannot tell'"),
        (outcomes(10), outcomes(5), outcomes(1, verdict="better", logged=0.9), "truly worse"),
    ],
)  # fmt: skip
def test_each_part_of_the_rule_decides(month, silent, week, failing):
    made = concluded("laptop", month, silent, week or outcomes(2), outcomes(2))
    assert made.verdict == ("not reproduced" if failing else "reproduced")
    assert failing in made.why and made.why.endswith(")") == bool(failing)


@pytest.mark.slow
def test_the_experiment_runs_and_keeps_nothing_but_its_rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = push_notifications.run("laptop", 2, tmp_path / "out", shrink=40)
    assert {row.what for row in made.rows} >= {"a month: true gain on the logged policy"}
    assert not any((tmp_path / "runs/reproduce/data").iterdir())


@pytest.mark.slow
def test_the_page_ends_with_a_policy_that_may_be_deployed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for line in filter(None, LINES):
        program, *words = shlex.split(line)
        if program == "python":
            monkeypatch.setattr(sys, "argv", words)
            runpy.run_path(str(FOLDER / words[0]), run_name="__main__")
        else:
            assert main.main(words) == 0, line
    said = capsys.readouterr().out
    assert said.count("deploy: every bound is above") == 2
    service, scorer = map(float, re.findall(r"([\d.]+) per person", said))
    assert scorer > service + 0.03
