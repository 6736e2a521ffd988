"""A person plays an environment: over HTTP, what is kept of it, and what is refused."""

import base64
import io
import math
import random
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image
from played import TOKEN, played, player
from served import Client

from spinward.cli.main import main
from spinward.core import Box, Discrete, MultiDiscrete
from spinward.data.steps import read_data
from spinward.data.store import opened
from spinward.envs.cartpole import CartPole
from spinward.envs.mountain_car import MountainCar
from spinward.errors import SettingsError
from spinward.people.controls import controls_of
from spinward.people.guard import Refused

WALK = "drawn:Walk"


def start(client):
    _, now = client.post("state")
    return client.post("start", {"started": now["started"]})[1]


def step(client, now, action):
    status, after = client.post("step", {"episode": now["started"], "step": now["step"],
                                         "action": action})  # fmt: skip
    assert status == 200, after
    return after


def test_an_episode_is_kept_as_the_environment_ended_it(tmp_path):
    """The same keys and the same actions in the environment itself give the same steps."""
    with played("CartPole-v1", tmp_path / "data") as (port, *_):
        client = player(port)
        now = start(client)
        assert now["playing"] and now["step"] == 0
        picture = Image.open(io.BytesIO(base64.b64decode(now["frame"])))
        assert picture.size == (400, 300)
        while now["playing"]:
            now = step(client, now, 1)
        assert now["result"] == "kept: it terminated" and now["score"] == now["step"]
        assert now["kept"] == {"episodes": 1, "steps": now["step"]}
        count = now["step"]
    steps = read_data(tmp_path / "data", CartPole().spec)
    assert len(steps.reward) == count and not steps.truncated.any()
    assert steps.terminated.tolist() == [False] * (count - 1) + [True]
    key, k_reset = jax.random.split(jax.random.PRNGKey(3))
    state, obs = CartPole().reset(k_reset)
    for t in range(count):
        key, k_step = jax.random.split(key)
        state, after, *_ = CartPole().step(state, 1, k_step)
        np.testing.assert_allclose(steps.obs[t], obs, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(steps.next_obs[t], after, rtol=1e-5, atol=1e-6)
        obs = after
    card = opened(tmp_path / "data").card
    assert (card.source, card.env, card.licence) == ("a person, Ann", "CartPole-v1", "CC0")
    assert card.made == "data record --human" and card.statistics["episodes"] == 1


def test_a_left_episode_is_truncated_or_discarded_as_said(tmp_path):
    for keep, rows, in_all in ((True, [2, 3], 5), (False, [2], 2)):
        out = tmp_path / str(keep)
        with played("MountainCar-v0", out, keep=keep) as (port, _, lines):
            client = player(port)
            now = start(client)
            for action in (2, 0):
                now = step(client, now, action)
            now = client.post("end", {"episode": 1})[1]
            assert now["result"] == "kept: it was left after 2 steps, so it is truncated"
            now = start(client)
            for action in (1, 1, 2):
                now = step(client, now, action)
        assert ("truncated" if keep else "discarded, with its 3 steps") in lines[-1]
        steps = read_data(out, MountainCar().spec)
        assert len(steps.reward) == in_all and not steps.terminated.any()
        assert np.flatnonzero(steps.truncated).tolist() == (np.cumsum(rows) - 1).tolist()
        assert steps.action[:2].tolist() == [2, 0]


def test_a_discarded_episode_leaves_nothing_even_after_its_end(tmp_path):
    out = tmp_path / "data"
    with played(WALK, out) as (port, server, _):
        client = player(port)
        for count in (9, 4, 9):  # the first and the third come to their end
            now = start(client)
            for _ in range(count):
                now = step(client, now, 1)
            assert server.log.kept.episodes == (count == 9)
            assert client.post("drop", {"episode": now["started"]})[1]["kept"]["steps"] == 0
            assert not out.exists()
            assert client.post("drop", {"episode": now["started"]})[0] == 409
        for discard in (False, True, False):
            now = start(client)
            for action in (1, 0, 1, 1, 1, 1, 1, 1, int(discard)):
                now = step(client, now, action)
            assert now["result"] == "kept: it was truncated"
            if discard:
                client.post("drop", {"episode": now["started"]})
    data = opened(out)
    data.check()
    assert data.rows == 18 and data.card.statistics["episodes"] == 2
    steps = data.at(np.arange(18))
    assert np.flatnonzero(steps["truncated"]).tolist() == [8, 17] and not steps["terminated"].any()
    assert steps["next_obs"][8, 0] == 5 and steps["obs"][9, 0] == 0  # the true successor
    assert steps["action"][[8, 17]].tolist() == [0, 0]


def test_a_step_that_is_sent_twice_is_taken_once(tmp_path):
    with played(WALK, tmp_path / "data") as (port, server, _):
        client = player(port)
        for _ in range(2):
            assert client.post("start", {"started": 0})[1]["started"] == 1
        body = {"episode": 1, "step": 0, "action": 1}
        assert client.post("step", body)[1]["step"] == 1 == client.post("step", body)[1]["step"]
        for wrong in ({"step": 5}, {"step": None}, {"episode": 2}, {"episode": "1"}):
            assert client.post("step", body | wrong)[0] == 409
        assert client.post("start", {"started": 1})[0] == 409
        assert server.episode.score == 1.0


def test_numbers_are_kept_in_the_scale_of_a_policy(tmp_path):
    with played("Pendulum-v1", tmp_path / "data", reach=0.5) as (port, *_):
        client = player(port)
        now = start(client)
        assert now["controls"]["axes"] == [["ArrowLeft", "ArrowRight"]]
        for value in (0.5, -0.25):
            now = step(client, now, [value])
        for bad in ([0.6], [], [0.1, 0.1], 0.1, ["0.1"], [True], None, [float("nan")]):
            body = {"episode": 1, "step": 2, "action": bad}
            assert client.post("step", body)[0] == 400
    data = opened(tmp_path / "data")
    assert data.at(np.arange(2))["action"].tolist() == [[0.5], [-0.25]]
    assert data.card.action == Box((1,), -2.0, 2.0)


def test_what_may_not_be_chosen_is_refused(tmp_path):
    with played("CartPole-v1", tmp_path / "data") as (port, *_):
        client = player(port)
        now = start(client)
        for bad in (2, -1, True, 1.0, "1", [1], None, 10**30):
            assert client.post("step", {"episode": 1, "step": 0, "action": bad})[0] == 400
        assert step(client, now, 1)["step"] == 1


def test_an_environment_that_fails_keeps_the_steps_before(tmp_path):
    with played(WALK, tmp_path / "data") as (port, server, _):
        client = player(port)
        now = step(client, start(client), 1)
        server.env.env.unwrapped.place = float("nan")
        status, said = client.post("step", {"episode": 1, "step": 1, "action": 1})
        assert status == 400 and "failed" in said["error"] and "truncated" in said["error"]
        assert client.post("state")[1]["playing"] is False
        now = start(client)
        assert now["started"] == 2 and now["kept"] == {"episodes": 1, "steps": 1}


def test_an_environment_that_cannot_be_drawn_any_more_keeps_the_steps_before(tmp_path):
    with played(WALK, tmp_path / "data") as (port, server, lines):
        client = player(port)
        now = start(client)
        own = server.env.env.unwrapped
        for picture in (None, "no picture", np.zeros((2, 2, 9))):
            own.render = lambda picture=picture: picture
            body = {"episode": now["started"], "step": 0, "action": 1}
            status, said = client.post("step", body)
            assert status == 400 and "drawn:Walk failed" in said["error"], said
            assert "1 steps, so it is truncated" in said["error"]
            assert client.post("state")[1]["playing"] is False
            del own.render
            now = start(client)
        for _ in range(8):
            now = step(client, now, 1)
        own.render = lambda: None
        body = {"episode": now["started"], "step": 8, "action": 1}
        assert "kept: it was truncated" in client.post("step", body)[1]["error"]
        assert client.post("state")[1]["playing"] is False
        own.close = lambda: 1 / 0
    assert "failed: ZeroDivisionError" in lines[-1]
    assert opened(tmp_path / "data").rows == 12


def test_the_rules_of_the_labelling_page_hold_here_too(tmp_path):
    with played(WALK, tmp_path / "data", task="<script>alert(1)</script>") as (port, _, lines):
        stranger = Client(port)
        assert stranger.send("GET", "/")[0] == 303
        for path in ("state", "start", "step", "end", "drop"):
            assert stranger.post(path)[0] == 401
        assert stranger.enter("wrong") == 401
        client = player(port)
        assert "httponly" in client.set_cookie.lower() and "strict" in client.set_cookie.lower()
        assert client.send("POST", "/api/state", {}, {"Host": "evil.example"})[0] == 421
        assert client.send("POST", "/api/state", {}, {"Origin": "https://evil.example"})[0] == 403
        assert client.post("state", b"x" * 70_000)[0] == 413
        for path in ("..%2fplay.html", "play.html", "label.js"):
            assert client.send("GET", f"/static/{path}")[0] == 404
        _, headers, page = client.send("GET", "/")
        assert "unsafe" not in headers["content-security-policy"] and b"alert(1)</s" not in page
        assert page.count(b"<script") == 1 and b"style=" not in page and b"onclick" not in page
        chance = random.Random(0)
        values = [None, True, -1, 0, 1, 2**70, "x", [], {}, [1, 2], "\x00"]
        names = ["started", "episode", "step", "action"]
        for _ in range(300):
            body = {n: chance.choice(values) for n in chance.sample(names, chance.randrange(5))}
            path = chance.choice(["state", "start", "step", "end", "drop", "session", "none"])
            assert client.post(path, body)[0] < 500
        assert client.post("leave")[0] == 200 and client.post("state")[0] == 401
        assert TOKEN not in "".join(lines)


def test_keys_stand_for_what_choices_are_called():
    keys = controls_of(Discrete(5), ("stay", "up", "right", "down", "left"))
    assert keys.idle == 0 and keys.keys == {"ArrowUp": 1, "ArrowRight": 2, "ArrowDown": 3,
                                            "ArrowLeft": 4}  # fmt: skip
    assert controls_of(Discrete(3)).keys == {"1": 0, "2": 1, "3": 2}
    assert controls_of(Discrete(3)).idle is None
    mixed = controls_of(Discrete(3), ("left", "fire", "press a lever"))
    assert mixed.keys == {"ArrowLeft": 0, " ": 1, "1": 2}
    named = controls_of(Discrete(30), keys="left=0, SPACE=2,q=29", idle=3)
    assert named.keys == {"ArrowLeft": 0, " ": 2, "q": 29} and named.idle == 3
    two = controls_of(Box((2,), -1.0, 1.0))
    assert two.shown()["axes"] == [["ArrowLeft", "ArrowRight"], ["ArrowDown", "ArrowUp"]]
    with pytest.raises(Refused):
        two.action([1.5, 0.0])


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        (MultiDiscrete((2, 2)), {}, "have no keys"),
        (Box((3,), -1, 1), {}, "at most 2 can be played"),
        (Box((1,), -1, 1), {"keys": "left=0"}, "are of choices"),
        (Box((1,), -1, 1), {"reach": 1.5}, "at most 1, the bound"),
        (Discrete(40), {}, "more than there are keys"),
        (Discrete(2), {"keys": "left=2"}, "expected KEY=ACTION, with 0 to 1"),
        (Discrete(2), {"keys": "lefft=1"}, "did you mean left"),
        (Discrete(2), {"keys": "enter=1"}, "a digit or a letter"),
        (Discrete(2), {"idle": 2}, "must be 0 to 1"),
        (Discrete(2), {"keys": "ab=1"}, "a digit or a letter"),
        (Discrete(2), {"keys": "=1"}, "a digit or a letter"),
        (Discrete(2), {"keys": "a=0,x=1,A=1"}, "A is there twice"),
        (Discrete(2), {"keys": "a=" + "1" * 5000}, "expected KEY=ACTION"),
        (Discrete(2), {"reach": math.nan}, "is of numbers"),
        (Discrete(2), {"reach": 0.5}, "is of numbers"),
        (Box((1,), -1, 1), {"reach": math.nan}, "must be above 0"),
    ],
)
def test_controls_that_cannot_be_are_refused(space, options, message):
    with pytest.raises(SettingsError, match=message):
        controls_of(space, **options)


def refused(capsys, *words):
    assert main(["data", "record", *words]) == 2
    return capsys.readouterr().err


def test_what_cannot_be_played_is_refused_before_a_page_opens(tmp_path, capsys):
    out = str(tmp_path / "data")
    human = ("--human", "--out", out)
    assert "cannot be drawn" in refused(capsys, "DelayedChain", *human)
    assert "a game for two" in refused(capsys, "Othello", *human)
    assert "is of a run's policy" in refused(capsys, "CartPole-v1", "--steps", "5", *human)
    assert "there is no environment" in refused(capsys, "CartPole-v9", *human)
    for flag in (("--keys", "left=0"), ("--idle", "0"), ("--fps", "0"), ("--reach", "0.5"),
                 ("--task", "Walk."), ("--player", "Bo"), ("--unfinished", "discard"),
                 ("--port", "0"), ("--env.limit", "9")):  # fmt: skip
        said = refused(capsys, "x", "--out", out, *flag)
        assert f"{flag[0]} is of a person who plays: add --human" in said
    (tmp_path / "there").mkdir()
    there = refused(capsys, "CartPole-v1", "--human", "--out", str(tmp_path / "there"))
    assert "exists" in there and not (tmp_path / "data").exists()


def test_the_command_serves_until_it_is_stopped_and_says_what_is_kept(tmp_path):
    command = [sys.executable, "-m", "spinward", "data", "record", "CartPole-v1", "--human",
               "--out", str(tmp_path / "data"), "--port", "0", "--player", "Bo"]  # fmt: skip
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, **pipes)
    try:
        link = process.stdout.readline().split()[-1]
        place, _, token = link.partition("/enter#")
        client = Client(int(place.rpartition(":")[2]))
        assert client.enter(token) == 200
        now = start(client)
        for _ in range(3):
            now = step(client, now, 0)
        process.send_signal(signal.SIGINT)
        said, log = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0 and "3 steps in 1 episodes" in said and "truncated" in log
    assert opened(tmp_path / "data").card.source == "a person, Bo"
