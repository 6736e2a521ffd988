"""Experiments: found, listed, run, judged, and written down."""

import json
import re
import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from spinward.cli.main import main
from spinward.experiments import reproduction
from spinward.experiments.reproduction import Reproduction, Row, reproduce, row_of
from spinward.run import provenance

ROWS = [
    Row("a return", 490.25, 480.0, 495.5, 500.0),
    Row("<what> & how", 0.125, float("nan"), float("nan")),
]


@pytest.fixture
def claim(monkeypatch, tmp_path):
    """An experiment `a-claim` of one picture, and what it was asked for."""
    asked, module = [], ModuleType("spinward.experiments.a_claim")
    module.__doc__ = "Water is wet (Thales).\n\nMore on that."
    module.verdict = "reproduced"

    def run(scale, seeds, out):
        asked.append((scale, seeds, out))
        Image.new("RGB", (4, 4)).save(out / "wet.png")
        rows = (ROWS, module.verdict, "it was <wet>", [out / "wet.png"])
        return Reproduction("a-claim", scale, *rows)

    module.run = run
    found = [*reproduction.modules("experiments"), "a_claim"]
    monkeypatch.setattr(reproduction, "modules", lambda package: found)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    module.asked = asked
    return module


def test_experiments_are_found_by_walking_the_folder():
    names = reproduction.names()
    assert {"policy-gradient", "trpo-trust-region", "ppo-mujoco"} <= set(names)
    assert "reproduction" not in names
    for name in names:
        about = reproduction.about(name)
        assert re.search(r"\(.*\d{4}", about), f"{name} does not say who claims it: {about}"


def test_without_a_name_the_command_lists_what_there_is(claim, capsys):
    assert main(["reproduce"]) == 0
    assert re.search(r"^a-claim +Water is wet \(Thales\)\.$", capsys.readouterr().out, re.M)
    assert main(["reproduce", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"name": "a-claim", "about": "Water is wet (Thales)."} in listed


def test_an_experiment_leaves_its_rows_and_a_page_that_loads_nothing(claim, tmp_path, capsys):
    assert main(["reproduce", "a-claim", "--seeds", "3", "--out", "there"]) == 0
    printed = capsys.readouterr()
    assert claim.asked == [("laptop", 3, claim.asked[0][2])]
    assert re.search(r"a return +490\.2 +480 to 495\.5 +500$", printed.out, re.M)
    assert "reproduced: it was <wet>" in printed.out
    kept = json.loads((tmp_path / "there/rows.json").read_text())
    assert kept["rows"][0]["published"] == 500.0 and kept["rows"][1]["low"] is None
    assert kept["verdict"] == "reproduced" and kept["pictures"] == ["wet.png"]
    page = (tmp_path / "there/report.html").read_text()
    assert "&lt;what&gt; &amp; how" in page and "it was &lt;wet&gt;" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page) and "<script" not in page
    assert page.count("data:image/png;base64,") == 1


def test_json_is_one_document_with_no_number_that_is_none(claim, capsys):
    assert main(["reproduce", "a-claim", "--json", "--scale", "paper"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["scale"] == "paper" and printed["rows"][1]["high"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a-clam"], "there is no experiment 'a-clam'; expected one of a-claim"),
        (["a-claim", "--scale", "huge"], "scale='huge' is not one of laptop, paper"),
        (["a-claim", "--seeds", "0"], "seeds=0 must be at least 1"),
        (["a-claim", "--seed", "-1"], "seed=-1 must be at least 0"),
    ],
)
def test_what_cannot_be_asked_for_is_told_in_one_line(claim, capsys, words, said):
    assert main(["reproduce", *words]) == 2
    told = capsys.readouterr().err.strip()
    assert said in told and "\n" not in told
    assert claim.asked == []


def test_a_verdict_is_one_of_three(claim, tmp_path):
    claim.verdict = "surely"
    with pytest.raises(ValueError, match="reproduced, not reproduced, cannot tell"):
        reproduce("a-claim", out=tmp_path)


def test_a_row_of_seeds_has_their_mean_its_interval_and_the_numbers_it_is_made_of():
    row = row_of("x", [0.0, 1.0, 2.0, 100.0], 3.0)
    assert row.measured == 25.75 and row.low < 1.5 < row.high and row.published == 3.0
    assert row.interval == "95 % t interval of 4 seeds" and row.scores == (0.0, 1.0, 2.0, 100.0)
    assert "4 seeds" in reproduction.table([row])
    assert np.isnan(row_of("x", [1.0]).low)


@pytest.fixture
def tiny(claim, monkeypatch, tmp_path):
    """An experiment of two tiny runs, by the commit `one`; a function that makes it again."""
    from spinward.algorithms.a2c import A2C

    claim.lr, claim.commit = 1e-3, "one"
    monkeypatch.setattr(provenance, "commit", lambda: claim.commit)

    def run(scale, seeds, out):
        agent = A2C(hidden=(4,), envs=2, lr=claim.lr)
        for name, seed in (("x", 0), ("y", 7)):
            made = reproduction.trained(agent, "Probe-Value", 40, 2, out, name, seed=seed, shards=1)
        rows = [row_of("a return", made.final())]
        return Reproduction("a-claim", scale, rows, "cannot tell", "it was tiny")

    def again(**more):
        reproduce("a-claim", out=tmp_path / "out", **more)
        kept = json.loads((tmp_path / "out/curves/x.json").read_text())
        assert len(kept["returns"]) == 2 and len(kept["returns"][0]) == len(kept["steps"])
        return json.loads((tmp_path / "out/rows.json").read_text())

    claim.run, claim.again = run, again
    return claim


def test_rows_say_what_they_are_made_of(tiny):
    rows = tiny.again()
    assert rows["seed"] == 1000 and rows["commit"] == "one" and rows["reused"] == []
    assert rows["settings"]["x"]["seed"] == 1000 and rows["settings"]["y"]["seed"] == 1007
    assert rows["settings"]["x"]["algorithm"]["fields"]["lr"] == 1e-3
    assert 0.0 < rows["cpu_seconds"] < 600.0 and len(rows["rows"][0]["scores"]) == 2


def test_a_run_is_gone_on_with_only_by_the_same_commit_settings_and_seed(tiny):
    assert tiny.again()["reused"] == []
    assert tiny.again()["reused"] == ["x", "y"]
    tiny.lr = 1e-2
    assert tiny.again()["reused"] == []
    tiny.commit = "two"
    assert tiny.again()["reused"] == []
    assert tiny.again()["reused"] == ["x", "y"]
    assert tiny.again(seed=2000)["reused"] == []
    tiny.commit = "two+changes"
    assert tiny.again(seed=2000)["reused"] == []
    assert tiny.again(seed=2000)["reused"] == []


def test_the_first_seed_is_asked_for_by_a_flag_and_ends_with_the_reproduction(claim, tmp_path):
    seen = []
    inner = claim.run
    claim.run = lambda *asked: (seen.append(reproduction.first_seed()), inner(*asked))[1]
    assert main(["reproduce", "a-claim", "--seed", "4321", "--out", "there"]) == 0
    assert main(["reproduce", "a-claim", "--out", "there"]) == 0
    assert seen == [4321, 1000] and reproduction.first_seed() == 0
    assert "--seed 1000" in (tmp_path / "there/report.html").read_text()
