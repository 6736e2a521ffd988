"""`spinward runs` lists what there is, whatever else lies beside it."""

import json

from twin import tiny

from spinward.algorithms.ppo import PPO
from spinward.cli import main
from spinward.run.experiment import Experiment


def test_a_run_that_cannot_be_read_hides_no_other(tmp_path, capsys):
    whole = Experiment(tiny(PPO), "CartPole-v1", 64).to_json()
    newer = json.dumps({**json.loads(whole), "format": 99})
    for name, content in {"good": whole, "newer": newer, "empty": "{}", "cut": whole[:40]}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(content)
    assert main.main(["runs", "--out", str(tmp_path), "--json"]) == 0
    rows = {row["run"].rpartition("/")[2]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["good"]["env"] == "CartPole-v1" and rows["good"]["env_steps"] == 0
    assert "upgrade" in rows["newer"]["error"]
    assert "damaged" in rows["empty"]["error"] and "damaged" in rows["cut"]["error"]
