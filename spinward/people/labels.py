"""Questions to people, their answers, and the labels that follow from the answers.

A question shows two items, or several items to rank. An item is a clip of behaviour or a text.
A ranking of K items is stored as its K (K - 1) / 2 comparisons (Ouyang et al., 2022,
arXiv:2203.02155, section 3.4). Answers are only added: to undo an answer adds a row.
"""

import json
import random
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from spinward.errors import SettingsError
from spinward.people.answers import ANSWERS, FIRST, SECOND, SHARE, pair, ranked
from spinward.people.database import Database

LEASE_S = 120.0  # for which a question is reserved for a labeller
EVERYBODY = 10**6  # overlap of a question with a known answer, which all labellers answer
MOST = 12  # items to rank at once


class Item(NamedTuple):
    """A clip or a text."""

    id: int
    kind: str
    content: bytes
    picture: bytes | None = None
    shape: dict[str, int] | None = None  # of the picture: frames, width, height, columns, fps


class Question(NamedTuple):
    """A question as it is shown to one labeller."""

    id: int
    prompt: str
    items: tuple[int, ...]  # as they were asked
    shown: tuple[int, ...]  # the same items, from left to right
    gold: str | None
    expires: float


class Label(NamedTuple):
    """The answers to one comparison, as one label."""

    question: int
    first: int
    second: int
    share: float  # of the answers that prefer the first item; an equal counts half
    answers: int  # that it is the mean of


class Gone(SettingsError):
    """An answer to a question that is no longer reserved for this labeller."""


class Labels:
    """The questions and the answers in a database."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self.database, self.clock = database, clock
        self.random = random.Random()

    # What is asked

    def add_item(
        self, kind: str, origin: str, content: bytes, picture: bytes | None = None,
        shape: dict[str, int] | None = None,
    ) -> int:  # fmt: skip
        """The number of an item. An item of the same `origin` is added only once."""
        known = self.database.row("SELECT id FROM item WHERE origin = ?", origin)
        if known:
            return int(known[0])
        form = json.dumps(shape) if shape else None
        values = kind, origin, content, picture, form
        insert = "INSERT INTO item (kind, origin, content, picture, shape) VALUES (?, ?, ?, ?, ?)"
        return self.database.execute(insert, *values)

    def ask(
        self, origin: str, items: tuple[int, ...], prompt: str = "", overlap: int = 1,
        priority: float = 0.0, gold: str | None = None, repeats: int | None = None,
        place: tuple[int, int] | tuple[None, None] = (None, None),
    ) -> int:  # fmt: skip
        """The number of a question about `items`. A question of the same `origin` is asked only
        once. `gold` is the known answer, by which labellers are measured; `place` is the seed and
        the iteration of the run that asks.

        Raises:
            SettingsError: too few or too many items, or an unknown answer.
        """
        known = self.database.row("SELECT id FROM question WHERE origin = ?", origin)
        if known:
            return int(known[0])
        if not 2 <= len(items) <= MOST or len(set(items)) < len(items):
            raise SettingsError(f"a question has 2 to {MOST} different items; found {items}")
        if gold is not None and (gold not in SHARE or len(items) != 2):
            raise SettingsError(f"gold={gold!r} must be one of {', '.join(SHARE)}, of two items")
        values = (
            origin, json.dumps(items), prompt, EVERYBODY if gold else overlap,
            priority, gold, repeats, self.clock(), *place,
        )  # fmt: skip
        return self.database.execute(
            "INSERT INTO question (origin, items, prompt, overlap, priority, gold, repeats, "
            "created, seed, iteration) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *values,
        )

    def item(self, number: int) -> Item | None:
        row = self.database.row("SELECT * FROM item WHERE id = ?", number)
        if row is None:
            return None
        shape = json.loads(row["shape"]) if row["shape"] else None
        return Item(row["id"], row["kind"], row["content"], row["picture"], shape)

    # Who answers what

    def next(self, labeller: int, lease_s: float = LEASE_S) -> Question | None:
        """A question, reserved for this labeller until the lease expires; None if there is none.

        A question is reserved for at most as many people as its overlap still lacks. Asking again
        returns the same question.
        """
        now = self.clock()
        with self.database.writing():
            self.database.execute("DELETE FROM lease WHERE expires <= ?", now)
            row = self.database.row(
                "SELECT q.*, l.shown FROM lease l JOIN question q ON q.id = l.question "
                "WHERE l.labeller = ? ORDER BY l.shown_at LIMIT 1",
                labeller,
            ) or self.database.row(
                "SELECT q.*, NULL AS shown FROM question q WHERE q.answers < q.overlap AND NOT "
                "EXISTS (SELECT 1 FROM valid r WHERE r.question = q.id AND r.labeller = ?1) AND "
                "q.answers + (SELECT count(*) FROM lease l WHERE l.question = q.id) < q.overlap "
                "ORDER BY q.priority DESC, q.id LIMIT 1",
                labeller,
            )
            if row is None:
                return None
            items = tuple(json.loads(row["items"]))
            order = json.loads(row["shown"]) if row["shown"] else self.shuffled(items)
            expires = now + lease_s
            self.database.execute(
                "INSERT INTO lease VALUES (?, ?, ?, ?, ?) ON CONFLICT (question, labeller) "
                "DO UPDATE SET expires = excluded.expires",
                *(row["id"], labeller, expires, json.dumps(order), now),
            )
        return Question(row["id"], row["prompt"], items, tuple(order), row["gold"], expires)

    def shuffled(self, items: tuple[int, ...]) -> list[int]:
        """The items in a random order, so that no side is better."""
        return self.random.sample(items, len(items))

    def answer(self, labeller: int, question: int, answer: str, act: str) -> bool:
        """Stores the answer to a question of two items. `act` identifies the answer: sending it
        again changes nothing. Returns whether it is new.

        Raises:
            Gone: the question is not reserved for this labeller, and others have answered it.
            SettingsError: there is no such answer.
        """
        if answer not in ANSWERS:
            raise SettingsError(f"answer={answer!r:.40} must be one of {', '.join(ANSWERS)}")
        return self.respond(labeller, question, act, lambda items: pair(items, answer))

    def rank(self, labeller: int, question: int, order: tuple[int, ...], act: str) -> bool:
        """Stores the ranking of a question's items, the best first, as comparisons.

        Raises:
            Gone, SettingsError: as in `answer`, or `order` is no order of the items.
        """
        return self.respond(labeller, question, act, lambda items: ranked(items, order))

    def side(self, question: int, better: int) -> str:
        """The answer that prefers the item `better` of a question of two items."""
        row = self.database.row("SELECT items FROM question WHERE id = ?", question)
        items = json.loads(row[0]) if row else []
        if better not in items:
            raise Gone(f"question {question} has no item {better}")
        return FIRST if better == items[0] else SECOND

    def respond(
        self, labeller: int, question: int, act: str,
        compare: Callable[[tuple[int, ...]], list[tuple[int, int, str]]],
    ) -> bool:  # fmt: skip
        now = self.clock()
        with self.database.writing(durable=True):
            known = self.database.row("SELECT labeller FROM response WHERE act = ?", act)
            if known:
                if known[0] != labeller:
                    raise SettingsError("this answer's name is taken by another labeller")
                return False
            row = self.database.row("SELECT * FROM question WHERE id = ?", question)
            if row is None:
                raise Gone(f"there is no question {question}")
            lease = self.reserved(row, labeller)
            for first, second, answer in compare(tuple(json.loads(row["items"]))):
                self.database.execute(
                    "INSERT INTO response (act, question, labeller, first, second, answer, shown, "
                    "shown_at, answered_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    *(act, question, labeller, first, second, answer),
                    *(lease["shown"], lease["shown_at"], now),
                )
            self.released(question, labeller, 1)
        return True

    def add_answer(self, question: int, labeller: int, answer: str, act: str) -> None:
        """Stores the answer of a program, to which no question needs to be reserved. To be called
        within a transaction."""
        row = self.database.row("SELECT items FROM question WHERE id = ?", question)
        known = self.database.row("SELECT 1 FROM response WHERE act = ?", act)
        if row and not known:
            first, second = json.loads(row["items"])
            self.database.execute(
                "INSERT INTO response (act, question, labeller, first, second, answer, shown, "
                "shown_at, answered_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                *(act, question, labeller, first, second, answer, row["items"]),
                *(self.clock(), self.clock()),
            )
            self.released(question, labeller, 1)

    def reserved(self, question: Any, labeller: int) -> Any:
        """The lease of a question. A lease that has expired counts while nobody else needs it."""
        of_this = question["id"], labeller
        lease = self.database.row(
            "SELECT * FROM lease WHERE question = ? AND labeller = ?", *of_this
        )
        others = self.database.number(
            "SELECT count(*) FROM lease WHERE question = ? AND labeller <> ? AND expires > ?",
            *of_this, self.clock(),
        )  # fmt: skip
        answered = self.database.row(
            "SELECT 1 FROM valid WHERE question = ? AND labeller = ? LIMIT 1", *of_this
        )
        late = lease is not None and lease["expires"] <= self.clock()
        full = question["answers"] + (others if late else 0) >= question["overlap"]
        if lease is None or answered or full:
            raise Gone(f"question {question['id']} is no longer yours; ask for the next")
        return lease

    def released(self, question: int, labeller: int, answers: int) -> None:
        self.database.execute(
            "DELETE FROM lease WHERE question = ? AND labeller = ?", question, labeller
        )
        self.database.execute(
            "UPDATE question SET answers = answers + ? WHERE id = ?", answers, question
        )

    def undo(self, labeller: int, act: str, lease_s: float = LEASE_S) -> int | None:
        """Undoes a labeller's last answer and reserves its question again. `act` names this
        undoing. Returns the question, or None if there is nothing to undo."""
        now = self.clock()
        with self.database.writing(durable=True):
            known = self.database.row("SELECT question FROM response WHERE act = ?", act)
            if known:
                return int(known[0])
            last = self.database.row(
                "SELECT * FROM valid WHERE labeller = ? ORDER BY id DESC LIMIT 1", labeller
            )
            if last is None:
                return None
            question = int(last["question"])
            self.database.execute(
                "INSERT INTO response (act, question, labeller, answer, undoes, shown, shown_at, "
                "answered_at) VALUES (?, ?, ?, 'undo', ?, ?, ?, ?)",
                *(act, question, labeller, last["act"], last["shown"], last["shown_at"], now),
            )
            self.released(question, labeller, -1)
            self.database.execute("DELETE FROM lease WHERE labeller = ?", labeller)
            self.database.execute(
                "INSERT INTO lease VALUES (?, ?, ?, ?, ?)",
                *(question, labeller, now + lease_s, last["shown"], now),
            )
        return question

    # What follows

    def labels(
        self, left_out: Iterable[int] = (), seed: int | None = None, upto: int = 2**62
    ) -> list[Label]:
        """A label for each comparison that was answered, in the order of the questions; with a
        `seed`, only of its run's questions; from responses numbered `upto` or less. Answers of
        `left_out` labellers, cannot-tell answers and questions with a known answer give none."""
        rows = self.database.rows(
            "SELECT r.question, r.first, r.second, count(*) AS answers, avg(CASE r.answer "
            "WHEN 'first' THEN 1.0 WHEN 'second' THEN 0.0 ELSE 0.5 END) AS share "
            "FROM response r JOIN question q ON q.id = r.question "
            "JOIN labeller p ON p.id = r.labeller "
            "WHERE r.answer IN ('first', 'second', 'equal') AND q.gold IS NULL AND p.left_out = 0 "
            "AND (?2 IS NULL OR q.seed = ?2) AND r.id <= ?3 "
            "AND r.labeller NOT IN (SELECT value FROM json_each(?1)) "
            "AND NOT EXISTS (SELECT 1 FROM response u WHERE u.undoes = r.act AND u.id <= ?3) "
            "GROUP BY r.question, r.first, r.second ORDER BY r.question, r.first, r.second",
            *(json.dumps(list(left_out)), seed, upto),
        )
        return [
            Label(r["question"], r["first"], r["second"], r["share"], r["answers"]) for r in rows
        ]
