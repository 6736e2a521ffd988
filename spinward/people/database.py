"""The SQLite file with the questions to people and their answers.

Readers and one writer work at the same time (write-ahead log). An answer is on the disk before the
transaction that writes it returns.
"""

import functools
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spinward.errors import DamagedFileError, SettingsError
from spinward.store import files

NAME = "labels.sqlite"
APPLICATION = 0x5350_494E  # marks the file as ours
VERSION = 1
WAIT_S = 30.0  # for another process that writes
TABLES = """
CREATE TABLE labeller (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, token BLOB, password TEXT,
  left_out INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL);
CREATE TABLE item (
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL CHECK (kind IN ('clip', 'text')),
  origin TEXT NOT NULL UNIQUE, content BLOB NOT NULL, picture BLOB, shape TEXT);
CREATE TABLE question (
  id INTEGER PRIMARY KEY, origin TEXT NOT NULL UNIQUE, items TEXT NOT NULL, prompt TEXT NOT NULL,
  overlap INTEGER NOT NULL CHECK (overlap > 0), priority REAL NOT NULL, gold TEXT,
  repeats INTEGER REFERENCES question, created REAL NOT NULL, seed INTEGER, iteration INTEGER,
  answers INTEGER NOT NULL DEFAULT 0);
CREATE INDEX asked ON question (seed, iteration);
CREATE INDEX unanswered ON question (priority DESC, id) WHERE answers < overlap;
CREATE TABLE lease (
  question INTEGER NOT NULL REFERENCES question, labeller INTEGER NOT NULL REFERENCES labeller,
  expires REAL NOT NULL, shown TEXT NOT NULL, shown_at REAL NOT NULL,
  PRIMARY KEY (question, labeller)) WITHOUT ROWID;
CREATE INDEX expiry ON lease (expires);
CREATE INDEX leases_of ON lease (labeller);
CREATE TABLE response (
  id INTEGER PRIMARY KEY, act TEXT NOT NULL, question INTEGER NOT NULL REFERENCES question,
  labeller INTEGER NOT NULL REFERENCES labeller, first INTEGER, second INTEGER,
  answer TEXT NOT NULL CHECK (answer IN ('first', 'second', 'equal', 'cannot_tell', 'undo')),
  undoes TEXT, shown TEXT NOT NULL, shown_at REAL NOT NULL, answered_at REAL NOT NULL,
  UNIQUE (act, first, second));
CREATE INDEX responses_of ON response (labeller, question);
CREATE INDEX responses_to ON response (question);
CREATE UNIQUE INDEX undone ON response (undoes) WHERE undoes IS NOT NULL;
CREATE TRIGGER responses_stay BEFORE UPDATE ON response
  BEGIN SELECT raise(ABORT, 'responses are only added'); END;
CREATE TRIGGER responses_remain BEFORE DELETE ON response
  BEGIN SELECT raise(ABORT, 'responses are only added'); END;
CREATE TABLE progress (
  id INTEGER PRIMARY KEY, seed INTEGER NOT NULL, iteration INTEGER NOT NULL,
  env_steps INTEGER NOT NULL, labels INTEGER NOT NULL, wanted INTEGER NOT NULL,
  upto INTEGER NOT NULL, accuracy REAL, at REAL NOT NULL, UNIQUE (seed, iteration));
CREATE TABLE session (
  id BLOB PRIMARY KEY, labeller INTEGER NOT NULL REFERENCES labeller, expires REAL NOT NULL)
  WITHOUT ROWID;
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE VIEW valid AS SELECT r.* FROM response r WHERE r.answer <> 'undo'
  AND NOT EXISTS (SELECT 1 FROM response u WHERE u.undoes = r.act);
"""


class Database:
    """An open file. Its methods may be called from several threads."""

    def __init__(self, path: Path, run: Path, create: bool = False) -> None:
        """Opens the file `path` of a run, or makes it with `create`.

        Raises:
            SettingsError: there is no file, or a newer version wrote it.
            DamagedFileError: the file is a link, is damaged, or is no file of answers.
        """
        for name in ("", "-wal", "-shm", "-journal"):  # SQLite follows links
            files.inside(run, path.with_name(path.name + name))
        if not path.exists() and not create:
            raise SettingsError(
                f"{run} asks nobody anything: it has no {path.name}; train with --reward "
                "preferences first"
            )
        if path.exists() and not path.is_file():
            raise files.refused(path, "a folder, a pipe or a device")
        self.path, self.lock = path, threading.RLock()
        self.connection = sqlite3.connect(path, WAIT_S, isolation_level=None,
                                          check_same_thread=False)  # fmt: skip
        self.connection.row_factory = sqlite3.Row
        try:
            self.prepare()
        except sqlite3.DatabaseError as error:
            self.connection.close()
            raise DamagedFileError(
                f"{path} is damaged: expected a file of answers, found {error}"
            ) from None

    def prepare(self) -> None:
        """Makes the tables of a new file, and checks those of an old one."""
        run = self.connection.execute
        run("PRAGMA trusted_schema = OFF")
        run("PRAGMA foreign_keys = ON")
        with self.writing(durable=True):
            empty = not run("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if empty:
                for statement in statements():
                    run(statement)
                run(f"PRAGMA application_id = {APPLICATION}")
                run(f"PRAGMA user_version = {VERSION}")
        run("PRAGMA journal_mode = WAL")
        files.sync_folder(self.path.parent)
        if run("PRAGMA application_id").fetchone()[0] != APPLICATION:
            self.connection.close()
            raise DamagedFileError(f"{self.path} is no file of answers written by Spinward")
        version = run("PRAGMA user_version").fetchone()[0]
        if version != VERSION:
            self.connection.close()
            raise SettingsError(
                f"{self.path} has format {version}; this version reads format {VERSION}: upgrade it"
            )
        if schema(self.connection) != expected():
            self.connection.close()
            raise DamagedFileError(f"{self.path} has other tables than Spinward makes")

    @contextmanager
    def writing(self, durable: bool = False) -> Iterator[None]:
        """A transaction. If `durable`, its rows are on the disk when it ends."""
        with self.lock:
            run = self.connection.execute
            run(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            run("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                run("ROLLBACK")
                raise
            run("COMMIT")

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self.lock:
            return self.connection.execute(query, values).fetchall()

    def row(self, query: str, *values: Any) -> sqlite3.Row | None:
        with self.lock:
            first_row: sqlite3.Row | None = self.connection.execute(query, values).fetchone()
        return first_row

    def number(self, query: str, *values: Any) -> int:
        """The single whole number that a query gives."""
        row = self.row(query, *values)
        return int(row[0] or 0) if row else 0

    def execute(self, query: str, *values: Any) -> int:
        """Runs a statement; the id of the row that an INSERT added, or 0 if it added none."""
        with self.lock:
            cursor = self.connection.execute(query, values)
        return int(cursor.lastrowid or 0) if cursor.rowcount > 0 else 0

    def facts(self) -> dict[str, str]:
        """What the run says about itself: its task, its budget, whether it is finished."""
        return {r["name"]: r["value"] for r in self.rows("SELECT * FROM fact")}

    def note(self, **facts: Any) -> None:
        """Sets facts."""
        with self.writing():
            for name, value in facts.items():
                self.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", name, str(value))

    def close(self) -> None:
        with self.lock:
            self.connection.close()


def statements() -> Iterator[str]:
    """The statements of `TABLES`; a trigger has semicolons inside."""
    text = ""
    for part in TABLES.split(";"):
        text += part + ";"
        if sqlite3.complete_statement(text) and text.strip(" \n;"):
            yield text
            text = ""


def schema(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    """The tables, indices, views and triggers of a file, each with its definition."""
    query = "SELECT name, sql FROM sqlite_master WHERE sql NOT NULL"
    return {(str(row[0]), str(row[1])) for row in connection.execute(query)}


@functools.cache
def expected() -> set[tuple[str, str]]:
    """The schema of a file that Spinward makes. A trigger of somebody else's would change
    answers."""
    connection = sqlite3.connect(":memory:")
    try:
        for statement in statements():
            connection.execute(statement)
        return schema(connection)
    finally:
        connection.close()


def of_run(run: Path, create: bool = False) -> Database:
    """The answers of a run."""
    database = Database(run / NAME, run, create)
    if create:
        os.chmod(database.path, 0o600)  # tokens and answers are nobody else's
    return database
