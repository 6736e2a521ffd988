"""The board's server: what it shows, what it refuses, how little it reads, and what it survives."""

import json
import os
import random
import subprocess
import sys
from html.parser import HTMLParser

import made
import numpy as np
import pytest
from made import SCRIPT, make
from PIL import Image
from starlette.testclient import TestClient

from spinward.board import health, reading, runs, views
from spinward.board.runs import digest, runs_of
from spinward.board.server import BoardServer
from spinward.cli.main import main
from spinward.people.guard import BODY, local
from spinward.store import files

ORIGIN = "http://127.0.0.1:8601"
JSON = {"origin": ORIGIN, "content-type": "application/json"}


def client_of(folder, signed_in=True):
    """A client of a folder's board, and the lines that the board has logged."""
    log = []
    app = BoardServer(folder, "the token", local(8601), log.append).app()
    client = TestClient(app, base_url=ORIGIN, follow_redirects=False)
    if signed_in:
        assert client.post("/api/session", json={"token": "the token"}, headers=JSON).is_success
    client.log = log
    return client


def page(client, path="/"):
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_the_list_shows_each_run_with_its_state_steps_return_and_disk_use(tmp_path):
    make(tmp_path, "whole", points=10)
    make(tmp_path, "half", points=5)
    make(tmp_path, "unbegun", points=0)
    broken = make(tmp_path, "broken", points=3)
    said = {"kind": "NonFiniteError", "message": "loss: not finite in iteration 4"}
    (broken / "shards/1/stderr").write_text(f"a warning\n{json.dumps(said)}\n")
    rows = {r.path.name: r for r in runs_of(tmp_path).rows().values()}
    assert {n: r.state for n, r in rows.items()} == {
        "whole": "finished", "half": "stopped", "unbegun": "new", "broken": "failed"
    }  # fmt: skip
    whole = rows["whole"]
    assert (whole.algorithm, whole.env, whole.env_steps, whole.steps) == (
        "PPO", "CartPole-v1", 1000, 1000
    )  # fmt: skip
    assert whole.value == 100.5 and whole.label == "episode return"
    files_of = [p for p in whole.path.rglob("*") if p.is_file()]
    assert whole.bytes == sum(p.stat().st_size for p in files_of)
    text = page(client_of(tmp_path))
    for part in ("whole", "1,000", "100.50", "finished", "loss: not finite in iteration 4"):
        assert part in text


def test_a_run_is_running_while_a_process_holds_its_lock(tmp_path):
    run = make(tmp_path, "run", points=5)
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.flock(f, fcntl.LOCK_EX);"
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(run / "shards/1/lock")]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout.readline() == "held\n"
        state = next(iter(runs_of(tmp_path).rows().values())).state
        process.stdin.close()
    assert state == "running"
    assert next(iter(runs_of(tmp_path).rows().values())).state == "stopped"


def test_a_stop_at_a_return_is_an_end():
    config = {"stop_at": 5.0}
    assert reading.reached(config, {"episode_return": [5.0, 6.0]})
    assert not reading.reached(config, {"episode_return": [5.0, None]})
    assert not reading.reached(config | {"evaluate_every": 2}, {"episode_return": [9.0]})
    assert reading.reached(config | {"evaluate_every": 2}, {"evaluation_return": [9.0]})


def test_500_runs_are_read_once_and_only_what_changed_is_read_again(tmp_path, monkeypatch):
    for i in range(500):
        make(tmp_path, f"run-{i:03d}", points=1, shards=1)
    opened, original = [], files.opened

    def count(path, run, mode):
        if path.name != "lock":
            opened.append(path)
        return original(path, run, mode)

    monkeypatch.setattr(files, "opened", count)
    known = runs_of(tmp_path)
    assert len(known.rows()) == 500
    assert len(opened) <= 500 * 3  # settings, the end of one log, and perhaps an error
    opened.clear()
    assert len(known.rows()) == 500 and opened == []
    log = tmp_path / "run-007/shards/0/metrics.jsonl"
    log.write_text(log.read_text() + json.dumps(made.line(2)) + "\n")
    rows = known.rows()
    assert {p.parts[len(tmp_path.parts)] for p in opened} == {"run-007"} and len(opened) <= 3
    assert rows[digest("run-007")].env_steps == 200


def test_only_the_end_of_a_long_log_is_read(tmp_path, monkeypatch):
    run = make(tmp_path, "long", points=20_000, shards=1)
    size = (run / "shards/0/metrics.jsonl").stat().st_size
    assert size > 20 * reading.TAIL
    points = reading.log_end(run / "shards/0/metrics.jsonl", run)
    assert points[-1]["iteration"] == 20_000 and len(points) == reading.POINTS
    wide = made.line(7, seeds=9000)  # one line that is longer than what is read first
    (run / "shards/0/metrics.jsonl").write_text(f"{json.dumps(wide)}\n" * 3)
    assert reading.log_end(run / "shards/0/metrics.jsonl", run)[-1] == wide


def test_a_broken_run_is_a_row_with_a_warning_and_hides_no_other(tmp_path):
    make(tmp_path, "good")
    for name, content in {
        "no-json": b"{", "list": b"[]", "empty": b"{}", "deep": b"[" * 100_000,
        "odd": json.dumps(made.config() | {"seeds": "many"}).encode(),
        "null": json.dumps(made.config() | {"algorithm": None}).encode(),
        "long": b" " * (2**20 + 1),
    }.items():  # fmt: skip
        (make(tmp_path, name) / "config.json").write_bytes(content)
    torn = make(tmp_path, "torn")
    (torn / "shards/0/metrics.jsonl").write_text('{"iteration": "one"}\n')
    (tmp_path / "piped").mkdir()
    os.mkfifo(tmp_path / "piped/config.json")
    client = client_of(tmp_path)
    text = page(client)
    for row in runs_of(tmp_path).rows().values():
        assert row.path.name in text
        assert bool(row.warnings) == (row.path.name != "good"), row.path.name
        assert client.get(f"/run/{digest(row.path.name)}").status_code == 200
        assert client.get(f"/api/curve/{digest(row.path.name)}").status_code in (200, 400)
    every = [("run", digest(r.path.name)) for r in runs_of(tmp_path).rows().values()]
    assert client.get("/compare", params=every).status_code == 200


def test_a_count_that_is_no_float_is_shown_as_unknown(tmp_path):
    content = json.dumps(made.config() | {"steps": 10**400})
    (make(tmp_path, "vast") / "config.json").write_text(content)
    client = client_of(tmp_path)
    assert "vast" in page(client) and page(client, f"/run/{digest('vast')}")


def test_damage_to_what_a_checkpoint_vouches_for_is_a_warning(tmp_path):
    whole = make(tmp_path, "whole", saved=True)
    shards = files.numbered(whole / "shards")
    assert health.damage(whole, shards, deep=True) == []
    cut = make(tmp_path, "cut", saved=True)
    log = cut / "shards/0/metrics.jsonl"
    log.write_bytes(log.read_bytes()[:-40])
    lost = make(tmp_path, "lost", saved=True)
    for path in (lost / "shards/1/checkpoints").iterdir():
        files.remove(path)
    torn = make(tmp_path, "torn", saved=True)
    manifest = next((torn / "shards/0/checkpoints").iterdir()) / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"log_bytes"', b'"log_bites"'))
    rows = {r.path.name: r.warnings for r in runs_of(tmp_path).rows().values()}
    assert rows["whole"] == () and "the log was cut" in rows["cut"][0]
    assert "all checkpoints are gone" in rows["lost"][0] and "checksum" in rows["torn"][0]
    changed = make(tmp_path, "changed", saved=True)
    log = changed / "shards/0/metrics.jsonl"
    log.write_bytes(log.read_bytes().replace(b"10.0", b"99.0"))
    (changed / "config.json").write_text((changed / "config.json").read_text() + " ")
    text = page(client_of(tmp_path), f"/run/{digest('changed')}")
    assert "it was changed since the newest checkpoint" in text


def test_nothing_is_read_through_a_link_out_of_a_run(tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "film.gif").write_bytes(b"GIF89a secret")
    (secret / "log").write_text(json.dumps(made.line(9)) + "\n")
    folder = tmp_path / "runs"
    log, shards, config, film, films = (
        make(folder, name) for name in ("log", "shards", "config", "film", "films")
    )
    (log / "shards/0/metrics.jsonl").unlink()
    (log / "shards/0/metrics.jsonl").symlink_to(secret / "log")
    (shards / "shards").rename(secret / "shards")
    (shards / "shards").symlink_to(secret / "shards")
    (config / "config.json").rename(secret / "config.json")
    (config / "config.json").symlink_to(secret / "config.json")
    (film / "videos").mkdir()
    (film / "videos/film.gif").symlink_to(secret / "film.gif")
    (films / "videos").symlink_to(secret)
    client = client_of(folder)
    rows = {r.path.name: r for r in runs_of(folder).rows().values()}
    assert all("symbolic link" in rows[n].warnings[0] for n in ("log", "config"))
    assert rows["shards"].value is None and rows["log"].value is None
    for name in rows:
        for path in (f"/video/{digest(name)}/film.gif", f"/run/{digest(name)}"):
            assert "secret" not in client.get(path).text.replace(str(secret), "")
        assert client.get(f"/video/{digest(name)}/film.gif").status_code == 404


def test_a_link_to_a_run_is_no_run_of_the_folder(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/link").symlink_to(make(tmp_path, "elsewhere"))
    folder = runs_of(tmp_path / "runs")
    assert folder.rows() == {} and folder.row(digest("link")) is None


def test_the_curve_is_the_mean_over_seeds_with_its_interval(tmp_path):
    make(tmp_path, "run", points=3, shards=2)
    answer = client_of(tmp_path).get(f"/api/curve/{digest('run')}")
    curve = answer.json()
    assert curve["metric"] == "episode_return" and curve["steps"] == [100, 200, 300]
    assert curve["value"] == [10.5, 20.5, 30.5]
    assert (curve["low"], curve["high"]) == ([10, 20, 30], [11, 21, 31])
    assert curve["interval"] == "range of 2 seeds" and curve["metrics"][-1] == "loss"


def test_a_curve_has_no_infinities_keeps_gaps_and_the_last_point(tmp_path):
    run = make(tmp_path, "run", points=0, shards=1)
    log = run / "shards/0/metrics.jsonl"
    values = [None, float("nan"), float("inf"), 2.0, None, 4.0]
    lines = [made.line(i + 1) | {"episode_return": [x]} for i, x in enumerate(values)]
    log.write_text("".join(json.dumps(x) + "\n" for x in lines))
    curve = client_of(tmp_path).get(f"/api/curve/{digest('run')}").json()
    assert curve["value"] == [None, None, None, 2.0, 2.0, 4.0]
    from spinward.board.curves import thinned

    assert [p["i"] for p in thinned([{"i": i} for i in range(2500)])[-2:]] == [2496, 2499]


def test_a_growing_log_is_read_again_and_a_still_one_is_not(tmp_path, monkeypatch):
    from spinward.store import points

    run = make(tmp_path, "run", points=3, shards=1)
    client = client_of(tmp_path)
    read, original = [], points.read
    monkeypatch.setattr(points, "read", lambda *a: read.append(a) or original(*a))
    for _ in range(3):
        client.get(f"/api/curve/{digest('run')}")
    assert len(read) == 1
    with open(run / "shards/0/metrics.jsonl", "a") as log:
        log.write(json.dumps(made.line(4)) + "\n")
    assert client.get(f"/api/curve/{digest('run')}").json()["steps"][-1] == 400
    assert len(read) == 2


def test_a_video_in_the_run_is_shown(tmp_path):
    run = make(tmp_path, "run")
    (run / "videos").mkdir()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(run / "videos/seed 0&.gif")
    (run / "videos/page.html").write_text("<script>alert(1)</script>")
    client = client_of(tmp_path)
    text = page(client, f"/run/{digest('run')}")
    assert f'src="/video/{digest("run")}/seed%200%26.gif"' in text and "page.html" not in text
    film = client.get(f"/video/{digest('run')}/seed%200%26.gif")
    assert film.headers["content-type"] == "image/gif"
    assert film.content == (run / "videos/seed 0&.gif").read_bytes()
    assert client.get(f"/video/{digest('run')}/page.html").status_code == 404


def test_the_settings_in_which_runs_differ_are_told_apart(tmp_path):
    one, two = make(tmp_path, "one"), make(tmp_path, "two")
    content = made.config() | {"steps": 2000}
    content["algorithm"]["fields"]["lr"] = 0.5
    (two / "config.json").write_text(json.dumps(content))
    different, equal = views.difference([views.settings(one), views.settings(two)])
    assert different == {"--steps": ["1000", "2000"], "--lr": ["0.001", "0.5"]}
    assert equal["algorithm"] == "ppo" and equal["--envs"] == "8"
    keys = [("run", digest("one")), ("run", digest("two")), ("run", digest("one"))]
    text = client_of(tmp_path).get("/compare", params=keys).text
    assert "Compare 2 runs" in text and "0.5" in text


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))


def test_names_of_runs_videos_metrics_and_settings_are_never_markup(tmp_path):
    name = SCRIPT.replace("/", "\N{DIVISION SLASH}")
    run = make(tmp_path, name, env=SCRIPT)
    bidi = "\N{RIGHT-TO-LEFT OVERRIDE}"
    make(tmp_path, os.fsdecode(b"not \xff utf-8\n") + bidi)
    lines = [made.line(1) | {SCRIPT: [1.0]}]
    (run / "shards/0/metrics.jsonl").write_text(json.dumps(lines[0]) + "\n")
    (run / "shards/1/metrics.jsonl").write_text(json.dumps(lines[0]) + "\n")
    (run / "shards/0/stderr").write_text(json.dumps({"kind": "X", "message": SCRIPT}) + "\n")
    (run / "videos").mkdir()
    (run / "videos" / (name + ".gif")).write_bytes(b"GIF89a")
    client = client_of(tmp_path)
    for path in ("/", f"/?filter={SCRIPT}&sort={SCRIPT}", f"/run/{digest(name)}",
                 f"/compare?run={digest(name)}"):  # fmt: skip
        text = page(client, path)
        scripts = [a for t, a in Tags(text).tags if t == "script"]
        assert {a.get("src") for a in scripts} == {"/static/chart.js", "/static/board.js"}
        images = [a for t, a in Tags(text).tags if t == "img"]
        assert all("onerror" not in a and a["src"].startswith("/video/") for a in images)
        assert not any(k.startswith("on") or k == "style" for _, a in Tags(text).tags for k in a)
        assert bidi not in text
    assert client.get(f"/api/curve/{digest(name)}?metric={SCRIPT}").status_code == 200


def test_nothing_is_told_to_those_who_are_not_signed_in(tmp_path):
    make(tmp_path, "run")
    stranger = client_of(tmp_path, signed_in=False)
    for path in ("/", f"/run/{digest('run')}", "/compare"):
        answer = stranger.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/enter")
    assert stranger.get(f"/api/curve/{digest('run')}").status_code == 401
    assert stranger.get(f"/video/{digest('run')}/a.gif").status_code == 401
    assert stranger.post("/api/leave", json={}, headers=JSON).status_code == 401
    for token in ("", "wrong", "the toke"):
        assert stranger.post("/api/session", json={"token": token}, headers=JSON).status_code == 401
    assert stranger.get("/enter?token=wrong").status_code == 401
    assert "set-cookie" not in stranger.get("/enter?token=wrong").headers


def test_signing_in_without_javascript_strips_the_secret_from_the_address(tmp_path):
    client = client_of(tmp_path, signed_in=False)
    assert '<form action="/enter" method="get">' in page(client, "/enter")
    answer = client.get("/enter", params={"token": "the token"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert page(client)
    assert client.post("/api/leave", json={}, headers=JSON).status_code == 200
    assert client.get("/").status_code == 303


def test_every_answer_has_the_headers_of_a_safe_page(tmp_path):
    make(tmp_path, "run")
    client = client_of(tmp_path)
    for path in ("/", "/enter", f"/run/{digest('run')}", "/static/board.js", "/absent"):
        policy = client.get(path).headers["content-security-policy"]
        assert "script-src 'self';" in policy and "default-src 'none'" in policy
        assert "unsafe" not in policy


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "evil:8601"])
def test_a_foreign_host_is_refused_on_every_method(tmp_path, host):
    client = client_of(tmp_path)
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
        assert client.request(method, "/", headers=JSON | {"host": host}).status_code == 421


def test_requests_of_other_sites_are_refused(tmp_path):
    client = client_of(tmp_path)
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        for path in ("session", "leave"):
            headers = JSON | {"origin": origin}
            assert client.post(f"/api/{path}", json={}, headers=headers).status_code == 403
    assert client.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    form = JSON | {"content-type": "text/plain"}
    assert client.post("/api/leave", content="{}", headers=form).status_code == 415
    assert client.post("/api/session", content=b"x" * (BODY + 1), headers=JSON).status_code == 413
    assert client.post("/api/session", content=b"[" * 60_000, headers=JSON).status_code == 400
    assert client.put("/api/leave", headers=JSON).status_code == 405
    assert page(client)


def test_paths_are_names_and_no_way_out_of_the_folder(tmp_path):
    make(tmp_path / "runs", "run")
    (tmp_path / "secret").write_text("secret")
    client = client_of(tmp_path / "runs")
    key = digest("run")
    tricks = ["..%2fsecret", "%2e%2e%2fsecret", "....//secret", "..\\secret", "%00", "run"]
    tricks += ["%252e%252e%252fsecret", "%c0%ae%c0%ae", "x" * 400]
    for trick in tricks:
        folders = f"/run/{trick}", f"/api/curve/{trick}", f"/compare?run={trick}"
        for path in (
            *folders,
            f"/video/{key}/{trick}",
            f"/video/{trick}/a.gif",
            f"/static/{trick}",
        ):
            answer = client.get(path)
            assert answer.status_code in (400, 404, 405, 414, 303), path
            assert "secret" not in answer.text.replace(trick, "")


def test_random_requests_are_answered_without_an_error_of_the_server(tmp_path):
    make(tmp_path, "run")
    client, chance = client_of(tmp_path), random.Random(0)
    letters = "/?&=%.run01abcdef\\\"'<>;: \u00e9"
    for _ in range(500):
        path = "/" + "".join(chance.choices(letters, k=chance.randrange(60)))
        method = chance.choice(["GET", "POST", "HEAD", "PUT"])
        answer = client.request(method, ORIGIN + path, headers=JSON, content=path.encode())
        assert answer.status_code < 500, (method, path)
    assert page(client)


def test_a_run_that_is_removed_while_pages_are_open_is_gone(tmp_path):
    run = make(tmp_path, "run")
    client = client_of(tmp_path)
    assert page(client, f"/run/{digest('run')}")
    files.remove(run)
    assert client.get(f"/run/{digest('run')}").status_code == 404
    assert "No runs here yet" in page(client)
    files.remove(tmp_path)
    assert "No runs here yet" in page(client)


def test_the_server_imports_no_jax():
    code = "import spinward.board.server, spinward.people.serving, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"jax", "matplotlib", "gymnasium"} & set(done.stdout.split())


def test_the_command_refuses_what_holds_no_runs(tmp_path, capsys):
    run = make(tmp_path, "run")
    assert main(["board", str(tmp_path / "absent")]) == 2
    assert main(["board", str(run)]) == 2
    assert f"spinward board {tmp_path}" in capsys.readouterr().err
    assert main(["board", str(tmp_path), "--port", "70000"]) == 2


def test_values_are_written_as_people_write_them():
    assert [views.size(x) for x in (0, 999, 1000, 2.5e9)] == ["0 B", "999 B", "1.0 kB", "2.5 GB"]
    assert [views.number(x) for x in (None, 3.0, 1234.5, 0.00012)] == [
        "–", "3", "1,234.50", "0.00012"  # noqa: RUF001
    ]  # fmt: skip
    assert [views.ago(0.0, x) for x in (5, 120, 7200, 200_000)] == [
        "just now", "2 min ago", "2 h ago", "2 d ago"
    ]  # fmt: skip
    assert runs.readable("a\nb") == "a\N{REPLACEMENT CHARACTER}b"


def test_steps_a_second_are_those_of_this_start(tmp_path):
    run = make(tmp_path, "run", points=4, shards=2)
    row = next(iter(runs_of(tmp_path).rows().values()))
    assert views.speed(row) == {"rate": 400.0, "left_s": 0.0}  # two seeds of 200 steps a second
    with open(run / "shards/0/times.jsonl", "a") as log:
        log.write('{"env_steps": 500, "seconds": 1.0}\n{"env_steps": 600, "seconds": 1.5}\n')
    assert views.steps_a_second(run / "shards/0", run) == 200.0


@pytest.mark.parametrize("by", [*views.SORTS, "nothing"])
def test_the_list_can_be_sorted_by_each_column(tmp_path, by):
    for i, name in enumerate(("b", "a", "c")):
        make(tmp_path, name, points=i)
    rows = views.sorted_rows(runs_of(tmp_path).rows(), by)
    names = [r.path.name for r in rows.values()]
    assert sorted(names) == ["a", "b", "c"]
    assert by != "run" or names == ["a", "b", "c"]
    assert by not in ("steps", "value") or names == ["c", "a", "b"]
    assert f'href="/?sort={by}' in page(client_of(tmp_path), f"/?sort={by}") or by == "nothing"


def test_a_reward_that_may_be_exploited_is_a_warning(tmp_path):
    run = make(tmp_path, "run", points=0, shards=1, evaluate_env="Other", evaluate_every=1)
    lines = [made.line(i + 1) | {"evaluation_return": [-float(i)]} for i in range(12)]
    text = "".join(json.dumps(x) + "\n" for x in lines)
    (run / "shards/0/metrics.jsonl").write_text(text)
    row = next(iter(runs_of(tmp_path).rows().values()))
    assert row.warnings[0].startswith("seed 0: reward hacking? at 1,000 steps")
    assert "reward hacking?" in page(client_of(tmp_path), f"/run/{digest('run')}")
