"""A few cases of each campaign of faults, and that their judges can tell what is wrong."""

import random
import re
from unittest import mock

import pytest

from campaigns.faults import commands, flips, ledger
from campaigns.faults.configs import Configs
from campaigns.faults.flips import Flips
from campaigns.faults.links import Links
from spinward.run import provenance
from spinward.store import integrity
from spinward.store import log as record


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A finished run with one of everything."""
    return commands.tree(commands.example(tmp_path_factory.mktemp("runs"), 160))


def outcomes(campaign, count):
    return [campaign.case(random.Random(f"0-{i}")) for i in range(count)]


@pytest.mark.parametrize(
    ("kind", "count"),
    [(Configs, 30), (Links, 10), pytest.param(Flips, 60, marks=pytest.mark.slow),
     pytest.param(Links, 60, marks=pytest.mark.slow)],
)  # fmt: skip
def test_damage_is_told_or_does_no_harm(kind, count, files, tmp_path):
    for outcome, _, what in outcomes(kind(tmp_path, files), count):
        assert outcome in ledger.FINE, what


def test_flipped_bits_are_told_or_do_no_harm(files, tmp_path):
    found = outcomes(Flips(tmp_path, files, long_share=0.0), 40)
    for outcome, _, what in found:
        assert outcome in ledger.FINE, what
    told = [kind for outcome, kind, _ in found if outcome == "told"]
    assert len(told) >= 15 and {"config.json", "metrics.jsonl", "checkpoints"} <= set(told)


def test_a_campaign_finds_what_nobody_checks(files, tmp_path, monkeypatch):
    """Without the digest of the log, a flipped bit of it changes what is plotted, silently."""
    campaign = Flips(tmp_path, files, long_share=0.0)
    (name,) = campaign.by_kind["metrics.jsonl"]
    *_, last = re.finditer(rb'"evaluation_return": \[\d+\.(\d)', files[name])
    digit = last.start(1)
    draw = mock.Mock(random=lambda: 1.0, randrange=lambda _: 8 * digit)
    draw.choices.return_value, draw.choice.return_value = ["metrics.jsonl"], name
    assert campaign.case(draw)[0] == "told"
    monkeypatch.setattr(record, "verified", lambda path, run, size, _: record.content(path, run))
    monkeypatch.setattr(integrity, "check_config", lambda *_: None)
    assert campaign.case(draw)[0] == "silent"


def test_a_traceback_and_an_unclear_refusal_are_found(files, tmp_path, monkeypatch):
    campaign = Flips(tmp_path, files, long_share=0.0)

    def fails(*words):
        raise ValueError("odd")

    monkeypatch.setattr(flips, "call", lambda *words: commands.Said(4, "", "spinward: no"))
    assert outcomes(campaign, 1)[0][0] == "unclear"
    monkeypatch.undo()
    monkeypatch.setattr(commands.main, "main", fails)
    assert outcomes(campaign, 1)[0][0] == "traceback"


def test_a_campaign_goes_on_where_it_was_and_begins_anew_for_another_commit(tmp_path, monkeypatch):
    drawn, commit = [], "a" * 40
    monkeypatch.setattr(provenance, "commit", lambda: commit)

    def case(draw):
        drawn.append(draw.random())
        return ("silent" if len(drawn) == 2 else "told"), "log", f"case {len(drawn)}"

    assert not ledger.carry_out("flips", 20, 0, case, tmp_path)
    assert not ledger.carry_out("flips", 40, 0, case, tmp_path)
    assert len(drawn) == len(set(drawn)) == 40
    content = ledger.begun(tmp_path / "flips.json", 0, commit)
    assert content["done"] == 40 and content["outcomes"] == {"silent": 1, "told": 39}
    assert content["wrong"] == [{"case": 1, "outcome": "silent", "what": "case 2"}]
    assert ledger.repeat("flips", case, tmp_path) and drawn.pop() == drawn[1]
    content = ledger.begun(tmp_path / "flips.json", 0, commit)
    assert content["wrong"] == [] and content["mended"][0]["now"] == "told"
    commit = "b" * 40
    assert ledger.carry_out("flips", 2, 0, case, tmp_path)
    assert drawn[40:] == drawn[:2]
