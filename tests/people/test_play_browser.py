"""The page to play an environment in a real browser: keys, pauses, a phone, a dead server."""

import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from played import TOKEN, played

from spinward.data.store import opened

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if not CHROMIUM:
    pytest.skip("no browser: apt-get install chromium", allow_module_level=True)
sync = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
WALK = "drawn:Walk"


@pytest.fixture(scope="module")
def browser():
    with sync.sync_playwright() as player:
        opened_one = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened_one
        opened_one.close()


def enter(browser, port, token=TOKEN, **options):
    page = browser.new_context(**options).new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda m: page.faults.append(m.text) if m.type == "error" else None)
    page.goto(f"http://127.0.0.1:{port}/enter#{token}")
    page.wait_for_url(f"http://127.0.0.1:{port}/")
    until(page, "Boolean(game.now && !game.busy)")
    assert token not in page.url and token not in page.evaluate("document.referrer")
    return page


def until(page, condition, seconds=20):
    """Waits for a condition in the page, without the eval that its policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, (condition, page.inner_text("body"))
        time.sleep(0.02)


def press(page, key):
    """Presses a key while each key takes one step, and waits for the step."""
    before = page.evaluate("[game.now.started, game.now.step ?? -1].join()")
    page.keyboard.press(key)
    until(page, f"!game.busy && [game.now.started, game.now.step ?? -1].join() !== '{before}'")


def white(page):
    """The column of the screen that is white in the game of the walk."""
    return page.evaluate("""(() => { const c = document.getElementById('screen');
        const d = c.getContext('2d').getImageData(0, 5, c.width, 1).data;
        for (let x = 0; x < c.width; x++) if (d[4 * x] > 200) return x; return -1; })()""")


def test_keys_step_by_step_become_the_steps_of_the_data(browser, tmp_path):
    keys = "left=0,right=1"
    with played(WALK, tmp_path / "data", keys=keys, task="Go <b>right</b>") as (port, _, log):
        page = enter(browser, port)
        assert page.inner_text("h1") == "Go <b>right</b>"
        for name in ("action 0 ←", "action 1 →"):
            assert page.get_by_role("button", name=name).count() == 1  # keys are on the page
        press(page, "Enter")
        places = [white(page)]
        for key in ["ArrowRight"] * 3 + ["ArrowLeft"] * 2 + ["ArrowRight"] * 4:
            press(page, key)
            places.append(white(page))
        assert places == [20, 21, 22, 23, 22, 21, 22, 23, 24, 25]
        page.wait_for_selector("text=kept: it was truncated")
        press(page, "Enter")
        press(page, "ArrowLeft")
        page.keyboard.press("End")
        page.wait_for_selector("text=left after 1 steps, so it is truncated")
        press(page, "Enter")
        press(page, "ArrowLeft")
        page.keyboard.press("Backspace")
        page.wait_for_selector("text=discarded, with its 1 steps")
        page.wait_for_selector("text=Kept: 2 episodes, 10 steps")
        assert page.faults == [] and log == []
    data = opened(tmp_path / "data")
    steps = data.at(np.arange(data.rows))
    assert steps["action"].tolist() == [1, 1, 1, 0, 0, 1, 1, 1, 1, 0]
    assert np.flatnonzero(steps["truncated"]).tolist() == [8, 9]
    assert steps["next_obs"][[8, 9], 0].tolist() == [5, -1]


def test_a_held_key_acts_until_it_is_let_go_and_a_pause_stops_the_game(browser, tmp_path):
    with played("CartPole-Endless", tmp_path / "data", fps=30.0) as (port, server, _):
        page = enter(browser, port)
        page.keyboard.press("Enter")
        until(page, "game.now.step > 2")
        page.keyboard.down("ArrowRight")
        began = page.evaluate("game.now.step")
        until(page, f"game.now.step > {began + 4}")
        page.keyboard.up("ArrowRight")
        page.keyboard.press("ArrowLeft")  # a tap between two steps is one step, and the last again
        until(page, f"game.now.step > {began + 12}")
        page.keyboard.press("Escape")
        until(page, "!game.busy")
        stopped = page.evaluate("game.now.step")
        time.sleep(0.3)
        assert page.evaluate("game.now.step") == stopped == len(server.episode.rows)
        press(page, "ArrowRight")  # in a pause each key takes one step
        assert page.evaluate("game.now.step") == stopped + 1
        actions = [int(row[1]) for row in server.episode.rows]
        assert actions[0] == 0 and 1 in actions[:-1] and actions[-1] == 1
        last_right = len(actions[:-1]) - actions[:-1][::-1].index(1)
        assert set(actions[last_right:-1]) == {0}
        assert page.faults == []


def test_numbers_are_played_with_arrows_and_halved_by_shift(browser, tmp_path):
    with played("Pendulum-v1", tmp_path / "data") as (port, server, _):
        page = enter(browser, port)
        press(page, "Enter")
        for key in ("ArrowRight", "ArrowLeft", "Shift+ArrowLeft"):
            press(page, key)
        assert [float(row[1][0]) for row in server.episode.rows] == [1.0, -1.0, -0.5]


@pytest.mark.parametrize(("size", "scheme"), [((390, 780), "light"), ((320, 640), "dark")])
def test_a_phone_plays_by_its_buttons(browser, tmp_path, size, scheme):
    view = {"width": size[0], "height": size[1]}
    with played("CartPole-v1", tmp_path / "data") as (port, server, _):
        page = enter(browser, port, viewport=view, color_scheme=scheme, has_touch=True)
        page.get_by_role("button", name="Start").tap()
        until(page, "game.now.step === 0")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        for name in ("left", "right"):
            button = page.get_by_role("button", name=name, exact=False).first
            box = button.bounding_box()
            assert box["height"] >= 40 and box["y"] + box["height"] <= size[1], name
            button.tap()
            until(page, "!game.busy")
        assert [int(row[1]) for row in server.episode.rows] == [0, 1]
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (scheme == "dark")
        assert page.get_by_role("img", name="The game, step 2").count() == 1
        assert page.get_by_role("status").count() == 1


def test_a_page_that_is_opened_again_goes_on_and_a_dead_server_is_said(browser, tmp_path):
    command = [sys.executable, "-m", "spinward", "data", "record", "CartPole-v1", "--human",
               "--out", str(tmp_path / "data"), "--port", "0", "--fps", "0"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        link = process.stdout.readline().split()[-1]
        place, _, token = link.partition("/enter#")
        page = enter(browser, int(place.rpartition(":")[2]), token)
        press(page, "Enter")
        press(page, "ArrowLeft")
        page.reload()
        page.wait_for_selector("text=in the middle of an episode")
        press(page, "ArrowRight")
        assert page.evaluate("game.now.step") == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        page.keyboard.press("ArrowRight")
        page.wait_for_selector("text=The server does not answer")
    finally:
        process.kill()
        process.wait()
    assert opened(tmp_path / "data").rows == 2
