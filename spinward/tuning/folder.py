"""The folder of a search: its question, its trials, and its answer.

`tune.json` is the question. `trials.jsonl` has a line for each trial, synced when it is written, so
a search that was stopped or killed goes on after its last trial. `best.json` is the answer.
"""

import contextlib
import fcntl
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spinward.errors import SettingsError
from spinward.store import files, settings
from spinward.store.nested import flat
from spinward.tuning.reading import FORMAT, QUESTION, TRIALS, complete, read_question
from spinward.tuning.trial import Result


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds the lock of a search, which is released when the process ends in any way.

    Raises:
        SettingsError: another process works on this search.
    """
    with files.opened(folder / "lock", folder, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(f"another process works on {folder}") from None
        yield


def open_or_make(folder: Path, question: dict[str, Any]) -> None:
    """Makes the folder, or checks that it has the same question; the number of trials may differ.

    Raises:
        SettingsError: it has another question, or is no search's.
    """
    text = (json.dumps({"format": FORMAT, **question}, indent=1) + "\n").encode()
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        files.new_folder(folder, {QUESTION: text})
        return
    if not (folder / QUESTION).is_file():
        raise SettingsError(f"{folder} exists and is no search's: choose another name (--name)")
    before, after = (flat(x) for x in (read_question(folder), json.loads(text)))
    keys = before.keys() | after.keys()
    odd = sorted(k for k in keys if before.get(k) != after.get(k) and k != "trials")
    if odd:
        raise SettingsError(
            f"{folder} was begun with {odd[0]}={before.get(odd[0])!r:.80}, and this search has "
            f"{after.get(odd[0])!r:.80}: choose another name (--name)"
        )
    files.write_atomically(folder / QUESTION, text)


def add(folder: Path, result: Result, values: dict[str, Any]) -> None:
    """Writes the line of a trial."""
    line = {
        "number": result.number,
        "settings": settings.to_json(values),
        "per_seed": [float(x) if math.isfinite(x) else None for x in result.scores],
        "reason": result.reason,
        "steps": result.steps,
        "returns": result.returns,
    }
    path = folder / TRIALS
    kept = complete(path, folder)
    if path.exists() and path.stat().st_size > len(kept):  # of a process that was killed
        files.write_atomically(path, kept)
    with files.opened(path, folder, "ab") as file:
        file.write((json.dumps(line) + "\n").encode())
        file.flush()
        files.sync(file.fileno())
