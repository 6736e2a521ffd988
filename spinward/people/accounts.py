"""Labellers: names, secret links and passwords. The database has no secret in plain text."""

import hashlib
import hmac
import re
import secrets
from typing import Any, NamedTuple

from spinward.errors import SettingsError
from spinward.people.database import Database

LONGEST_NAME = 60
SHORTEST_PASSWORD = 10
CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


class Labeller(NamedTuple):
    id: int
    name: str


class Accounts:
    """The labellers in a database."""

    def __init__(self, database: Database, now: float = 0.0) -> None:
        self.database, self.now = database, now

    def named(self, name: str) -> Labeller:
        """The labeller of this name, who is added if there is none.

        Raises:
            SettingsError: the name is empty, too long, or has control characters.
        """
        name = name.strip()
        if not name or len(name) > LONGEST_NAME or CONTROL.search(name):
            raise SettingsError(
                f"name={name!a:.80} must have 1 to {LONGEST_NAME} characters on one line"
            )
        with self.database.writing(durable=True):
            self.database.execute(
                "INSERT INTO labeller (name, created) VALUES (?, ?) ON CONFLICT DO NOTHING",
                *(name, self.now),
            )
        row = self.database.row("SELECT id FROM labeller WHERE name = ?", name)
        assert row is not None
        return Labeller(row[0], name)

    def give_token(self, labeller: Labeller) -> str:
        """A new secret of a labeller; it replaces the old one."""
        token = secrets.token_urlsafe(24)
        with self.database.writing(durable=True):
            change = "UPDATE labeller SET token = ? WHERE id = ?"
            self.database.execute(change, digest(token), labeller.id)
        return token

    def give_password(self, labeller: Labeller, password: str) -> None:
        """Raises SettingsError for a password that is too short."""
        if not SHORTEST_PASSWORD <= len(password) <= 200:
            raise SettingsError(f"a password has {SHORTEST_PASSWORD} to 200 characters")
        hashed = hasher().hash(password)
        with self.database.writing(durable=True):
            change = "UPDATE labeller SET password = ? WHERE id = ?"
            self.database.execute(change, hashed, labeller.id)

    def by_token(self, token: str) -> Labeller | None:
        """The labeller with this secret. All secrets are compared, in constant time."""
        wanted, labeller = digest(token), None
        for row in self.database.rows("SELECT id, name, token FROM labeller WHERE token NOT NULL"):
            if hmac.compare_digest(bytes(row["token"]), wanted):
                labeller = Labeller(row["id"], row["name"])
        return labeller

    def by_password(self, name: str, password: str) -> Labeller | None:
        """The labeller of this name and password; a wrong name takes as long as a wrong
        password."""
        from argon2.exceptions import VerificationError

        row = self.database.row("SELECT * FROM labeller WHERE name = ?", name)
        known = row["password"] if row and row["password"] else unknown()
        try:
            hasher().verify(known, password[:200])
        except VerificationError:
            return None
        return Labeller(row["id"], row["name"]) if row and row["password"] else None

    def leave_out(self, name: str, out: bool = True) -> None:
        """Labels no longer count this labeller's answers, or count them again."""
        with self.database.writing(durable=True):
            change = "UPDATE labeller SET left_out = ? WHERE name = ?"
            self.database.execute(change, int(out), name)
        if not self.database.row("SELECT 1 FROM labeller WHERE name = ?", name):
            raise SettingsError(f"there is no labeller {name!a:.80}")


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def hasher() -> Any:
    from argon2 import PasswordHasher  # its defaults are those of RFC 9106, low memory

    return PasswordHasher()


_UNKNOWN: list[str] = []


def unknown() -> str:
    """The hash of a password that nobody knows."""
    if not _UNKNOWN:
        _UNKNOWN.append(str(hasher().hash(secrets.token_urlsafe())))
    return _UNKNOWN[0]
