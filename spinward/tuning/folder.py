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

import numpy as np

from spinward.errors import DamagedFileError, SettingsError
from spinward.store import files, settings
from spinward.store.nested import flat
from spinward.tuning.trial import Result

FORMAT = 1
QUESTION, TRIALS, BEST = "tune.json", "trials.jsonl", "best.json"
LIMIT = 2**28  # bytes
NUMBER = int | float
KINDS = {
    "number": int,
    "settings": dict,
    "per_seed": list,
    "reason": str,
    "steps": list,
    "returns": list,
}


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


def read_question(folder: Path) -> dict[str, Any]:
    """Raises DamagedFileError for what is no question of a search."""
    path = folder / QUESTION
    try:
        content = json.loads(files.read(path, folder, LIMIT))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r:.40}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedFileError(f"{path} is no question of a search ({error!r:.100})") from None
    return content  # type: ignore[no-any-return]


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


def complete(path: Path, folder: Path) -> bytes:
    """The complete lines of a file; none where there is no file."""
    if not path.exists():
        return b""
    content = files.read(path, folder, LIMIT)
    return content[: content.rfind(b"\n") + 1]


def read_trials(folder: Path) -> dict[int, dict[str, Any]]:
    """The lines of the trials by their numbers.

    Raises:
        DamagedFileError: a line is no trial.
    """
    path, trials = folder / TRIALS, {}
    for i, text in enumerate(complete(path, folder).split(b"\n")[:-1], 1):
        try:
            line = json.loads(text, parse_constant=no_number)
            if line.keys() != KINDS.keys() or any(type(line[k]) is not t for k, t in KINDS.items()):
                raise ValueError("fields of a trial are missing")
            if not all(x is None or type(x) in (int, float) for x in line["per_seed"]):
                raise ValueError("a score is no number")
            if line["number"] in trials:
                raise ValueError(f"trial {line['number']} is there twice")
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedFileError(f"{path}: line {i} is no trial ({error!s:.100})") from None
        trials[line["number"]] = line
    return trials


def no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def score(line: dict[str, Any]) -> float:
    """The mean score over the seeds of a trial; NaN if a seed has none."""
    return float(np.array(line["per_seed"], float).mean()) if line["per_seed"] else math.nan
