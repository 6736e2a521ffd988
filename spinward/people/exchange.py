"""Labels in files: all questions and responses as JSONL, and comparisons of texts in the layouts of
public preference data."""

import base64
import binascii
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spinward.errors import DamagedFileError, SettingsError
from spinward.language import row_files, row_layouts
from spinward.people.accounts import Accounts
from spinward.people.answers import ANSWERS
from spinward.people.database import Database
from spinward.people.labels import Labels
from spinward.store.files import write_atomically

FORMAT = "spinward-labels-1"
LAYOUTS = ("all", "prompt-chosen-rejected", "tldr", "hh-rlhf", "ultrafeedback")
LONGEST = 2**22  # bytes of an item


def export(database: Database, path: Path, layout: str = "all") -> int:
    """Writes a file of JSON lines, and returns their number. `all` holds every item, question and
    response, and reads back as it was; the other layouts hold decisive labels of texts.

    Raises:
        SettingsError: there is no such layout, or the path is no ordinary file, or is that of the
            answers themselves.
    """
    if layout not in LAYOUTS:
        raise SettingsError(f"layout={layout!r} must be one of {', '.join(LAYOUTS)}")
    if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
        raise SettingsError(f"{path} is no ordinary file: choose another name")
    if path.absolute() == database.path.absolute():
        raise SettingsError(f"{path} holds the answers themselves: choose another name")
    rows = everything(database) if layout == "all" else preferences(database, layout)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    write_atomically(path, "".join(line + "\n" for line in lines).encode())
    return len(lines)


def everything(database: Database) -> Iterator[dict[str, Any]]:
    yield {"format": FORMAT}
    for r in database.rows("SELECT * FROM item ORDER BY id"):
        content = base64.b64encode(r["content"]).decode()
        yield {"item": r["id"], "kind": r["kind"], "origin": r["origin"], "content": content}
    for r in database.rows("SELECT * FROM question ORDER BY id"):
        yield {
            "question": r["id"], "origin": r["origin"], "items": json.loads(r["items"]),
            "prompt": r["prompt"], "overlap": r["overlap"], "priority": r["priority"],
            "gold": r["gold"], "repeats": r["repeats"],
        }  # fmt: skip
    for r in database.rows(
        "SELECT r.*, p.name FROM response r JOIN labeller p ON p.id = r.labeller ORDER BY r.id"
    ):
        yield {
            "response": r["act"], "to": r["question"], "labeller": r["name"], "first": r["first"],
            "second": r["second"], "answer": r["answer"], "undoes": r["undoes"],
            "shown": json.loads(r["shown"]), "shown_at": r["shown_at"],
            "answered_at": r["answered_at"],
        }  # fmt: skip


def preferences(database: Database, layout: str) -> Iterator[dict[str, Any]]:
    """The decisive labels of texts, in a public layout."""
    labels = Labels(database)
    for label in labels.labels():
        better, worse = label.first, label.second
        if label.share == 0.5:
            continue
        if label.share < 0.5:
            better, worse = worse, better
        chosen, rejected = text_of(labels, better), text_of(labels, worse)
        row = database.row("SELECT prompt FROM question WHERE id = ?", label.question)
        if chosen is not None and rejected is not None and row:
            yield in_layout(row["prompt"], chosen, rejected, layout)


def text_of(labels: Labels, item: int) -> str | None:
    content = labels.item(item)
    return content.content.decode() if content and content.kind == "text" else None


def in_layout(prompt: str, chosen: str, rejected: str, layout: str) -> dict[str, Any]:
    if layout == "tldr":  # Stiennon et al., 2020: the better summary is the one of `choice`
        summaries = [{"text": chosen}, {"text": rejected}]
        return {"info": {"article": prompt}, "summaries": summaries, "choice": 0}
    if layout == "hh-rlhf":  # Bai et al., 2022: whole dialogues
        dialogue = f"\n\nHuman: {prompt}\n\nAssistant: "
        return {"chosen": dialogue + chosen, "rejected": dialogue + rejected}
    if layout == "ultrafeedback":  # Cui et al., 2023: lists of messages
        asks = {"role": "user", "content": prompt}
        said = [[asks, {"role": "assistant", "content": text}] for text in (chosen, rejected)]
        return {"prompt": prompt, "chosen": said[0], "rejected": said[1]}
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def read_all(database: Database, path: Path) -> int:
    """Adds the items, questions and responses of an exported file; what is there already stays.
    Returns the number of responses added.

    Raises:
        SettingsError: it is another kind of file.
        DamagedFileError: a line is damaged.
    """
    rows = iter(row_files.rows_of(path))
    where, head = next(rows)
    if head != {"format": FORMAT}:
        raise SettingsError(f"{where}: expected labels that Spinward exported ({FORMAT})")
    items: dict[int, int] = {}
    questions: dict[int, int] = {}
    count, people = 0, {}  # type: int, dict[str, int]
    listed = list(rows)
    for _, row in listed:
        if isinstance(name := row.get("labeller"), str) and name not in people:
            people[name] = Accounts(database).named(name).id
    with database.writing(durable=True):
        for where, row in listed:
            try:
                count += add_row(database, row, items, questions, people)
            except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
                if isinstance(error, SettingsError):
                    raise SettingsError(f"{where}: {error}") from None
                raise DamagedFileError(f"{where} is damaged: {error!r:.80}") from None
        recount(database)
    return count


def add_row(
    database: Database, row: dict[str, Any], items: dict[int, int], questions: dict[int, int],
    people: dict[str, int],
) -> int:  # fmt: skip
    """Adds one line of an export. Returns 1 for a new response, otherwise 0."""
    labels = Labels(database)
    if "item" in row:
        items[row["item"]] = add_content(labels, row)
        return 0
    if "question" in row:
        asked = tuple(items[i] for i in row["items"])
        repeats = questions[row["repeats"]] if row["repeats"] is not None else None
        more = str(row["prompt"]), int(row["overlap"]), float(row["priority"])
        questions[row["question"]] = labels.ask(
            str(row["origin"]), asked, *more, row["gold"], repeats
        )
        return 0
    if row["answer"] not in (*ANSWERS, "undo"):
        raise ValueError(f"answer {row['answer']!a:.40}")
    first, second = (items[row[n]] if row[n] is not None else None for n in ("first", "second"))
    shown = json.dumps([items[i] for i in row["shown"]])
    times = float(row["shown_at"]), float(row["answered_at"])
    values = row["answer"], row["undoes"], shown, *times
    who = questions[row["to"]], people[row["labeller"]]
    return add_response(database, (str(row["response"]), *who, first, second, *values))


def add_content(labels: Labels, row: dict[str, Any]) -> int:
    """The number of an exported item.

    Raises:
        SettingsError: another item is here in its place.
    """
    content = base64.b64decode(row["content"], validate=True)
    if len(content) > LONGEST or row["kind"] not in ("clip", "text"):
        raise ValueError("an item of this kind or size")
    number = labels.add_item(row["kind"], str(row["origin"]), content)
    stored = labels.item(number)
    if stored is None or stored.content != content:
        raise SettingsError(f"these are labels of another run: its {row['origin']} differs")
    return number


def add_response(database: Database, values: tuple[Any, ...]) -> int:
    """Adds a row (act, question, labeller, first, second, answer, undoes, shown, shown_at,
    answered_at), unless it is there. Returns the number of rows added."""
    query = "SELECT 1 FROM response WHERE act = ? AND first IS ? AND second IS ?"
    if database.row(query, values[0], *values[3:5]):
        return 0
    database.execute(
        "INSERT INTO response (act, question, labeller, first, second, answer, undoes, shown, "
        "shown_at, answered_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *values,
    )
    return 1


def recount(database: Database) -> None:
    """Counts the valid answers to each question again."""
    database.execute(
        "UPDATE question SET answers = (SELECT count(DISTINCT act) FROM valid "
        "WHERE valid.question = question.id)"
    )


def read_preferences(database: Database, path: Path, labeller: str = "imported") -> int:
    """Adds the comparisons of a file of public preference data as answered questions, and returns
    their number.

    Raises:
        SettingsError, DamagedFileError: a row is no comparison.
    """
    who = Accounts(database).named(labeller).id
    labels, count = Labels(database), 0
    rows = [(where, row_layouts.compared(where, row)) for where, row in row_files.rows_of(path)]
    with database.writing(durable=True):
        for number, (where, row) in enumerate(rows):
            origin = f"{path.name}:{number}"
            texts = plain(row["prompt"]), plain(row["chosen"]), plain(row["rejected"])
            if texts[1] == texts[2]:
                raise SettingsError(f"{where}: the chosen and the rejected text are the same")
            two = tuple(
                labels.add_item("text", f"{origin}:{i}", text.encode())
                for i, text in enumerate(texts[1:])
            )
            question = labels.ask(origin, two, texts[0])
            values = origin, question, who, *two, "first", None, json.dumps(two), 0.0, 0.0
            count += add_response(database, values)
        recount(database)
    return count


def plain(text: Any) -> str:
    """A text, or a conversation as one text."""
    if isinstance(text, str):
        return text
    if len(text) == 1:
        return str(text[0]["content"])
    return "\n\n".join(f"{m['role'].capitalize()}: {m['content']}" for m in text)


def summary(database: Database) -> dict[str, Any]:
    """How many items, questions, answers and labellers a database has."""
    return {
        name: database.number(query)
        for name, query in {
            "items": "SELECT count(*) FROM item",
            "questions": "SELECT count(*) FROM question",
            "answers": "SELECT count(DISTINCT act) FROM valid",
            "labellers": "SELECT count(*) FROM labeller",
        }.items()
    }
