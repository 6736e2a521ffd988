"""The labelling page over HTTP: what it stores, and what it refuses."""

import json
import random
import socket
import string
from html.parser import HTMLParser

import pytest
from served import JSON, Client, served, signed_in

from spinward.errors import SettingsError
from spinward.people import serving
from spinward.people.accounts import Accounts
from spinward.people.labels import Labels
from spinward.people.server import ASSETS
from spinward.people.sessions import Attempts

SCRIPT = "<script>alert(1)</script>'\"><img src=x onerror=alert(2)>"


def ask(database, count=3, prompt=SCRIPT, **options):
    labels = Labels(database)
    made = database.number("SELECT count(*) FROM question")
    for i in range(made, made + count):
        two = [labels.add_item("text", f"{i}:{j}", f"{SCRIPT}{j}".encode()) for j in range(2)]
        labels.ask(f"q{i}", tuple(two), prompt, **options)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with served(tmp_path_factory.mktemp("run")) as (port, database, log):
        ask(database, 400)
        picture = Labels(database).add_item("clip", "clip", b"", b"RIFFpicture", {"frames": 1})
        yield port, database, log, picture


@pytest.fixture
def client(page):
    return signed_in(page[0], page[1])


def test_twenty_answers_and_an_undo_are_twenty_labels(tmp_path):
    with served(tmp_path) as (port, database, _):
        ask(database, 20)
        client = signed_in(port, database)
        for i in range(20):
            question = client.post("next")[1]["question"]
            better = question["items"][0]["id"]
            body = {"question": question["id"], "better": better, "act": f"act {i}"}
            assert client.post("answer", body) == (200, {"new": True})
            assert client.post("answer", body) == (200, {"new": False})  # a retry
        assert client.post("next")[1]["question"] is None
        _, undone = client.post("undo", {"act": "undo"})
        question = client.post("next")[1]["question"]
        assert question["id"] == undone["question"]
        client.post("answer", {"question": question["id"], "answer": "equal", "act": "again"})
        shares = [x.share for x in Labels(database).labels()]
        assert len(shares) == 20 and shares[-1] == 0.5 and {0.0, 1.0} == set(shares[:-1])
        progress = json.loads(client.send("GET", "/api/progress")[2])
        assert (progress["answered"], progress["mine"], progress["waiting"]) == (20, 20, 0)


def test_a_ranking_of_four_is_stored_as_six_comparisons(tmp_path):
    with served(tmp_path) as (port, database, _):
        labels = Labels(database)
        items = [labels.add_item("text", str(i), b"x") for i in range(4)]
        labels.ask("q", tuple(items), "Rank")
        client = signed_in(port, database)
        question = client.post("next")[1]["question"]
        body = {"question": question["id"], "order": items[::-1], "act": "a"}
        assert client.post("answer", body | {"order": items[:2]})[0] == 400
        assert client.post("answer", body)[0] == 200
        assert [x.share for x in labels.labels()] == [0.0] * 6


def test_nothing_is_told_to_those_who_are_not_signed_in(page):
    port, _, _, picture = page
    stranger = Client(port)
    for path in ("/api/progress", f"/api/picture/{picture}"):
        assert stranger.send("GET", path)[0] == 401
    for path in ("next", "answer", "undo", "leave"):
        assert stranger.post(path)[0] == 401
    status, headers, _ = stranger.send("GET", "/")
    assert (status, headers["location"]) == (303, "/enter")
    assert stranger.enter("wrong") == 401 and stranger.enter("") == 401
    stranger.cookie = "=".join([signed_in(port, page[1]).cookie.partition("=")[0], "guess"])
    assert stranger.post("next")[0] == 401


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil:80", ""]
)
def test_a_foreign_host_is_refused_on_every_method(page, client, method, host):
    log = page[2]
    without = ("Host",) if not host else ()
    status, _, _ = client.send(method, "/api/progress", b"{}" if method == "POST" else None,
                               {"Host": host}, without)  # fmt: skip
    assert status in (400, 421)
    assert not host or "foreign Host" in log[-1]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", None])
def test_a_foreign_origin_changes_nothing(page, client, origin):
    before = page[1].number("SELECT count(*) FROM session")
    more = {"headers": {"Origin": origin}} if origin else {"without": ("Origin",)}
    for path in ("next", "answer", "undo", "leave", "session"):
        assert client.post(path, **more)[0] == 403
    assert page[1].number("SELECT count(*) FROM session") == before


def test_a_form_of_another_site_is_refused(client):
    kinds = ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data", "")
    for kind in kinds:
        assert client.post("leave", headers={"Content-Type": kind})[0] == 415
    assert client.post("leave", headers={"Sec-Fetch-Site": "cross-site"})[0] == 403
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"):
        assert client.send(method, "/api/next")[0] == 405
    assert client.post("next")[0] == 200


def test_large_and_malformed_bodies_are_refused(page, client):
    assert client.post("answer", b"x" * 70_000)[0] == 413
    assert client.post("answer", {"act": "x" * 60_000})[0] == 400
    lies = {"Content-Length": "99999999999"}
    assert client.send("POST", "/api/answer", b"{}", lies)[0] == 413
    for body in (b"", b"[", b"[]", b"\xff\xfe", b"null", b"[" * 50_000, b'{"question": 1e999}',
                 b'{"question": NaN, "act": "a"}', b'{"act": "\\ud800", "question": 1}',
                 b'{"act": "a", "question": ' + b"9" * 5000 + b"}",
                 b'{"act": "a", "question": 99999999999999999999}',
                 b'{"act": "a", "question": true, "answer": "equal"}'):  # fmt: skip
        assert client.post("answer", body)[0] == 400, body[:40]
    body = {"question": 10**9, "answer": "equal", "act": "a"}
    assert client.post("answer", body)[0] == 409


def test_a_body_without_a_length_is_read_no_further_than_the_limit(page, client):
    with socket.create_connection(("127.0.0.1", page[0]), 20) as raw:
        head = (f"POST /api/answer HTTP/1.1\r\nHost: 127.0.0.1:{page[0]}\r\nOrigin: {client.origin}"
                f"\r\nContent-Type: {JSON}\r\nTransfer-Encoding: chunked\r\n\r\n")  # fmt: skip
        raw.sendall(head.encode())
        for _ in range(20):
            raw.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 413")


def test_a_flood_of_headers_is_refused(page, client):
    assert client.send("GET", "/", headers={"X-Flood": "x" * 40_000})[0] in (400, 431)
    assert client.send("GET", "/" + "x" * 600)[0] == 414
    assert client.post("next")[0] == 200


@pytest.mark.parametrize(
    "path",
    ["..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/labels.sqlite", "../label.html", "..\\label.html",
     "label.html", "enter.html", "%00", "label.js%00.css", "//etc/passwd", "....//label.html",
     "%252e%252e%252flabel.html", "\\\\host\\share", "C:%5cWindows", ".", ""],
)  # fmt: skip
def test_only_the_named_files_are_served(client, path):
    status, _, content = client.send("GET", f"/static/{path}")
    assert status == 404 and b"root:" not in content and b"SQLite" not in content
    for name in ASSETS:
        assert client.send("GET", f"/static/{name}")[0] == 200


class Tags(HTMLParser):
    """The tags and attributes of a page, as a browser reads them."""

    def __init__(self):
        super().__init__()
        self.names, self.attributes = [], []

    def handle_starttag(self, tag, attributes):
        self.names.append(tag)
        self.attributes += [name for name, _ in attributes]


def test_script_in_names_and_texts_is_never_markup(page):
    port, database, _, _ = page
    client = signed_in(port, database, SCRIPT[:60])
    database.note(task=SCRIPT, env=SCRIPT)
    _, headers, content = client.send("GET", "/")
    assert b"<script>alert" not in content and b"<img" not in content and b"&lt;script" in content
    policy = headers["content-security-policy"]
    assert "script-src 'self'" in policy and "unsafe" not in policy and "'none'" in policy
    tags = Tags()
    tags.feed(content.decode())
    assert tags.names.count("script") == 1 and "img" not in tags.names
    assert not [a for a in tags.attributes if a == "style" or a.startswith("on")]
    _, headers, content = client.send("POST", "/api/next", {})
    assert headers["content-type"] == JSON and headers["x-content-type-options"] == "nosniff"
    assert json.loads(content)["question"]["prompt"] == SCRIPT
    database.note(task="", env="")


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(page):
    client = signed_in(page[0], page[1])
    said = client.set_cookie.lower()
    assert "httponly" in said and "samesite=strict" in said and "path=/" in said
    other = Client(page[0])
    other.cookie = "=".join([client.cookie.partition("=")[0], "planted"])
    assert other.enter(Accounts(page[1]).give_token(Accounts(page[1]).named("Bo"))) == 200
    assert "planted" not in other.cookie  # a session is never one that was brought along


def test_signing_out_everywhere_ends_all_sessions(page):
    one, two, bo = (signed_in(page[0], page[1], n) for n in ("Cy", "Cy", "Di"))
    before = one.cookie
    assert one.post("leave", {"everywhere": True})[0] == 200
    one.cookie = before
    assert one.post("next")[0] == 401 == two.post("next")[0] and bo.post("next")[0] == 200


def test_nobody_reads_the_answers_or_the_known_answers_of_others(tmp_path):
    with served(tmp_path) as (port, database, _):
        ask(database, 1, overlap=2)
        ask(database, 1, gold="first", priority=1.0)
        ann, bo = (signed_in(port, database, n) for n in ("Ann", "Bo"))
        for i in range(2):
            question = ann.post("next")[1]["question"]
            ann.post("answer", {"question": question["id"], "answer": "equal", "act": f"{i}"})
        said = json.dumps(bo.post("next")[1]) + bo.send("GET", "/")[2].decode()
        assert "gold" not in said and "Ann" not in said
        status, answer = bo.post("answer", {"question": 1, "answer": "equal", "act": "0"})
        assert status == 400 and "taken by another" in answer["error"]


def test_a_lost_picture_is_said(page, client):
    picture = page[3]
    assert client.send("GET", f"/api/picture/{picture}")[2] == b"RIFFpicture"
    assert client.send("GET", "/api/picture/99999")[0] == 404
    assert client.send("GET", f"/api/picture/{'9' * 400}")[0] == 404
    assert client.send("GET", "/api/picture/-1")[0] == 404


def test_wrong_passwords_soon_have_to_wait(tmp_path):
    address = serving.Address(behind="https://labels.example.org")
    with served(tmp_path, address) as (port, database, _):
        people = Accounts(database, 1.0)
        people.give_password(people.named("Ann"), "a good password")
        client = Client(port)
        client.origin = "https://labels.example.org"
        host = {"headers": {"Host": "labels.example.org"}}
        right = {"name": "Ann", "password": "a good password"}
        assert client.post("session", right)[0] == 421  # the name of the loopback
        assert client.post("session", right, **host)[0] == 200
        assert "secure" in client.set_cookie.lower()
        token = people.give_token(people.named("Ann"))
        statuses = [client.post("session", {"token": token}, **host)[0]]  # no links beyond loopback
        statuses += [client.post("session", right | {"password": "x"}, **host)[0] for _ in range(5)]
        assert statuses == [401] * 5 + [429]
        assert client.post("session", right, **host)[0] == 429  # right, but it has to wait too


def test_each_further_attempt_waits_twice_as_long():
    now = [0.0]
    attempts, waits = Attempts(lambda: now[0]), []
    for _ in range(16):
        attempts.failed("a")
        waits.append(attempts.wait_s("a", "b"))
    assert waits[:7] == [0, 0, 0, 0, 1, 2, 4] and waits[-1] == 300
    assert attempts.wait_s("b") <= 0
    attempts.succeeded("a")
    assert attempts.wait_s("a") <= 0


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ({"host": "0.0.0.0"}, "can be reached from other computers"),
        ({"host": "::"}, "can be reached from other computers"),
        ({"host": "192.0.2.1"}, "can be reached from other computers"),
        ({"behind": "http://example.org"}, "expected the proxy's public address"),
        ({"behind": "https://example.org/path"}, "expected the proxy's public address"),
        ({"behind": "https://example.org"}, "nobody has none"),
        ({"certificate": "x"}, "needs both"),
        ({"certificate": "x", "key": "y"}, "there is no file x"),
        ({"port": 70000}, "between 0 and 65535"),
    ],
)
def test_an_address_without_protection_is_refused_before_it_is_opened(tmp_path, address, message):
    with served(tmp_path) as (_, database, _), pytest.raises(SettingsError, match=message):
        serving.check(serving.Address(**address), Accounts(database), [])


def test_a_thousand_random_requests_leave_the_server_alive(page):
    port, database, _, picture = page
    client, chance = signed_in(port, database), random.Random(0)
    paths = ["/", "/enter", "/static/", "/api/next", "/api/answer", "/api/undo", "/api/session",
             "/api/progress", f"/api/picture/{picture}", "/api/", "/api/answer?x=1"]  # fmt: skip
    values = [None, True, -1, 0, 1, 2**70, 1.5, "", "x" * 500, [], {}, [1, 2], "equal", "\x00", "é"]
    names = ["question", "answer", "better", "order", "act", "token", "name", "password"]
    statuses = []
    for _ in range(1000):
        method = chance.choice(["GET", "POST", "POST", "POST", "HEAD", "PUT", "OPTIONS"])
        body = {n: chance.choice(values) for n in chance.sample(names, chance.randrange(9))}
        data = json.dumps(body).encode() if chance.random() < 0.7 else chance.randbytes(200)
        noise = "".join(chance.choices(string.ascii_letters + "%/.", k=chance.randrange(20)))
        path = chance.choice(paths) + (noise if chance.random() < 0.3 else "")
        post = method == "POST"
        statuses.append(client.send(method, path, data if post else None)[0])
    assert max(statuses) < 500 and {200, 400, 404, 405} <= set(statuses)
    assert signed_in(port, database, "Eve").post("next")[0] == 200
