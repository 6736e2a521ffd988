"""The page in a real browser, by keyboard, by two people, on a phone, and when the server dies."""

import io
import itertools
import os
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from served import served

from spinward.people import database as databases
from spinward.people.accounts import Accounts
from spinward.people.labels import Labels

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if not CHROMIUM:
    pytest.skip("no browser: apt-get install chromium", allow_module_level=True)
sync = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
FRAMES = 5


@pytest.fixture(scope="module")
def browser():
    with sync.sync_playwright() as player:
        opened = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def picture(shade):
    frames = np.concatenate([np.full((40, 60, 3), shade + 20 * i, np.uint8) for i in range(FRAMES)])
    data = io.BytesIO()
    Image.fromarray(frames).save(data, "WEBP", lossless=True)
    return data.getvalue(), {"frames": FRAMES, "width": 60, "height": 40, "columns": 1, "fps": 20}


def ask(database, count, first=0, **options):
    labels = Labels(database)
    for i in range(first, first + count):
        two = [labels.add_item("clip", f"{i}:{j}", b"", *picture(40 * j)) for j in range(2)]
        labels.ask(f"q{i}", tuple(two), **options)


def enter(browser, port, database, name, **options):
    token = Accounts(database, 1.0).give_token(Accounts(database, 1.0).named(name))
    page = browser.new_context(**options).new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda m: page.faults.append(m.text) if m.type == "error" else None)
    page.goto(f"http://127.0.0.1:{port}/enter#{token}")
    page.wait_for_url(f"http://127.0.0.1:{port}/")
    assert token not in page.url and token not in page.evaluate("document.referrer")
    return page


def until(page, condition, seconds=20):
    """Waits for a condition in the page, without the eval that its policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        time.sleep(0.02)


READY = "state.question && !state.busy && performance.now() - state.shownAt > QUICK_MS"


def press(page, key):
    """Presses a key once the question can be answered, and waits for the next question."""
    until(page, f"Boolean({READY})")
    before = page.evaluate("state.question.id")
    page.keyboard.press(key)
    until(page, f"!state.busy && (!state.question || state.question.id !== {before})")


def test_twenty_pairs_by_keyboard_with_every_answer_and_an_undo(browser, tmp_path):
    with served(tmp_path) as (port, database, log):
        ask(database, 20)
        page = enter(browser, port, database, "Ann")
        keys = itertools.cycle(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"])
        for key in itertools.islice(keys, 20):
            press(page, key)
        page.wait_for_selector("text=No question at the moment")
        page.keyboard.press("u")
        page.wait_for_selector("text=Undone")
        press(page, "ArrowLeft")
        rows = database.rows("SELECT * FROM valid")
        assert len(rows) == 20 == len({r["question"] for r in rows})
        sides = [r for r in rows if r["answer"] in ("first", "second")]
        answers = [r["answer"] for r in rows]
        assert answers.count("equal") == 5 and answers.count("cannot_tell") == 4
        lefts = []
        for r in sides:  # what was chosen stood where the key points
            better = r["first"] if r["answer"] == "first" else r["second"]
            lefts.append(re.findall(r"\d+", r["shown"])[0] == str(better))
        assert lefts == [True, False] * 5 + [True]
        assert page.faults == [] and log == []


def test_a_ranking_by_keyboard_alone(browser, tmp_path):
    with served(tmp_path) as (port, database, _):
        labels = Labels(database)
        items = [labels.add_item("text", str(i), f"<b>answer {i}</b>".encode()) for i in range(4)]
        labels.ask("q", tuple(items), "Which <i>is</i> best?")
        page = enter(browser, port, database, "Ann")
        page.wait_for_selector(".ranking .item")
        assert page.locator(".item b, #prompt i").count() == 0  # texts are never markup
        for place, wanted in enumerate(reversed(items)):
            page.focus(f".item[data-id='{wanted}']")
            for _ in range(len(items)):
                if page.evaluate("state.order").index(wanted) == place:
                    break
                page.keyboard.press("ArrowUp")
        assert page.evaluate("document.activeElement.className") == "item"
        press(page, "Enter")
        assert [x.share for x in labels.labels()] == [0.0] * 6
        assert page.faults == []


def test_two_people_at_once_get_different_pairs(browser, tmp_path):
    with served(tmp_path) as (port, database, _):
        ask(database, 10)
        pages = [enter(browser, port, database, name) for name in ("Ann", "Bo")]
        for _ in range(5):
            for page in pages:
                press(page, "ArrowLeft")
        rows = database.rows("SELECT * FROM valid")
        assert len(rows) == 10 == len({r["question"] for r in rows})
        assert len({r["labeller"] for r in rows}) == 2


def test_clips_play_together_and_again(browser, tmp_path):
    with served(tmp_path) as (port, database, _):
        ask(database, 1)
        page = enter(browser, port, database, "Ann")
        page.wait_for_selector("canvas")
        until(page, "state.clips.length === 2 && state.clips[0].canvas.shown === 4")
        page.keyboard.press(" ")
        shown = page.evaluate("""new Promise(done => requestAnimationFrame(() =>
            requestAnimationFrame(() => done(state.clips.map(c => c.canvas.shown)))))""")
        assert shown[0] == shown[1] <= 2
        read = page.evaluate(
            "state.clips.map(c => c.canvas.getContext('2d').getImageData(30, 20, 1, 1).data[0])"
        )
        assert abs(read[0] - read[1]) == 40  # the two clips, at the same frame


@pytest.mark.parametrize(("size", "scheme"), [((390, 780), "light"), ((320, 600), "dark")])
def test_a_phone_shows_both_clips_and_all_answers_without_scrolling_sideways(
    browser, tmp_path, size, scheme
):
    with served(tmp_path) as (port, database, _):
        ask(database, 1)
        view = {"width": size[0], "height": size[1]}
        page = enter(browser, port, database, "Ann", viewport=view, color_scheme=scheme)
        page.wait_for_selector("canvas")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        for name in ("left", "right", "equal", "cannot_tell", "undo"):
            box = page.locator(f"#{name}").bounding_box()
            assert box["height"] >= 40 and box["y"] + box["height"] <= size[1], name
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (scheme == "dark")


def test_everything_has_a_name_for_a_screen_reader(browser, tmp_path):
    with served(tmp_path) as (port, database, _):
        ask(database, 1)
        page = enter(browser, port, database, "Ann")
        page.wait_for_selector("canvas")
        for name in ("Left", "Right", "Equal", "Cannot tell", "Undo", "Replay", "Keys"):
            assert page.get_by_role("button", name=name, exact=True).count() == 1, name
        assert page.get_by_role("img", name="Left clip").count() == 1
        assert page.get_by_role("progressbar", name="Answers given").count() == 1
        assert page.get_by_role("status").count() == 1
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.tagName") == "BUTTON"


def test_the_page_outlives_its_server(browser, tmp_path):
    """The server is killed after an answer was sent, and started again."""
    run = tmp_path
    database = databases.of_run(run, create=True)
    ask(database, 4)
    command = [sys.executable, "-m", "spinward", "label", str(run), "--name", "Ann", "--port"]

    def start(port):
        options = {"stdout": subprocess.PIPE, "text": True, "env": os.environ}
        process = subprocess.Popen([*command, str(port)], **options)
        line = process.stdout.readline()
        return process, line.split()[-1]

    server, link = start(0)
    try:
        page = browser.new_context().new_page()
        page.goto(link)
        page.wait_for_url(link.partition("enter")[0])
        press(page, "ArrowLeft")
        port = int(re.search(r":(\d+)/", link)[1])
        until(page, READY)
        server.kill()
        server.wait()
        page.keyboard.press("ArrowRight")
        page.wait_for_selector("text=The server does not answer")
        server, _ = start(port)
        until(page, "!state.busy")
        press(page, "ArrowLeft")
        assert database.number("SELECT count(DISTINCT question) FROM valid") == 3
    finally:
        server.kill()
        server.wait()
        database.close()


def test_a_run_that_ends_while_the_page_is_open_is_told(browser, tmp_path):
    with served(tmp_path) as (port, database, _):
        ask(database, 1)
        page = enter(browser, port, database, "Ann")
        press(page, "ArrowLeft")
        page.wait_for_selector("text=No question at the moment")
        ask(database, 1, first=1)  # the run goes on and asks more
        press(page, "ArrowRight")
        database.note(state="finished")
        page.wait_for_selector("text=The run has ended", timeout=10_000)
        began = time.monotonic()
        page.keyboard.press("ArrowLeft")  # changes nothing
        assert time.monotonic() - began < 1 and database.number("SELECT count(*) FROM valid") == 2
