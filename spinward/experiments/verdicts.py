"""Verdicts by whole intervals: a claim holds where all of an interval is where it says, fails where
none of it is, and cannot be told where the interval has the border, or where there is none."""

from spinward.experiments.reproduction import Row


def above(row: Row, limit: float) -> str:
    """The verdict that a number is above a limit, by its whole interval."""
    if row.low > limit:
        return "reproduced"
    return "not reproduced" if row.high < limit else "cannot tell"


def below(row: Row, limit: float) -> str:
    if row.high < limit:
        return "reproduced"
    return "not reproduced" if row.low > limit else "cannot tell"


def within(row: Row, reach: float) -> str:
    """The verdict that a number is no further than `reach` from the published one."""
    centre = row.published or 0.0
    return all_of(above(row, centre - reach), below(row, centre + reach))


def all_of(*parts: str) -> str:
    """The verdict on a claim of several parts: one that fails makes it fail."""
    return next((v for v in ("not reproduced", "cannot tell") if v in parts), "reproduced")
