"""Many labellers at once, with dropped connections and a server that is killed: no answer that was
acknowledged may be lost, and none may count twice.

    python -m campaigns.labellers --labellers 100 --pairs 20000 --out results/labellers.json
"""

import argparse
import http.client
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from spinward.people import database as databases
from spinward.people.accounts import Accounts
from spinward.people.labels import Labels
from spinward.store.files import write_atomically

DROPPED = 0.1  # share of connections that end after an answer was sent, before it is acknowledged
TIMEOUT_S = 20.0


class Outcome(NamedTuple):
    labellers: int
    pairs: int
    overlap: int
    kills: int
    dropped: int  # connections
    acknowledged: int
    lost: int  # acknowledged answers that are not in the file
    doubled: int  # answers that are there more than once
    uneven: int  # pairs without exactly `overlap` answers by different people
    seconds: float


class Page:
    """A server in a process of its own, which can be killed and started again."""

    def __init__(self, run: Path, port: int = 0) -> None:
        self.run, self.port = run, port
        self.start()

    def start(self) -> None:
        words = [sys.executable, "-m", "spinward", "label", str(self.run), "--name", "nobody"]
        words += ["--port", str(self.port)]
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        link = self.process.stdout.readline()
        self.port = int(link.rpartition(":")[2].partition("/")[0])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Labeller(threading.Thread):
    """Answers questions until there are none, and sends each answer until it is acknowledged."""

    def __init__(self, page: Page, token: str, number: int) -> None:
        super().__init__(daemon=True)
        self.page, self.token, self.number = page, token, number
        self.chance, self.cookie = random.Random(number), ""
        self.acknowledged: list[str] = []
        self.dropped = 0

    def run(self) -> None:
        self.post("session", {"token": self.token})
        while question := self.post("next", {})["question"]:
            act = f"{self.number}:{question['id']}:{self.chance.random()}"
            better = self.chance.choice(question["items"])["id"]
            body = {"question": question["id"], "better": better, "act": act}
            if self.chance.random() < DROPPED:
                self.dropped += 1
                self.send("answer", body, reads=False)
            if "error" not in self.post("answer", body):
                self.acknowledged.append(act)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request, which is sent until there is one."""
        while True:
            found = self.send(path, body)
            if found is not None:
                return found
            time.sleep(0.05 + 0.1 * self.chance.random())

    def send(self, path: str, body: Any, reads: bool = True) -> dict[str, Any] | None:
        host = f"127.0.0.1:{self.page.port}"
        connection = http.client.HTTPConnection(host, timeout=TIMEOUT_S)
        headers = {"Origin": f"http://{host}", "Content-Type": "application/json"}
        try:
            given = headers | {"Cookie": self.cookie}
            connection.request("POST", f"/api/{path}", json.dumps(body), given)
            if not reads:
                return None
            answer = connection.getresponse()
            content = answer.read()
            if cookie := answer.getheader("set-cookie"):
                self.cookie = cookie.partition(";")[0]
            return json.loads(content) if answer.status < 500 else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()


def campaign(run: Path, labellers: int, pairs: int, overlap: int, kills: int) -> Outcome:
    """Labels so many pairs, while the server is killed at random times."""
    database = databases.of_run(run, create=True)
    ask(database, pairs, overlap)
    people, page = Accounts(database), Page(run)
    workers = []
    for i in range(labellers):
        token = people.give_token(people.named(f"labeller {i}"))
        workers.append(Labeller(page, token, i))
    began, done = time.monotonic(), 0
    for worker in workers:
        worker.start()
    chance, answers = random.Random(0), pairs * overlap
    try:
        while any(worker.is_alive() for worker in workers):
            time.sleep(0.05 + 0.1 * chance.random())
            given = sum(len(worker.acknowledged) for worker in workers)
            if done < kills and given >= answers * (done + 0.5) / kills:
                page.kill()
                page.start()
                done += 1
    finally:
        page.kill()
    seconds = time.monotonic() - began
    outcome = judged(database, workers, (labellers, pairs, overlap, done), seconds)
    database.close()
    return outcome


def ask(database: Any, pairs: int, overlap: int) -> None:
    labels = Labels(database)
    with database.writing():
        for i in range(pairs):
            two = [labels.add_item("text", f"{i}:{j}", b"text") for j in range(2)]
            labels.ask(str(i), tuple(two), overlap=overlap)


def judged(database: Any, workers: list[Labeller], sizes: Any, seconds: float) -> Outcome:
    stored = [r[0] for r in database.rows("SELECT act FROM valid")]
    acknowledged = {act for worker in workers for act in worker.acknowledged}
    rows = database.rows(
        "SELECT count(r.id), count(DISTINCT r.labeller) FROM question q LEFT JOIN valid r "
        "ON r.question = q.id GROUP BY q.id"
    )
    overlap = sizes[2]
    uneven = sum(tuple(row) != (overlap, overlap) for row in rows)
    dropped = sum(worker.dropped for worker in workers)
    counts = dropped, len(acknowledged), len(acknowledged - set(stored))
    return Outcome(*sizes, *counts, len(stored) - len(set(stored)), uneven, round(seconds, 1))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("labellers", 20), ("pairs", 2000), ("overlap", 3), ("kills", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sizes = given.labellers, given.pairs, given.overlap, given.kills
        outcome = campaign(Path(folder), *sizes)
    text = json.dumps(outcome._asdict(), indent=1) + "\n"
    print(text)
    if given.out:
        write_atomically(given.out, text.encode())
    return int(outcome.lost + outcome.doubled + outcome.uneven > 0)


if __name__ == "__main__":
    sys.exit(main())
