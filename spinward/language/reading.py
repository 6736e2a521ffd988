"""All rows of a file or a task as texts in tokens: those that cannot be used, those that are too
long, and those that are held out to evaluate with.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spinward.core import Transition
from spinward.envs.prompts import padded
from spinward.errors import SettingsError, SpinwardError
from spinward.language import row_layouts as layouts
from spinward.language import rows as texts
from spinward.language.row_files import Skipped, refuse, rows_of
from spinward.language.rows import TokenRow, Where

READERS = {"completions": texts.completion, "pairs": texts.pair}
FEWEST, MOST = 8, 256  # rows of a file from which some are held out, and those at most

Row = dict[str, Any]


class Limits(NamedTuple):
    """The length limit of rows, and whether unusable rows are skipped."""

    room: int  # tokens: the model's context, less the length of completions
    skip: bool = False  # pass over rows that cannot be used, in place of an error
    max_length: int = 0  # tokens that a longer row is cut to, or with skip passed over; 0: room

    @property
    def size(self) -> int:
        return self.max_length or self.room

    def check(self) -> None:
        """Raises SettingsError for a length that no row can have."""
        if self.max_length and not 2 <= self.max_length <= self.room:
            raise SettingsError(
                f"max_length={self.max_length} must be between 2 and {self.room}, the tokens "
                "that the model has room for"
            )


class RowsRead(NamedTuple):
    """The rows as tokens, the rows as in their file, and notes on rows that were left out."""

    texts: list[TokenRow]
    rows: list[Row]
    notes: tuple[str, ...]


def of_file(
    path: str | Path, reader: Callable[[Where, Row, Any], TokenRow], vocabulary: Any, limits: Limits
) -> RowsRead:
    """All rows of a file."""
    return read(lambda skipped: rows_of(Path(path), skipped), reader, vocabulary, limits)


def read(
    rows: Callable[[Skipped | None], Iterable[tuple[Where, Row]]],
    reader: Callable[[Where, Row, Any], TokenRow],
    vocabulary: Any,
    limits: Limits,
) -> RowsRead:
    """All rows as `reader` reads them, none longer than `limits` allow.

    Raises:
        SettingsError: a row that cannot be used, unless it may be skipped; no row can.
    """
    limits.check()
    skipped: Skipped | None = [] if limits.skip else None
    kept, given, cuts = [], [], 0
    for where, row in rows(skipped):
        try:
            made, shorter = fitted(where, reader(where, row, vocabulary), limits)
        except SpinwardError as error:
            refuse(error, skipped)
            continue
        kept.append(made)
        given.append(row)
        cuts += shorter
    total = len(kept) + len(skipped or ())
    notes = []
    if skipped:
        notes.append(f"{len(skipped)} of {total} rows skipped; the first: {skipped[0]}")
    if not kept:
        raise SettingsError(f"no row can be used: {notes[0] if notes else 'there are none'}")
    if cuts:
        notes.append(f"{cuts} of {total} rows cut to {limits.size} tokens")
    return RowsRead(kept, given, tuple(notes))


def fitted(where: Where, row: TokenRow, limits: Limits) -> tuple[TokenRow, bool]:
    """A row within the limit of tokens, and whether the row was cut."""
    size = row.size
    if size <= limits.size:
        return row, False
    if limits.skip or not limits.max_length:
        most = "max_length" if limits.max_length else "the room of the model's context"
        of_prompt = f", of which {len(row.prompt)} are the prompt," if any(row.completions) else ""
        instead = "" if limits.skip else "; --max-length cuts longer rows, --skip leaves them out"
        raise SettingsError(
            f"{where}: {size} tokens{of_prompt} are more than {most} = {limits.size}{instead}"
        )
    return shortened(where, row, limits.size), True


class SplitTexts(NamedTuple):
    """Rows to learn from, held-out rows, and notes on both."""

    data: Transition
    held: Transition | None
    notes: tuple[str, ...]


def corpus(rows_read: RowsRead, share: float) -> SplitTexts:
    """Rows as steps, a `share` of them held out; none of a few rows."""
    held, rows = held_out(len(rows_read.texts), share), rows_read.texts
    kept = texts.laid_out([row for i, row in enumerate(rows) if i not in held])
    if not held:
        return SplitTexts(kept, None, rows_read.notes)
    note = f"{len(held)} of {len(rows)} rows held out to evaluate with"
    return SplitTexts(
        kept, texts.laid_out([rows[i] for i in sorted(held)]), (*rows_read.notes, note)
    )


def prompts(rows_read: RowsRead) -> np.ndarray:
    """The prompts [row, tokens], with `PAD` in front of the short ones."""
    return padded([row.prompt for row in rows_read.texts])


def given(rows_read: RowsRead, vocabulary: Any) -> Callable[[int], Row]:
    """A function from a row's number to the row as in its file, with its prompt as `prompt`."""
    talks = texts.talks(vocabulary)
    rows = [{**row, "prompt": layouts.asked("", row, talks)["prompt"]} for row in rows_read.rows]
    return rows.__getitem__


def held_out(rows: int, share: float) -> set[int]:
    """Which of `rows` rows are held out: the same ones in every process."""
    if share <= 0.0 or rows < FEWEST:
        return set()
    count = min(max(1, round(share * rows)), MOST, rows - 1)
    return set(np.random.default_rng(0).permutation(rows)[:count].tolist())


def shortened(where: Where, row: TokenRow, size: int) -> TokenRow:
    """A row of `size` tokens. A prompt loses its beginning, but for its first token, and what
    follows loses its end, each so that the other has at least half of the room."""
    longest = max(map(len, row.completions))
    kept = min(len(row.prompt), max(size - longest, size // 2 if longest else size))
    before = row.prompt[:1] + row.prompt[len(row.prompt) - kept + 1 :] if kept else []
    after = [tokens[: size - kept] for tokens in row.completions]
    said = None if row.said is None else row.said[: size - kept]
    if len(after) > 1 and after[0] == after[1]:
        raise SettingsError(f"{where}: chosen and rejected are the same in {size} tokens")
    if said is not None and not any(said[1:]):
        raise SettingsError(f"{where}: the assistant says nothing in the first {size} tokens")
    return TokenRow(before, after, said)
