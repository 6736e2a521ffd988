"""Sessions of signed-in labellers, and delays after wrong passwords."""

import secrets
import time
from collections.abc import Callable

from spinward.people.accounts import Labeller, digest
from spinward.people.database import Database

SESSION_S = 7 * 24 * 3600.0
FREE = 5  # wrong attempts without a delay
LONGEST_S = 300.0
TRACKED = 10_000  # sources of attempts that are remembered


class Sessions:
    """Sessions in the database, so that they outlive the server. The database has only digests of
    their secrets."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self.database, self.clock = database, clock

    def start(self, labeller: Labeller) -> str:
        """A new session's secret. It is never one that the browser brought along."""
        secret, now = secrets.token_urlsafe(32), self.clock()
        with self.database.writing(durable=True):
            self.database.execute("DELETE FROM session WHERE expires <= ?", now)
            self.database.execute(
                "INSERT INTO session VALUES (?, ?, ?)",
                *(digest(secret), labeller.id, now + SESSION_S),
            )
        return secret

    def of(self, secret: str) -> Labeller | None:
        """The labeller of a session; None if there is no such session or it is over."""
        row = self.database.row(
            "SELECT p.id, p.name FROM session s JOIN labeller p ON p.id = s.labeller "
            "WHERE s.id = ? AND s.expires > ?",
            *(digest(secret), self.clock()),
        )
        return Labeller(row["id"], row["name"]) if row else None

    def end(self, secret: str, everywhere: bool = False) -> None:
        """Ends a session, or all sessions of its labeller."""
        which = "labeller = (SELECT labeller FROM session WHERE id = ?)" if everywhere else "id = ?"
        with self.database.writing(durable=True):
            self.database.execute(f"DELETE FROM session WHERE {which}", digest(secret))


class Attempts:
    """Counts wrong passwords. After a few, each source has to wait, twice as long each
    time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.wrong: dict[str, tuple[int, float]] = {}  # by source: count, and when it may try again

    def wait_s(self, *sources: str) -> float:
        """For how long one of the sources must still wait."""
        return max(self.wrong.get(s, (0, 0.0))[1] - self.clock() for s in sources)

    def failed(self, *sources: str) -> None:
        if len(self.wrong) > TRACKED:
            now = self.clock()
            self.wrong = {s: x for s, x in self.wrong.items() if x[1] > now}
        for source in sources:
            count = self.wrong.get(source, (0, 0.0))[0] + 1
            delay = min(2.0 ** (count - FREE), LONGEST_S) if count >= FREE else 0.0
            self.wrong[source] = count, self.clock() + delay

    def succeeded(self, *sources: str) -> None:
        for source in sources:
            self.wrong.pop(source, None)
