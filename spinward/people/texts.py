"""Questions about texts: answers to one prompt, to be compared or ranked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from spinward.errors import SettingsError
from spinward.language import row_files
from spinward.people.database import Database
from spinward.people.exchange import plain
from spinward.people.labels import MOST, Labels

LONGEST = 100_000  # characters of a text


class TextQuestions(NamedTuple):
    """What a file asks about."""

    name: str  # of the file
    answers: dict[str, list[str]]  # to each prompt, all different


def of_file(path: Path, say: Callable[[str], None] = lambda line: None) -> TextQuestions:
    """The questions of a file. A row has a `prompt` and a list of `completions`, or rows of one
    prompt have a `completion` each. A prompt whose completions are all the same is passed over;
    `say` gets how many there are.

    Raises:
        SettingsError: a row has no prompt or completion, or a prompt has only one, or none has two
            that differ.
        DamagedFileError: a line is no JSON object.
    """
    answers: dict[str, list[str]] = {}
    for where, row in row_files.rows_of(path):
        prompt, completions = read(where, row)
        given = answers.setdefault(prompt, [])
        given += completions
    several = {prompt: list(dict.fromkeys(given)) for prompt, given in answers.items()
               if len(given) == 1 or len(set(given)) > 1}  # fmt: skip
    if not several and answers:
        raise SettingsError(f"{path}: the answers to each prompt are all the same")
    for prompt, completions in several.items():
        if not 2 <= len(completions) <= MOST:
            raise SettingsError(
                f"{path}: expected 2 to {MOST} different answers to each prompt, found "
                f"{len(completions)} to {prompt[:40]!a}"
            )
    if same := len(answers) - len(several):
        say(f"passed over {same:,} prompts whose answers are all the same")
    return TextQuestions(path.name, several)


def ask(database: Database, questions: TextQuestions, overlap: int = 1) -> int:
    """Asks about each prompt, and returns the number of new questions."""
    labels = Labels(database)
    before = database.number("SELECT count(*) FROM question")
    with database.writing(durable=True):
        for number, (prompt, completions) in enumerate(questions.answers.items()):
            origin = f"{questions.name}:{number}:{prompt[:100]}"
            items = tuple(
                labels.add_item("text", f"{origin}:{i}", text.encode())
                for i, text in enumerate(completions)
            )
            labels.ask(origin, items, prompt, overlap)
    return database.number("SELECT count(*) FROM question") - before


def read(where: str, row: dict[str, Any]) -> tuple[str, list[str]]:
    """A row's prompt and its completions."""
    given = row.get("completions", [row["completion"]] if "completion" in row else None)
    if not isinstance(given, list) or not given or "prompt" not in row:
        raise SettingsError(f"{where}: expected a prompt and a list of completions")
    given = [x.get("text") if isinstance(x, dict) else x for x in given]  # `generate --json`
    try:
        prompt, *completions = (plain(text) for text in (row["prompt"], *given))
    except (TypeError, KeyError, AttributeError):
        raise SettingsError(f"{where}: expected texts, or messages with role and content") from None
    if max(map(len, (prompt, *completions))) > LONGEST:
        raise SettingsError(f"{where}: a text has more than {LONGEST:,} characters")
    return prompt, completions
