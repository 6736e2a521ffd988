"""The example of a shop's log does what its page says."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from spinward.cli import main
from spinward.data import store
from spinward.errors import SettingsError

pytest.importorskip("pyarrow")
FOLDER = Path(__file__).parents[2] / "examples/your_own_csv"
SHOP = runpy.run_path(str(FOLDER / "shop.py"))
LINES = re.search(r"```sh\n(.*?)```", (FOLDER / "README.md").read_text(), re.S)[1].splitlines()
IMPORT = next(shlex.split(line)[1:] for line in LINES if "--out log" in line)


def test_the_log_is_imported_as_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    SHOP["log"]("decisions.csv", customers=150)
    assert main.main(["data", "import", "decisions.csv", "--dry-run"]) == 2
    assert "no column says where episodes end" in capsys.readouterr().out
    assert main.main(IMPORT) == 0
    found = store.opened("log")
    assert found.card.features == (
        "visits", "fatigue", "device=android", "device=ios", "device=web", "weekday")  # fmt: skip
    assert found.card.actions == tuple(sorted(SHOP["ACTIONS"])) and found.extras[0] == "action_prob"
    episodes = [n.decode() for n in found.ids()]
    assert episodes == [f"c{i}" for i in range(150)]
    row = {"visits": 6.5, "fatigue": 0.25, "device": "ios", "weekday": 3}
    np.testing.assert_array_equal(found.card.observe(row), np.float32([6.5, 0.25, 0, 1, 0, 3]))
    with pytest.raises(SettingsError, match="device='tv' is not among the data's values"):
        found.card.observe(row | {"device": "tv"})
    with pytest.raises(SettingsError, match="the row lacks weekday"):
        found.card.observe({k: v for k, v in row.items() if k != "weekday"})


@pytest.mark.slow
def test_the_page_leads_to_a_policy_that_is_better_than_the_log(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for line in LINES:
        program, *words = shlex.split(line)
        if program == "python":
            monkeypatch.setattr(sys, "argv", words)
            SHOP[words[1]](*words[2:])
        else:
            assert main.main(words) == (2 if "--dry-run" in words else 0), line
    said = capsys.readouterr().out
    rule, better, _, cautious, _, copy = map(float, re.findall(r"([\d.]+) per customer", said))
    assert better > 3 * rule and abs(copy - rule) < 0.1 and cautious > rule - 0.05
    # The bold policy is not called better by a log that has few examples of what it does.
    assert "cannot tell: effective sample size" in said and "not settled" in said
    assert (tmp_path / "scorer/contract.json").is_file()
