"""The board's list of searches for settings: what it shows, and what damage does to it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from made import SCRIPT, make, make_search
from PIL import Image
from test_board import client_of, page

import spinward as sw
from spinward.board.runs import digest, searches_of
from spinward.cli.main import main


def rows_of(folder):
    return {row.path.name: row for row in searches_of(folder).rows().values()}


def test_the_list_shows_each_search_with_its_trials_and_its_best(tmp_path):
    make(tmp_path, "a run")
    make_search(tmp_path, "half", scores=(1.0, 3.0, None))
    make_search(tmp_path, "whole", scores=(1.0, 3.0), asked=2, answered=True)
    make_search(tmp_path, "more", scores=(1.0, 3.0), answered=True)  # asked for more trials since
    make_search(tmp_path, "unbegun", scores=())
    rows = rows_of(tmp_path)
    assert {n: r.state for n, r in rows.items()} == {
        "half": "stopped", "whole": "finished", "more": "stopped", "unbegun": "new"
    }  # fmt: skip
    half = rows["half"]
    assert (half.algorithm, half.env, half.asked) == ("PPO", "CartPole-v1", 4)
    assert [t.score for t in half.trials] == [1.0, 3.0, None] and half.best.number == 1
    assert half.best.settings == {"lr": "0.002", "hidden": "[8, 8]"}
    assert half.bytes == sum(p.stat().st_size for p in half.path.iterdir())
    client = client_of(tmp_path)
    text = page(client)
    for part in (f'href="/search/{digest("half")}"', "lr=0.002", "Searches for settings", "of 4"):
        assert part in text
    assert "half" not in page(client, "/?filter=a2c") and "half" in page(
        client, "/?filter=tune+ppo"
    )
    text = page(client, f"/search/{digest('half')}")
    for part in ("1e-4:1e-2:log", "loss: not finite", "3 of 4", "lr=0.003"):
        assert part in text
    text = page(client, f"/search/{digest('whole')}")
    assert "Best on other seeds" in text and "(2 to 3.25)" in text


def test_a_real_search_is_a_row_and_a_page(tmp_path):
    small = {"steps": 64, "seeds": 2, "logs": 2, "confirm": 1, "trials": 2}
    algorithm = sw.PPO(envs=4, rollout=16, epochs=1, minibatches=1, hidden=(4,))
    tuning = sw.tune(algorithm, "CartPole-v1", {"lr": "1e-4:1e-2:log"}, out=tmp_path, **small)
    (row,) = rows_of(tmp_path).values()
    assert row.state == "finished" and row.warnings == () and len(row.trials) == 2
    means = [np.mean(line["per_seed"]) for line in tuning.trials]
    assert [t.score for t in row.trials] == pytest.approx(means)
    assert row.best.score == pytest.approx(max(means))
    assert float(row.best.settings["lr"]) == tuning.best["lr"]
    assert "CartPole-v1" in page(client_of(tmp_path), f"/search/{digest(row.path.name)}")


def test_a_search_is_running_while_a_process_holds_its_lock(tmp_path):
    path = make_search(tmp_path, "search")
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.flock(f, fcntl.LOCK_EX);"
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(path / "lock")]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout.readline() == "held\n"
        assert rows_of(tmp_path)["search"].state == "running"
        process.stdin.close()
    assert rows_of(tmp_path)["search"].state == "stopped"


LINE = {"number": 9, "settings": {}, "per_seed": [1.0], "reason": "", "steps": [], "returns": []}
DAMAGE = {
    "no-json": ("tune.json", b"{"),
    "list": ("tune.json", b"[]"),
    "empty": ("tune.json", b'{"format": 1}'),
    "newer": ("tune.json", b'{"format": 2}'),
    "deep": ("tune.json", b"[" * 100_000),
    "torn": ("trials.jsonl", b'{"number": 1}\n'),
    "vast": ("trials.jsonl", json.dumps(LINE | {"per_seed": [10**400]}).encode() + b"\n"),
    "word": ("trials.jsonl", json.dumps(LINE | {"number": "9"}).encode() + b"\n"),
    "odd": ("best.json", b'{"best": {"value": "x", "low": 1, "high": 2}}'),
    "wide": ("best.json", b'{"best": {"value": 1' + b"0" * 400 + b', "low": 1, "high": 2}}'),
    "bare": ("best.json", b"3"),
}


def test_a_damaged_search_is_named_and_hides_no_other(tmp_path):
    make_search(tmp_path, "good")
    make(tmp_path, "run")
    for name, (file, content) in DAMAGE.items():
        (make_search(tmp_path, name) / file).write_bytes(content)
    os.mkfifo(make_search(tmp_path, "piped") / "best.json")
    (tmp_path / "odd-count").mkdir()
    make_search(tmp_path, "counts", asked=10**400)
    client = client_of(tmp_path)
    text = page(client)
    rows = rows_of(tmp_path)
    assert rows.keys() == {*DAMAGE, "good", "piped", "counts"}
    for name, row in rows.items():
        assert name in text and client.get(f"/search/{digest(name)}").status_code == 200
        assert bool(row.warnings) == (name not in ("good", "counts")), name
    assert rows["torn"].warnings[0].endswith("(fields of a trial are missing)")
    assert rows["good"].best.score == 3.0 and f"/run/{digest('run')}" in text


def test_nothing_of_a_search_is_read_through_a_link(tmp_path):
    secret, folder = tmp_path / "secret", tmp_path / "runs"
    folder.mkdir()
    (folder / "link").symlink_to(make_search(secret, "elsewhere"))
    for name in ("tune.json", "trials.jsonl", "best.json", "trials.png"):
        path = make_search(folder, name, answered=True)
        (path / name).unlink(missing_ok=True)
        (path / name).symlink_to(secret / "elsewhere" / name)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(secret / "elsewhere/trials.png")
    rows, client = rows_of(folder), client_of(folder)
    assert "link" not in rows
    for name in ("tune.json", "trials.jsonl", "best.json"):
        assert "symbolic link" in rows[name].warnings[0]
    assert client.get(f"/search/{digest('link')}").status_code == 404
    assert client.get(f"/trials/{digest('trials.png')}").status_code == 404
    assert client.get(f"/trials/{digest('link')}").status_code == 404


def test_the_picture_of_the_trials_is_shown(tmp_path):
    path = make_search(tmp_path, "search")
    client = client_of(tmp_path)
    assert "/trials/" not in page(client, f"/search/{digest('search')}")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path / "trials.png")
    assert f'src="/trials/{digest("search")}"' in page(client, f"/search/{digest('search')}")
    answer = client.get(f"/trials/{digest('search')}")
    assert answer.headers["content-type"] == "image/png"
    assert answer.content == (path / "trials.png").read_bytes()


def test_names_and_reasons_of_a_search_are_text(tmp_path):
    path = make_search(tmp_path, f"search {SCRIPT}".replace("/", "|"), space={SCRIPT: SCRIPT})
    line = LINE | {"settings": {SCRIPT: SCRIPT}, "reason": SCRIPT}
    with open(path / "trials.jsonl", "a") as trials:
        trials.write(json.dumps(line) + "\n")
    client = client_of(tmp_path)
    for text in (page(client), page(client, f"/search/{digest(path.name)}")):
        assert "<script>alert(1)" not in text and "<img src=x" not in text


def test_who_is_not_signed_in_sees_no_search(tmp_path):
    make_search(tmp_path, "search")
    stranger = client_of(tmp_path, signed_in=False)
    assert stranger.get(f"/search/{digest('search')}").status_code == 303
    assert stranger.get(f"/trials/{digest('search')}").status_code == 401


def test_the_command_refuses_the_folder_of_a_search_itself(tmp_path, capsys):
    assert main(["board", str(make_search(tmp_path, "search"))]) == 2
    assert f"spinward board {tmp_path}" in capsys.readouterr().err
