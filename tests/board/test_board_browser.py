"""The board in a real browser: the list, curves that grow, zoom by keys, a phone, no JavaScript."""

import json
import re
import shutil
import threading
import time
from contextlib import contextmanager

import made
import pytest
import uvicorn
from made import SCRIPT, make

from spinward.board.runs import digest
from spinward.board.server import BoardServer
from spinward.people import serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if not CHROMIUM:
    pytest.skip("no browser: apt-get install chromium", allow_module_level=True)
sync = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    with sync.sync_playwright() as player:
        opened = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def served(folder):
    """The address of a folder's board."""
    opened, log = serving.listening(serving.Address(port=0)), []
    port = opened.getsockname()[1]
    app = BoardServer(folder, "token", serving.places(serving.Address(), port), log.append).app()
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


def enter(browser, address, **options):
    page = browser.new_context(**options).new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda m: page.faults.append(m.text) if m.type == "error" else None)
    page.on("dialog", lambda dialog: page.faults.append(f"a script ran: {dialog.message}"))
    page.goto(f"{address}/enter#token")
    page.wait_for_url(f"{address}/")
    return page


def drawn(page):
    """The points of the curves that are drawn."""
    page.wait_for_selector("path.line")
    return [d.count("M") + d.count("L") for d in page.eval_on_selector_all(
        "svg.plot path.line", "all => all.map(p => p.getAttribute('d'))")]  # fmt: skip


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_two_runs_are_compared_by_keyboard_alone(browser, tmp_path):
    make(tmp_path, "one", points=10)
    make(tmp_path, "two", points=7)
    make(tmp_path, SCRIPT.replace("/", "\N{DIVISION SLASH}"), points=3)
    with served(tmp_path) as address:
        page = enter(browser, address)
        for name in ("one", "two"):
            page.focus(f"input[value='{digest(name)}']")
            page.keyboard.press(" ")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/compare?*")
        assert sorted(drawn(page)) == [7, 10]
        page.focus("svg.plot")
        ticks = page.locator("svg.plot text").all_inner_texts()
        page.keyboard.press("+")
        assert page.locator("svg.plot text").all_inner_texts() != ticks
        page.keyboard.press("ArrowRight")
        page.keyboard.press("0")
        assert page.locator("svg.plot text").all_inner_texts() == ticks
        assert page.locator("path.raw").count() == 0  # smoothing is off
        page.focus("input.smooth")
        page.keyboard.press("ArrowRight")
        assert page.locator("path.raw").count() == 2
        assert page.locator(".chart output").inner_text() == "3 points"
        page.get_by_role("checkbox", name=re.compile("^two")).uncheck()
        assert page.locator("path.raw").count() == 1
        assert page.faults == []


def test_dragging_zooms_and_a_double_click_shows_all(browser, tmp_path):
    make(tmp_path, "one", points=10)
    with served(tmp_path) as address:
        page = enter(browser, address)
        page.click("text=one")
        drawn(page)
        page.wait_for_timeout(200)
        ticks = page.locator("svg.plot text").all_inner_texts()
        box = page.locator("svg.plot").bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 50, steps=4)
        assert float(page.locator(".mark").get_attribute("width")) > 50
        page.mouse.up()
        assert page.locator("svg.plot text").all_inner_texts() != ticks
        page.locator("svg.plot").dblclick()
        assert page.locator("svg.plot text").all_inner_texts() == ticks
        assert "one at" in page.locator(".readout").inner_text() and page.faults == []


def test_a_running_run_is_followed(browser, tmp_path):
    import fcntl

    run = make(tmp_path, "run", points=3, shards=1)
    with served(tmp_path) as address, open(run / "shards/0/lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pages = [enter(browser, address) for _ in range(2)]
        pages[1].click("tbody th a")
        pages[1].wait_for_url(f"{address}/run/*")
        assert drawn(pages[1]) == [3]
        with open(run / "shards/0/metrics.jsonl", "a") as log:
            log.write(json.dumps(made.line(4)) + "\n")
        until(lambda: drawn(pages[1]) == [4])
        pages[0].locator("input[name=run]").check()
        make(tmp_path, "new one", points=2)
        pages[0].wait_for_selector("text=new one", timeout=20_000)
        assert "400" in pages[0].locator(f"#r{digest('run')}").inner_text()
        assert pages[0].locator(f"#r{digest('run')} input").is_checked()
        assert pages[0].evaluate("document.activeElement.value") == digest("run")
        assert pages[0].faults == pages[1].faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_the_board_without_scrolling_sideways(browser, tmp_path, scheme):
    for i in range(3):
        make(tmp_path, f"a-run-with-a-rather-long-name-of-many-letters-{i}", points=3)
    with served(tmp_path) as address:
        view = {"width": 360, "height": 740}
        page = enter(browser, address, viewport=view, color_scheme=scheme)
        paths = ["/", f"/run/{page.locator('input[name=run]').first.get_attribute('value')}"]
        for path in paths:
            page.goto(address + path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (scheme == "dark")
        assert drawn(page) == [3]
        size = page.evaluate("""parseFloat(getComputedStyle(document.querySelector('svg.plot text'))
            .fontSize) * document.querySelector('svg.plot').clientWidth /
            document.querySelector('svg.plot').viewBox.baseVal.width""")
        assert size >= 11 and page.faults == []


def test_the_list_and_the_settings_work_without_javascript(browser, tmp_path):
    make(tmp_path, "one", points=10)
    make(tmp_path, "two", points=7, env="Pendulum-v1")
    with served(tmp_path) as address:
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto(f"{address}/")
        page.fill("input[name=token]", "token")
        page.click("button")
        page.wait_for_url(f"{address}/")
        page.fill("input[name=filter]", "pendulum")
        page.click("text=Show")
        assert page.locator("#rows tr").count() == 1
        page.goto(f"{address}/?sort=steps")
        assert page.locator("#rows th").all_inner_texts() == ["one", "two"]
        for box in page.locator("input[name=run]").all():
            box.check()
        page.click("text=Compare the marked runs")
        page.wait_for_selector("text=Settings that differ")
        assert "Pendulum-v1" in page.content()
