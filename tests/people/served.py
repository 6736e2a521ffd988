"""A served page for tests, and a client that speaks plain HTTP. It is no test file."""

import http.client
import json
import threading
import time
from contextlib import contextmanager

import uvicorn

from spinward.people import database as databases
from spinward.people import serving
from spinward.people.accounts import Accounts
from spinward.people.server import Server

JSON = "application/json"


class Client:
    """A browser, as far as HTTP goes: it keeps cookies and names its origin."""

    def __init__(self, port):
        self.port, self.cookie = port, ""
        self.origin = f"http://127.0.0.1:{port}"

    def send(self, method, path, body=None, headers=None, without=()):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        given = {"Host": f"127.0.0.1:{self.port}", "Cookie": self.cookie}
        if method == "POST":
            given |= {"Origin": self.origin, "Content-Type": JSON}
        given = {k: v for k, v in (given | (headers or {})).items() if k not in without and v}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in given.items():
                connection.putheader(name, value)
            if data is not None and "Content-Length" not in given:
                connection.putheader("Content-Length", str(len(data)))
            connection.endheaders(data)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        for value in answer.msg.get_all("set-cookie") or []:
            self.cookie = value.partition(";")[0]
            self.set_cookie = value
        return answer.status, dict(answer.getheaders()), content

    def post(self, path, body=None, **more):
        status, _, content = self.send("POST", f"/api/{path}", body or {}, **more)
        return status, json.loads(content) if content.startswith(b"{") else content

    def enter(self, token):
        return self.post("session", {"token": token})[0]


@contextmanager
def served(folder, address=None, port=0):
    """A server of the answers in `folder`: its port, database and log."""
    address = (address or serving.Address())._replace(port=port)
    database = databases.of_run(folder, create=True)
    opened, log = serving.listening(address), []
    found = opened.getsockname()[1]
    app = Server(database, serving.places(address, found), address.beyond, address.secure,
                 log.append).app()  # fmt: skip
    config = uvicorn.Config(app, log_level="error", lifespan="off", ws="none", http="h11",
                            h11_max_incomplete_event_size=16384)  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield found, database, log
    finally:
        server.should_exit = True
        thread.join(10)
        database.close()


def signed_in(port, database, name="Ann"):
    accounts = Accounts(database, 1.0)
    client = Client(port)
    assert client.enter(accounts.give_token(accounts.named(name))) == 200
    return client
