"""The first pass over a table: what its columns hold, and what is wrong with them.

Nothing is written before all rows have been seen.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from spinward.data import cells
from spinward.data.cells import CATEGORY, LIST, NUMBER, Input
from spinward.data.roles import Roles
from spinward.data.tables import TableFile, last_line_ends

REPAIRS = {
    "missing": "leave out steps with a missing or non-finite cell, and cut the episode there",
    "both-ends": "count a step that is terminated and truncated as terminated",
    "sort": "sort the rows by episode and time",
    "duplicates": "keep the first of the steps of one episode that have the same time",
    "last-line": "leave out a last line that has no end",
    "constant-action": "take data in which the action never differs",
}
EXACT = 2**24  # whole numbers above are rounded in float32


class Problem(NamedTuple):
    """What no step may have, the first row (counted from 1) with it, and how often it occurs."""

    what: str
    column: str
    row: int
    times: int
    repair: str = ""  # what repairs it, if something does

    def __str__(self) -> str:
        places = f"row {self.row:,}" if self.row else "", f"column {self.column}"
        where = ", ".join(filter(None, places if self.column else places[:1]))
        more = f" ({self.times:,} rows like it)" if self.times > 1 else ""
        mend = f"; --repair {self.repair} would {REPAIRS[self.repair]}" if self.repair else ""
        return f"{where}: {self.what}{more}{mend}"


class Seen:
    """What one column holds."""

    def __init__(self, kind: str):
        self.kind = kind
        self.width = 1
        self.low, self.high = np.inf, -np.inf
        self.values: dict[str, int] = {}  # the first row of each text
        self.first: np.ndarray | None = None  # the first cell
        self.constant = True
        self.parts = self.first_part = 0  # numbers that are not whole, and the first of them
        self.count, self.total = 0, 0.0  # of the finite numbers

    def range(self, values: np.ndarray) -> None:
        """Widens the range by these numbers [rows, width]."""
        finite = values[np.isfinite(values).all(1)]
        if len(finite):
            self.first = finite[0] if self.first is None else self.first
            self.constant &= bool((finite == self.first).all())
            self.count += len(finite)
            self.total += float(finite[:, 0].sum())
            self.low = min(self.low, float(finite.min()))
            self.high = max(self.high, float(finite.max()))


class Scan:
    """What one pass over a table finds."""

    def __init__(
        self, table: TableFile, roles: Roles, schema: Any, filled: frozenset[str] = frozenset()
    ):
        """`filled` are columns whose cells may be missing."""
        self.table, self.roles, self.filled = table, roles, filled
        self.rows = 0
        self.first_problems: dict[tuple[str, str], Problem] = {}
        self.seen = {name: Seen(cells.kind_of(schema.field(name).type)) for name in roles.used}
        self.whole = {name for name in roles.used if cells.is_whole(schema.field(name).type)}
        for name in roles.used:
            place = name not in (roles.episode, roles.time)
            if not self.seen[name].kind and place:
                kind = str(schema.field(name).type)
                self.note(f"cells of type {kind} are no numbers", name, np.array([True]))
        self.episodes = EpisodeCodes()
        self.order = RowOrder(self)
        if not self.first_problems:
            for batch in table.batches():
                self.add(batch)
        self.order.finish()
        if table.kind in ("csv", "jsonl") and not last_line_ends(table.path):
            row = np.arange(self.rows) == self.rows - 1
            self.note("the last line has no end: was the file cut?", "", row, "last-line", 0)

    def note(
        self, what: str, column: str, wrong: Any, repair: str = "", first: int | None = None
    ) -> None:
        """Keeps a problem of the rows of the present batch that are `wrong`."""
        if not wrong.any():
            return
        start = self.rows if first is None else first
        before = self.first_problems.get((what, column))
        row = before.row if before else start + int(wrong.argmax()) + 1
        count = int(wrong.sum()) + (before.times if before else 0)
        self.first_problems[what, column] = Problem(what, column, row, count, repair)

    def add(self, batch: Any) -> None:
        roles = self.roles
        for name in (*roles.obs, *roles.next_obs):
            self.features(name, batch.column(name))
        for name in (*roles.action, roles.next_action, roles.reward, roles.action_prob):
            if name:
                self.features(name, batch.column(name), one=name not in roles.action)
        ends = []
        for name in (roles.terminated, roles.truncated, roles.done, *roles.mask):
            if name:
                on, wrong = cells.flags(batch.column(name))
                self.note("expected true or false", name, wrong)
                ends.append(on)
        if roles.terminated and roles.truncated:
            both = ends[0] & ends[1]
            self.note("terminated and truncated are both true", "", both, "both-ends")
        if roles.action_prob:
            p = cells.numbers(batch.column(roles.action_prob))
            self.note("a probability outside (0, 1]", roles.action_prob, (p <= 0.0) | (p > 1.0))
        self.order.add(batch)
        self.rows += batch.num_rows

    def features(self, name: str, array: Any, one: bool = False) -> None:
        """Looks at the numbers of a column."""
        seen = self.seen[name]
        if seen.kind == CATEGORY:
            return self.texts(name, array, seen)
        if seen.kind == LIST:
            lengths = array.value_lengths().drop_null()
            seen.width = (
                int(lengths[0].as_py()) if seen.first is None and len(lengths) else seen.width
            )
            values, wrong = cells.lists(array, seen.width)
            short = wrong & array.is_valid().to_numpy(zero_copy_only=False)
            self.note(f"a list of another length than {seen.width}", name, short)
        else:
            values = cells.numbers(array)[:, None]
        with np.errstate(over="ignore"):
            single = values.astype(np.float32)
        bad = (np.isinf(single) if name in self.filled else ~np.isfinite(single)).any(1)
        self.note("a missing or non-finite number", name, bad, "missing")
        seen.range(values)
        if name in self.roles.action:
            part = np.isfinite(values[:, 0]) & (values[:, 0] != np.round(values[:, 0]))
            seen.first_part = seen.first_part or (part.any() and self.rows + int(part.argmax()) + 1)
            seen.parts += int(part.sum())

    def texts(self, name: str, array: Any, seen: Seen) -> None:
        index, names, missing = cells.texts(array)
        if name not in self.filled:
            self.note("a missing cell", name, missing, "missing")
        for i, text in enumerate(names):
            if text in seen.values or len(seen.values) > cells.MOST:
                continue
            seen.values[text] = self.rows + int((index == i).argmax()) + 1
            if cells.is_formula(text):
                self.note(f"{text!r:.40} is a formula", name, (index == i) & ~missing)

    def problems(self) -> Iterator[Problem]:
        """All that was found, the earliest rows first."""
        yield from sorted(self.first_problems.values(), key=lambda p: (p.row, p.column))
        roles = self.roles
        for name in (*roles.obs, *roles.next_obs, *roles.action, roles.reward, roles.action_prob):
            if name and self.seen[name].kind == CATEGORY:
                yield from self.of_texts(name, self.seen[name])
        if len(roles.action) == 1 and self.rows:
            seen = self.seen[roles.action[0]]
            if 0 < 2 * seen.parts < self.rows:
                what = f"a number that is not whole, as {self.rows - seen.parts:,} others are"
                yield Problem(what, roles.action[0], seen.first_part, seen.parts)
            constant = len(seen.values) == 1 if seen.kind == CATEGORY else seen.constant
            if constant:
                what = f"the action is the same in all {self.rows:,} rows"
                yield Problem(what, roles.action[0], 0, 1, "constant-action")

    def of_texts(self, name: str, seen: Seen) -> Iterator[Problem]:
        """What is wrong with a column that has texts."""
        plain = [text for text in seen.values if not cells.is_number(text)]
        if plain and 2 * len(plain) <= len(seen.values):
            row = seen.values[plain[0]]
            yield Problem(f"{plain[0]!r:.40} is text in a column of numbers", name, row, 1)
        elif name in (self.roles.reward, self.roles.action_prob) and seen.values:
            text, row = next(iter(seen.values.items()))
            yield Problem(f"{text!r:.40} is text, and not a number", name, row, 1)
        elif len(seen.values) > cells.MOST:
            what = f"more than {cells.MOST} different texts; leave it out with --ignore {name}"
            yield Problem(what, name, list(seen.values.values())[-1], 1)

    def input(self, name: str) -> Input:
        """How the cells of a column become numbers."""
        seen = self.seen[name]
        if seen.kind == CATEGORY:
            values = tuple(sorted(seen.values))
            return Input(name, CATEGORY, len(values), values, 0.0 if name in self.filled else None)
        if name in self.filled:
            mean = float(np.float32(seen.total / max(seen.count, 1)))
            return Input(name, seen.kind or NUMBER, 2, (), mean)
        return Input(name, seen.kind or NUMBER, seen.width)


class EpisodeCodes:
    """The numbers of episodes, from the names in a column."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.texts = False
        self.longest = 1

    def codes(self, array: Any) -> tuple[np.ndarray, np.ndarray]:
        """The number [rows] of each row's episode, and which rows have no name."""
        if cells.kind_of(array.type) != CATEGORY:
            return cells.wholes(array)
        self.texts = True
        index, names, missing = cells.texts(array)
        codes = [self.numbers.setdefault(name, len(self.numbers)) for name in names]
        self.longest = max(self.longest, *(len(n.encode()) for n in names), 1)
        return np.array(codes or [0], np.int64)[index], missing

    def names(self) -> np.ndarray:
        """The name of each number, where names are texts."""
        return np.array([n.encode() for n in self.numbers], f"S{min(self.longest, 255)}")


class RowOrder:
    """Whether the rows of each episode stand together, in the order of time."""

    def __init__(self, scan: Scan):
        self.scan = scan
        self.last: tuple[int, float] | None = None
        self.runs: list[np.ndarray] = []  # the episode of each run of rows
        self.rows: list[np.ndarray] = []  # its first row
        self.sorted = True

    def add(self, batch: Any) -> None:
        roles, scan = self.scan.roles, self.scan
        count = batch.num_rows
        code = np.zeros(count, np.int64)
        if roles.episode:
            code, missing = scan.episodes.codes(batch.column(roles.episode))
            scan.note("an episode without a name", roles.episode, missing)
        if not count:
            return
        time = times(batch.column(roles.time)) if roles.time else np.arange(count) + scan.rows
        before = self.last or (int(code[0]) - 1, -np.inf)
        codes, clock = np.append(before[0], code), np.append(before[1], time)
        new = np.diff(codes) != 0
        back, same = ~new & (np.diff(clock) < 0), ~new & (np.diff(clock) == 0)
        if roles.time:
            scan.note("no time", roles.time, np.isnan(time))
            scan.note("a step before the one above it", roles.time, back, "sort")
            scan.note("a second step of its time", roles.time, same, "duplicates")
        self.sorted &= not back.any()
        if roles.episode:
            self.runs.append(code[new])
            self.rows.append(np.flatnonzero(new) + scan.rows)
        self.last = int(code[-1]), float(time[-1])

    def finish(self) -> None:
        """Finds episodes whose rows do not stand together."""
        if not self.runs:
            return
        runs, rows = np.concatenate(self.runs), np.concatenate(self.rows)
        order = np.argsort(runs, kind="stable")
        again = order[1:][runs[order[1:]] == runs[order[:-1]]]
        if len(again):
            self.sorted = False
            first = np.zeros(int(rows[again].min()) + 1, bool)
            first[-1] = True
            what = "an episode goes on after rows of another"
            self.scan.note(what, self.scan.roles.episode, first, "sort", 0)


def times(array: Any) -> np.ndarray:
    """A column of times as numbers [rows]; of dates, the seconds since 1970."""
    pa = cells.arrow()
    if pa.types.is_temporal(array.type):
        whole = array.cast(pa.timestamp("ns")).cast(pa.int64())
        return cells.numbers(whole) * 1e-9
    return cells.numbers(array)
