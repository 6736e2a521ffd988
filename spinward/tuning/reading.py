"""What is in the folder of a search, read without JAX."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from spinward.errors import DamagedFileError
from spinward.store import files

FORMAT = 1
QUESTION, TRIALS, BEST = "tune.json", "trials.jsonl", "best.json"
LIMIT = 2**28  # bytes
KINDS = {
    "number": int,
    "settings": dict,
    "per_seed": list,
    "reason": str,
    "steps": list,
    "returns": list,
}


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
            score(line)
        except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise DamagedFileError(f"{path}: line {i} is no trial ({error!s:.100})") from None
        trials[line["number"]] = line
    return trials


def no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def score(line: dict[str, Any]) -> float:
    """The mean score over the seeds of a trial; NaN if a seed has none."""
    return float(np.array(line["per_seed"], float).mean()) if line["per_seed"] else math.nan
