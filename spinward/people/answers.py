"""The answers to a question, and the comparisons that they stand for."""

import itertools

from spinward.errors import SettingsError

FIRST, SECOND, EQUAL, CANNOT_TELL = "first", "second", "equal", "cannot_tell"
ANSWERS = (FIRST, SECOND, EQUAL, CANNOT_TELL)
SHARE = {FIRST: 1.0, SECOND: 0.0, EQUAL: 0.5}  # of the first item; `cannot_tell` gives no label


def pair(items: tuple[int, ...], answer: str) -> list[tuple[int, int, str]]:
    """The comparison of a question of two items."""
    if len(items) != 2:
        raise SettingsError(f"this question ranks {len(items)} items; send their order")
    return [(*items, answer)]  # type: ignore[list-item]


def ranked(items: tuple[int, ...], order: tuple[int, ...]) -> list[tuple[int, int, str]]:
    """The comparisons of a ranking."""
    if sorted(order) != sorted(items):
        raise SettingsError(f"order={list(order)!r:.80} must name each item of the question once")
    place = {item: i for i, item in enumerate(order)}
    pairs = itertools.combinations(items, 2)
    return [(a, b, FIRST if place[a] < place[b] else SECOND) for a, b in pairs]
