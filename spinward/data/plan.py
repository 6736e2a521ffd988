"""What is understood of a table of decisions, before a row is written."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spinward.core import Box, Dict, Discrete, Spec
from spinward.data import cells
from spinward.data.cells import CATEGORY, Input
from spinward.data.roles import ENDS, matching, roles_of
from spinward.data.scan import EXACT, REPAIRS, Problem, Scan
from spinward.data.tables import TableFile
from spinward.errors import SettingsError
from spinward.experience.episodes import PROBABILITY


@dataclasses.dataclass(frozen=True)
class ImportOptions:
    """What a user says of a table."""

    roles: dict[str, str] = dataclasses.field(default_factory=dict)  # columns by role
    ends: str = ""  # what the last step of an episode is: terminated or truncated
    repair: tuple[str, ...] = ()
    fill: str = ""  # columns of the observation whose cells may be missing
    actions: int = 0  # choices of a discrete action, where the table does not have all
    low: float | None = None  # bounds of a continuous action
    high: float | None = None
    env: str = ""
    licence: str = ""

    def check(self) -> None:
        """Raises SettingsError for an answer that is none."""
        if self.ends not in ("", "terminated", "truncated"):
            raise SettingsError(f"ends={self.ends!r}: expected terminated or truncated")
        if unknown := [name for name in self.repair if name not in REPAIRS]:
            known = ", ".join(REPAIRS)
            raise SettingsError(f"there is no repair {unknown[0]!r}; there is {known}")


class Plan:
    """What is understood of a table, before a row is written."""

    def __init__(self, path: Path, options: ImportOptions):
        options.check()
        self.path, self.options = path, options
        schema = TableFile(path).schema()
        self.roles = roles_of(path, schema.names, options.roles)
        self.table = TableFile(path, self.floats(schema))
        self.scan = Scan(self.table, self.roles, schema, self.filled(schema))
        self.problems = list(self.scan.problems())
        self.obs = [self.scan.input(name) for name in self.roles.obs]
        self.next_obs = [
            one._replace(column=name)
            for one, name in zip(self.obs, self.roles.next_obs, strict=False)
        ]
        self.action = [self.scan.input(name) for name in self.roles.action]
        self.discrete = self.is_discrete()
        self.questions = list(self.asked())

    def filled(self, schema: Any) -> frozenset[str]:
        """The columns whose cells may be missing, with those of what followed.

        Raises:
            SettingsError: one is not observed, or has lists.
        """
        if not self.options.fill:
            return frozenset()
        names = schema.names
        columns = matching(self.path, names, self.options.fill)
        if other := [name for name in columns if name not in self.roles.obs]:
            raise SettingsError(f"--fill {other[0]}: it is no column of the observation")
        kinds = {name: cells.kind_of(schema.field(name).type) for name in columns}
        if lists := [name for name, kind in kinds.items() if kind == cells.LIST]:
            raise SettingsError(f"--fill {lists[0]}: its cells are lists; fill numbers and texts")
        if double := [name for name in columns if f"{name}?" in names]:
            raise SettingsError(f"--fill {double[0]}: the table has a column {double[0]}? already")
        after = dict(zip(self.roles.obs, self.roles.next_obs, strict=False))
        return frozenset(columns) | {after[name] for name in columns if name in after}

    def floats(self, schema: Any) -> frozenset[str]:
        """The columns of numbers that need not be whole, whatever the first rows have."""
        roles = self.roles
        names = {*roles.obs, *roles.next_obs, roles.reward, roles.action_prob, roles.time}
        names |= set(roles.action) if len(roles.action) > 1 else set()
        kinds = {n: cells.kind_of(schema.field(n).type) for n in names if n}
        return frozenset(n for n, kind in kinds.items() if kind == cells.NUMBER)

    def is_discrete(self) -> bool:
        names = self.roles.action
        known = [n in self.scan.whole or self.scan.seen[n].kind == CATEGORY for n in names]
        if self.options.actions and self.scan.seen[names[0]].parts == 0:
            return len(names) == 1
        return len(names) == 1 and all(known)

    def asked(self) -> Iterator[str]:
        """What only the user can say."""
        roles, seen = self.roles, self.scan.seen[self.roles.action[0]]
        alone = len(roles.action) == 1 and seen.kind == cells.NUMBER and not self.discrete
        if alone and seen.parts == 0 and self.options.low is None:
            yield (
                f"{roles.action[0]} has whole numbers that are written as decimals: say --actions "
                "N where they are choices, or --action-low and --action-high where they are amounts"
            )
        if self.options.ends:
            return
        if roles.done and not (roles.terminated or roles.truncated):
            yield (
                f"{roles.done} does not say which kind of end it is: say --ends terminated where "
                "the future is worth nothing after it, or --ends truncated where only a time "
                "limit or the recording ends there"
            )
        elif not (roles.terminated or roles.truncated):
            yield (
                "no column says where episodes end: say --ends terminated where nothing follows "
                "the last row of an episode, or --ends truncated where it was only cut there"
            )

    @property
    def refused(self) -> list[Problem]:
        """The problems that are not to be repaired."""
        repair = self.options.repair
        left_out = self.scan.rows if "last-line" in repair and self.open_end else 0
        unrepaired = [p for p in self.problems if not p.repair or p.repair not in repair]
        return [p for p in unrepaired if not (left_out and p.row == left_out)]

    @property
    def open_end(self) -> bool:
        """Whether the last line of the file has no end."""
        return any(p.repair == "last-line" for p in self.problems)

    def require(self) -> None:
        """Raises SettingsError where there is a question or a problem."""
        reasons = [*self.questions, *map(str, self.refused)]
        if reasons:
            more = f" ({len(reasons) - 1} more: --dry-run lists them)" if len(reasons) > 1 else ""
            raise SettingsError(f"{self.path}: {reasons[0]}{more}")

    @property
    def action_space(self) -> Any:
        if not self.discrete:
            seen = [self.scan.seen[name] for name in self.roles.action]
            widths = [how.width for how in self.action]
            low = [s.low if self.options.low is None else self.options.low for s in seen]
            high = [s.high if self.options.high is None else self.options.high for s in seen]
            each = [
                tuple(float(x) for x, n in zip(values, widths, strict=True) for _ in range(n))
                for values in (low, high)
            ]
            return Box((sum(widths),), each[0], each[1])
        seen_one = self.scan.seen[self.roles.action[0]]
        known = len(seen_one.values) or (
            int(seen_one.high) + 1 if np.isfinite(seen_one.high) else 1
        )
        return Discrete(max(known, self.options.actions, 1))

    @property
    def spec(self) -> Spec:
        box = Box((sum(how.width for how in self.obs),))
        if not self.roles.mask:
            return Spec(box, self.action_space)
        mask = Box((len(self.roles.mask),), 0.0, 1.0, "bool")
        return Spec(Dict((("action_mask", mask), ("obs", box))), self.action_space)

    def features(self) -> tuple[str, ...]:
        """A name for each number of an observation."""
        names: list[str] = []
        for how in self.obs:
            if how.kind == CATEGORY:
                names += [f"{how.column}={value}" for value in how.values]
            else:
                several = [f"{how.column}[{i}]" for i in range(how.width)]
                several = [how.column, f"{how.column}?"] if how.fill is not None else several
                names += several if how.width > 1 else [how.column]
        return tuple(names)

    def lines(self) -> list[str]:
        """What was understood, a line for each thing."""
        roles, space = self.roles, self.action_space
        lines = [f"{self.path}: {self.scan.rows:,} rows"]
        for name in ("episode", "time", "reward", *ENDS, PROBABILITY, "next_action"):
            if column := getattr(roles, name):
                lines.append(f"  {name}: {column}")
        lines.append(f"  observation: {self.spec.obs} from {', '.join(map(described, self.obs))}")
        if roles.next_obs:
            lines.append(f"  next observation: {', '.join(roles.next_obs)}")
        if roles.mask:
            lines.append(f"  allowed actions: {', '.join(roles.mask)}")
        actions = ", ".join(map(described, self.action))
        lines.append(f"  action: {space} from {actions}")
        if not self.discrete and self.options.low is None:
            lines.append("    bounds are the extremes in the data: --action-low, --action-high")
        for name in roles.obs:
            seen = self.scan.seen[name]
            if name in self.scan.whole and max(abs(seen.low), abs(seen.high)) > EXACT:
                lines.append(
                    f"  note: whole numbers of {name} are rounded: float32 is exact to {EXACT:,}"
                )
        return lines


def described(how: Input) -> str:
    if how.kind == CATEGORY:
        return f"{how.column} (one of {', '.join(how.values)})"[:120]
    if how.fill is not None:
        return f"{how.column} (if missing {how.fill:.4g}, and whether it was there)"
    return how.column + (f" ({how.width} numbers)" if how.width > 1 else "")


def check_range(plan: Plan) -> None:
    """Raises SettingsError where actions lie outside what the user said."""
    for name in plan.roles.action:
        seen, options = plan.scan.seen[name], plan.options
        low = 0.0 if plan.discrete else options.low
        high = options.actions - 1 if plan.discrete and options.actions else options.high
        if seen.kind == CATEGORY:
            continue
        if low is not None and seen.low < low:
            raise SettingsError(
                f"{plan.path}: column {name} goes down to {seen.low:g}, below {low:g}"
            )
        if high is not None and seen.high > high:
            raise SettingsError(
                f"{plan.path}: column {name} goes up to {seen.high:g}, above {high:g}"
            )
