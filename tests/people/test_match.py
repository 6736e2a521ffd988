"""A person plays a game for two on a page: over HTTP, and in a real browser."""

import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial

import jax
import numpy as np
import pytest
import uvicorn
from served import Client

from spinward.envs.connect import Connect, tic_tac_toe
from spinward.envs.hex import Hex
from spinward.people import serving
from spinward.people.match_server import MatchServer
from spinward.run.players import Sitting
from spinward.search import opponents, trees

TOKEN = "secret-of-the-link"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def sitting(game):
    """A game against UCT with games at random."""

    def search(obs, key):
        batch = jax.tree.map(lambda x: x[None], obs)
        found = trees.uct(game, partial(opponents.playout, game), batch, key, 48)
        return jax.tree.map(lambda x: x[0], found)

    reset = game.reset(jax.random.key(0))
    return Sitting(game, jax.jit(search), reset, jax.jit(game.step))


@contextmanager
def matched(game, second=False):
    """A server of the page: its port, the server and its log."""
    opened, lines = serving.listening(serving.Address(port=0)), []
    port = opened.getsockname()[1]
    places = serving.places(serving.Address(), port)
    server = MatchServer(sitting(game).again, "ttt", second, TOKEN, places, lines.append)
    config = uvicorn.Config(server.app(), log_level="error", lifespan="off", ws="none", http="h11")
    serves = uvicorn.Server(config)
    thread = threading.Thread(target=serves.run, kwargs={"sockets": [opened]}, daemon=True)
    thread.start()
    while not serves.started:
        time.sleep(0.01)
    try:
        yield port, server, lines
    finally:
        serves.should_exit = True
        thread.join(10)
        server.close()


def signed_in(port):
    client = Client(port)
    assert client.enter(TOKEN) == 200
    return client


def move(client, now, name):
    status, after = client.post("move", {"game": now["game"], "ply": now["ply"], "move": name})
    assert status == 200, after
    return after


def test_a_whole_game_is_played_and_the_search_is_shown():
    with matched(tic_tac_toe()) as (port, *_):
        client = signed_in(port)
        _, now = client.post("state")
        assert now["ply"] == 0 and not now["over"] and now["view"] is None
        assert now["signs"] == [["."] * 3] * 3 and len(now["legal"]) == 9
        now = move(client, now, "a1")
        assert now["ply"] == 2 and now["signs"][2][0] == "x" and now["whose"] == "agent"
        view = now["view"]
        assert {name for name, *_ in view["moves"]} == set(now["legal"]) | {now["played"][1]}
        assert sum(visits for *_, visits in view["moves"]) == 48
        assert sum(share for _, share, _ in view["moves"]) == pytest.approx(1, abs=1e-5)
        assert view["moves"][0][0] == now["played"][1] and -1 <= view["value"] <= 1
        while not now["over"]:
            now = move(client, now, now["legal"][0])
        x, o = (sum(row.count(sign) for row in now["signs"]) for sign in "xo")
        assert now["result"] in (-1, 0, 1) and x - o in (0, 1) and now["legal"] == []
        # It is asked for no more moves, and there is another game, which the agent begins.
        assert client.post("move", {"game": 1, "ply": now["ply"], "move": "a1"})[0] == 409
        now = client.post("new", {"game": 1, "second": True})[1]
        assert (now["game"], now["ply"], now["second"], now["over"]) == (2, 1, True, False)


def test_the_persons_result_is_that_of_their_side():
    """Three in a line before the agent has moved to stop it, by either side."""
    with matched(tic_tac_toe()) as (port, server, _):
        client = signed_in(port)
        for second, result in ((False, 1.0), (True, -1.0)):
            now = client.post("new", {"game": server.games, "second": False})[1]
            server.second = second
            for name in ("a1", "b1", "a2", "b2"):
                server.make(
                    name, server.game.legal()[name], 1.0 if server.game.moves % 2 == 0 else -1.0
                )
            now = client.post("state")[1]
            if second:  # the side to move wins: here it is the agent
                server.answer()
                now = client.post("state")[1]
            else:
                now = move(client, now, "a3")
            assert now["over"] and now["result"] == result


def test_requests_again_change_nothing_and_bad_ones_are_refused():
    with matched(tic_tac_toe()) as (port, _, lines):
        stranger = Client(port)
        assert stranger.post("state")[0] == 401 and stranger.enter("wrong") == 401
        client = signed_in(port)
        now = client.post("state")[1]
        after = move(client, now, "b2")
        assert move(client, now, "b2") == after == client.post("state")[1]
        assert client.post("new", {"game": 7, "second": True})[1] == after
        for body, status in (
            ({"game": 1, "ply": 2, "move": "b2"}, 400),  # taken
            ({"game": 1, "ply": 2, "move": 5}, 400),
            ({"game": 1, "ply": 9, "move": "c3"}, 409),
            ({"game": 2, "ply": 2, "move": "c3"}, 409),
        ):
            assert client.post("move", body)[0] == status
        assert client.post("new", {"game": 1, "second": 1})[0] == 400
        assert client.post("state", headers={"Host": "evil.example"})[0] == 421
        assert client.post("state", headers={"Origin": "http://evil.example"})[0] == 403
        _, headers, _ = client.send("GET", "/")
        assert "default-src 'none'" in headers["content-security-policy"]
        assert client.post("state")[1] == after and len(lines) == 9


def test_hex_is_slanted_and_a_hint_is_of_the_persons_position():
    with matched(Hex(3), second=True) as (port, *_):
        client = signed_in(port)
        now = client.post("state")[1]
        assert now["slanted"] and now["ply"] == 1 and now["second"]
        now = client.post("hint", {"game": 1})[1]
        assert now["whose"] == "you" and now["ply"] == 1
        assert {name for name, *_ in now["view"]["moves"]} == set(now["legal"])


needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no browser: apt-get install chromium")


@pytest.fixture(scope="module")
def browser():
    sync = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with sync.sync_playwright() as player:
        opened = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def enter(browser, port, **options):
    page = browser.new_context(**options).new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda m: page.faults.append(m.text) if m.type == "error" else None)
    page.goto(f"http://127.0.0.1:{port}/enter#{TOKEN}")
    page.wait_for_url(f"http://127.0.0.1:{port}/")
    until(page, "Boolean(match.now && !match.busy)")
    return page


def until(page, condition, seconds=20):
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, (condition, page.inner_text("body"))
        time.sleep(0.02)


@needs_browser
def test_cells_are_clicked_and_reached_by_keys(browser):
    with matched(tic_tac_toe()) as (port, *_):
        page = enter(browser, port)
        page.click("[data-cell=b2]")
        until(page, "match.now.ply === 2 && !match.busy")
        assert "one" in page.get_attribute("[data-cell=b2]", "class")
        assert "Before its move it saw" in page.inner_text("#title")
        assert page.locator("#view tr").count() == 9
        assert page.get_attribute("[data-cell=b2]", "aria-disabled") == "true"
        corner = next(n for n in ("a1", "c1", "a3", "c3") if n in page.evaluate("match.now.legal"))
        page.focus(f"[data-cell={corner}]")
        page.keyboard.press("ArrowUp" if corner[1] == "1" else "ArrowDown")
        assert page.evaluate("document.activeElement.dataset.cell") == corner[0] + "2"
        page.keyboard.press("ArrowDown" if corner[1] == "1" else "ArrowUp")
        page.keyboard.press("Enter")
        until(page, "match.now.ply >= 3 && !match.busy")
        assert page.evaluate("document.activeElement.dataset.cell") == corner
        page.click("#second")
        until(page, "match.now.game === 2 && !match.busy")
        assert page.evaluate("match.now.ply") == 1 and "second" in page.inner_text("#side")
        assert page.faults == []


@needs_browser
def test_columns_and_pieces_are_clicked(browser):
    with matched(Connect()) as (port, *_):
        page = enter(browser, port, viewport={"width": 380, "height": 800})
        page.click("[data-cell=d6]")
        until(page, "match.now.ply === 2 && !match.busy")
        assert page.evaluate("match.now.signs[5][3]") == "x"
        assert page.evaluate("document.documentElement.scrollWidth") <= 380
        # As in chess: a click on a piece, and one on where it goes.
        page.evaluate(
            """match.now = {...match.now, legal: ["b2b3", "a7a8", "a7a8n", "pass"]}; show()"""
        )
        assert page.evaluate("meaning('b2').from") == "b2"
        page.evaluate("match.from = 'b2'")
        assert page.evaluate("meaning('b3').move") == "b2b3"
        page.evaluate("match.from = 'a7'")
        assert page.evaluate("meaning('a8').move") == "a7a8"
        assert page.inner_text("#others").split() == ["a7a8n", "pass"]
        assert page.faults == []


@pytest.mark.slow
def test_the_command_serves_a_page_and_ends_at_a_signal(tmp_path):
    where = {"cwd": tmp_path, "text": True}
    words = [sys.executable, "-m", "spinward"]
    train = "train alphazero TicTacToe --steps 1024 --name ttt"
    subprocess.run([*words, *train.split()], check=True, **where)
    flags = ["play", "runs/ttt", "--browser", "--port", "0"]
    process = subprocess.Popen([*words, *flags], stdout=subprocess.PIPE, **where)
    line = process.stdout.readline()
    assert line.startswith("play ttt: TicTacToe: http://127.0.0.1:")
    address, _, token = line.split()[-1].partition("/enter#")
    client = Client(int(address.rpartition(":")[2]))
    assert client.enter(token) == 200
    now = client.post("state")[1]
    assert np.shape(now["signs"]) == (3, 3) and move(client, now, "b2")["ply"] == 2
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
