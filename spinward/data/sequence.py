"""Turns rows of decisions into steps: each gets its successor, and episodes get their ends."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spinward.data.writer import Fields, Writer
from spinward.errors import SettingsError

CHUNK = 2**16  # rows that are put in order together
AHEAD = 2  # rows that wait: what a step becomes depends on the next two


class Sequence:
    """Writes rows that come in the order of episodes and time."""

    def __init__(self, plan: Any, writer: Writer, names: np.ndarray | None):
        self.plan, self.writer, self.names = plan, writer, names
        roles = plan.roles
        self.flagged = bool(roles.terminated or roles.truncated or roles.done)
        self.named = bool(roles.episode)
        self.timed = bool(roles.time)
        self.waiting: Fields = {}
        self.left_out = False  # whether rows before the next one were left out
        self.episode = self.position = 0  # of the first waiting row
        self.counts = {"missing": 0, "duplicates": 0, "both-ends": 0, "last": 0, "other": 0}

    def add(self, fields: Fields) -> None:
        """Adds rows. Those that are not valid, or repeat a time, are left out."""
        fields = self.valid(self.ended(fields))
        if self.waiting:
            fields = {k: np.concatenate([self.waiting[k], v]) for k, v in fields.items()}
        fields = self.once(fields)
        self.write(fields, len(fields["row"]) - AHEAD)

    def finish(self) -> None:
        """Writes the rows that wait."""
        if self.waiting:
            self.write(self.waiting, len(self.waiting["row"]))
        if not self.writer.rows:
            raise SettingsError(f"{self.plan.path}: no step is left to learn from")

    def ended(self, fields: Fields) -> Fields:
        """The rows with one kind of end each."""
        options, roles = self.plan.options, self.plan.roles
        both = fields["terminated"] & fields["truncated"]
        self.counts["both-ends"] += int(both.sum())
        fields["truncated"] = fields["truncated"] & ~both
        done = fields.pop("done")
        if roles.terminated and roles.done:
            fields["truncated"] |= done & ~fields["terminated"]
        elif roles.done:
            kind = options.ends or "terminated"
            fields[kind] = fields[kind] | (done & ~fields["truncated"])
        return fields

    def valid(self, fields: Fields) -> Fields:
        """The valid rows, and before which of them others were left out."""
        kept = np.flatnonzero(fields.pop("valid"))
        self.counts["missing"] += len(fields["row"]) - len(kept)
        gap = np.diff(kept, prepend=-1) > 1
        if len(kept):
            gap[0] |= self.left_out
            self.left_out = bool(kept[-1] < len(fields["row"]) - 1)
        elif len(fields["row"]):
            self.left_out = True
        return {k: v[kept] for k, v in fields.items()} | {"gap": gap}

    def once(self, fields: Fields) -> Fields:
        """The rows without those that repeat the time of the one before."""
        if not self.timed:
            return fields
        again = np.zeros(len(fields["row"]), bool)
        again[1:] = (np.diff(fields["code"]) == 0) & (np.diff(fields["time"]) == 0)
        if again.any() and "duplicates" not in self.plan.options.repair:
            row = int(fields["row"][again.argmax()]) + 1
            raise SettingsError(
                f"{self.plan.path}: row {row:,} is a second step of its time, now that rows are "
                "sorted; --repair duplicates would keep the first"
            )
        self.counts["duplicates"] += int(again.sum())
        return {k: v[~again] for k, v in fields.items()} if again.any() else fields

    def write(self, fields: Fields, count: int) -> None:
        """Writes the first `count` rows as steps; the others wait."""
        if count < 1:
            self.waiting = fields
            return
        same, fields = self.with_ends(fields)
        next_obs, dropped = self.successors(fields, same)
        next_dropped = np.append(dropped[1:], False) & same
        cut_off = np.append(fields["truncated"][1:], False)
        truncated = fields["truncated"] | (next_dropped & cut_off)
        number = len(same)
        episode = self.episode + np.concatenate([[0], np.cumsum(~same)[:-1]])
        position = self.position + np.arange(number)
        elsewhere = same & self.leads_elsewhere(fields)
        self.counts["other"] += int(elsewhere[:count].sum())
        over = ~same | next_dropped | elsewhere
        over[count - 1] = True
        kept = np.flatnonzero(~dropped[:count])
        self.counts["last"] += count - len(kept)
        if len(kept):
            steps = {k: v[kept] for k, v in fields.items() if k not in ("next_obs", "mask")}
            steps |= {"truncated": truncated[kept], "obs": self.observed(fields, kept)}
            steps["next_obs"] = next_obs(kept)
            last = np.flatnonzero(over[kept])
            start = np.concatenate([[0], last[:-1] + 1])
            code = steps["code"][start]
            ids = None if not self.named else code if self.names is None else self.names[code]
            self.writer.add(steps, last, episode[kept][last], position[kept][start], ids=ids)
        if count < number:
            self.episode, self.position = int(episode[count]), int(position[count])
        self.waiting = {k: v[count:] for k, v in fields.items()}

    def with_ends(self, fields: Fields) -> tuple[np.ndarray, Fields]:
        """Whether the next row is the next step [rows], and the rows with the ends that the user
        named."""
        code = fields["code"]
        other = np.append(np.diff(code) != 0, True)
        gap = np.append(fields["gap"][1:], False)
        if not self.flagged:
            fields = fields | {self.plan.options.ends: other & ~gap}
        done = fields["terminated"] | fields["truncated"]
        return ~(other | gap | done), fields

    def successors(self, fields: Fields, same: np.ndarray) -> tuple[Any, np.ndarray]:
        """A function from rows to the observations that they led to; and the rows [rows] whose
        successor is not known, and matters."""
        if "next_obs" in fields:
            known: Any = fields["next_obs"]
            masks = self.next_row(same)

            def given(kept: np.ndarray) -> Any:
                if "mask" not in fields:
                    return known[kept]
                return {"action_mask": fields["mask"][masks[kept]], "obs": known[kept]}

            return given, np.zeros(len(same), bool)
        at = self.next_row(same)
        return lambda kept: self.observed(fields, at[kept]), ~same & ~fields["terminated"]

    def leads_elsewhere(self, fields: Fields) -> np.ndarray:
        """The rows [rows] whose given successor is not what the row below observed."""
        differs = np.zeros(len(fields["row"]), bool)
        if "next_obs" in fields:
            differs[:-1] = (fields["next_obs"][:-1] != fields["obs"][1:]).any(1)
        return differs

    def next_row(self, same: np.ndarray) -> np.ndarray:
        """The row of the next step; where there is none, the row itself."""
        return np.arange(len(same)) + same

    def observed(self, fields: Fields, kept: np.ndarray) -> Any:
        """The observations of rows."""
        if "mask" not in fields:
            return fields["obs"][kept]
        return {"action_mask": fields["mask"][kept], "obs": fields["obs"][kept]}

    def notes(self) -> tuple[str, ...]:
        """What was changed or left out, as sentences."""
        counts, notes = self.counts, []
        if counts["missing"]:
            notes.append(f"{counts['missing']:,} rows left out, and their episodes cut there")
        if counts["duplicates"]:
            notes.append(f"{counts['duplicates']:,} rows left out that repeat a time")
        if counts["both-ends"]:
            notes.append(f"{counts['both-ends']:,} steps with both ends counted as terminated")
        if counts["other"]:
            notes.append(
                f"{counts['other']:,} steps lead to another observation than the row below has: "
                "their episodes were cut there"
            )
        if counts["last"]:
            notes.append(
                f"{counts['last']:,} last rows of truncated or cut episodes became only the "
                "successors of the steps before them: what followed them is not in the data"
            )
        return tuple(notes)


def in_order(plan: Any, rows: Iterable[Fields], scratch: Path) -> Iterator[Fields]:
    """The rows sorted by episode and time, where they are not; otherwise as they come."""
    if plan.scan.order.sorted:
        yield from rows
        return
    kinds: dict[str, Any] = {}
    for fields in rows:
        for name, value in fields.items():
            kinds.setdefault(name, (value.dtype, value.shape[1:]))
            with open(scratch / name, "ab") as file:
                file.write(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    held = {
        name: np.memmap(scratch / name, dtype, "r").reshape(-1, *shape)
        for name, (dtype, shape) in kinds.items()
    }
    order = np.lexsort((held["time"], held["code"]))
    for first in range(0, len(order), CHUNK):
        yield {name: value[order[first : first + CHUNK]] for name, value in held.items()}
