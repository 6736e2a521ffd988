"""One search of `spinward tune`, as far as the board shows it. As with runs, nothing is opened
through a link, and damage is a warning in the row."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from spinward.board.reading import described, disk_use, held, stamp
from spinward.errors import DamagedFileError
from spinward.store import files
from spinward.tuning.reading import BEST, LIMIT, QUESTION, TRIALS, read_question, read_trials, score

MARKER = QUESTION
PICTURE = "trials.png"


class Trial(NamedTuple):
    """What a table says of a trial."""

    number: int
    settings: dict[str, str]
    score: float | None  # the mean over its seeds
    seeds: int
    reason: str  # why there is no score


class SearchRow(NamedTuple):
    """What a list says of a search."""

    path: Path
    algorithm: str = ""
    env: str = ""
    space: dict[str, str] = {}  # what may change
    asked: int = 0  # trials
    trials: tuple[Trial, ...] = ()  # that have ended, by their numbers
    best: Trial | None = None
    answer: dict[str, Any] = {}  # of the check on other seeds
    state: str = "unreadable"  # new, running, stopped, finished
    bytes: int = 0
    changed: float = 0.0  # when a trial ended
    warnings: tuple[str, ...] = ()


def read(path: Path) -> SearchRow:
    """The row of a search, but for whether it is running."""
    times = [t[0] / 1e9 for t in map(stamp, files_of(path)) if t]
    row = SearchRow(path, bytes=disk_use(path), changed=max(times, default=0.0))
    try:
        question = read_question(path)
        experiment = described(question["experiment"])
        space = {str(k): str(v) for k, v in question["space"].items()}
        row = row._replace(
            algorithm=experiment["algorithm"], env=experiment["env"], space=space,
            asked=int(question["trials"]), state="new",
        )  # fmt: skip
        trials = tuple(trial_of(line) for _, line in sorted(read_trials(path).items()))
        scored = [t for t in trials if t.score is not None]
        best = max(scored, key=lambda t: t.score or 0.0, default=None)
        row = row._replace(trials=trials, best=best, answer=answer_of(path))
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError,
    ) as error:  # fmt: skip
        known = isinstance(error, DamagedFileError)
        return row._replace(warnings=(str(error) if known else f"unreadable: {error!r:.120}",))
    ended = bool(row.answer) and len(trials) >= row.asked
    return row._replace(state="finished" if ended else "stopped" if trials else "new")


def trial_of(line: dict[str, Any]) -> Trial:
    value = score(line)
    known = value if math.isfinite(value) else None
    texts = {k: json.dumps(v, ensure_ascii=False) for k, v in line["settings"].items()}
    return Trial(line["number"], texts, known, len(line["per_seed"]), line["reason"])


def answer_of(path: Path) -> dict[str, Any]:
    """The answer of a search; empty before there is one.

    Raises:
        ValueError: it is no answer.
    """
    try:
        content = json.loads(files.read(path / BEST, path, LIMIT))
    except FileNotFoundError:
        return {}
    sides = [content[name] for name in ("start", "best") if name in content]
    numbers = [side[n] for side in sides for n in ("value", "low", "high")]
    if not all(x is None or math.isfinite(x) for x in numbers):
        raise ValueError(f"{BEST} has a number that is none")
    return dict(content)


def with_state(row: SearchRow) -> SearchRow:
    """A row that says whether its search is running."""
    running = row.state in ("new", "stopped") and held(row.path / "lock", row.path)
    return row._replace(state="running") if running else row


def files_of(path: Path) -> list[Path]:
    return [path / name for name in (QUESTION, TRIALS, BEST)]


def signature(path: Path) -> tuple[Any, ...]:
    """Times and sizes of the files whose change changes a row."""
    return tuple(map(stamp, [*files_of(path), path / PICTURE]))


def picture(path: Path) -> Path | None:
    """The picture of the trials, if there is one."""
    shown = path / PICTURE
    return shown if shown.is_file() and not shown.is_symlink() else None
