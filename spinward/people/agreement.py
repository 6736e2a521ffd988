"""How far labellers agree with each other, with known answers, and with themselves.

Raw agreement; Cohen's kappa (1960); Krippendorff's alpha for nominal data (2011, "Computing
Krippendorff's Alpha-Reliability", section C), which allows missing answers.
"""

import itertools
import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from spinward.people.answers import CANNOT_TELL, EQUAL, FIRST, SECOND
from spinward.people.database import Database

QUICK_S = 0.3  # answers that take less were given without looking
MANY = 20  # answers from which a labeller is rated
DECISIVE = (FIRST, SECOND)

Answers = dict[Any, dict[int, str]]  # from a comparison to each labeller's answer


class Standing(NamedTuple):
    """What one labeller's answers say about the labeller."""

    labeller: int
    name: str
    left_out: bool
    answers: int
    equal: float | None  # share of the answers
    cannot_tell: float | None
    left: float | None  # share of decisive answers that chose the left item
    left_p: float | None  # two-sided binomial test of `left` against one half
    seconds: float | None  # median time of an answer
    quick: float | None  # share of answers in less than QUICK_S
    agreement: float | None  # with the others, where both were decisive
    gold: float | None  # share of known answers that were given
    repeats: float | None  # share of repeated questions with the same answer again
    warnings: tuple[str, ...]


class Agreement(NamedTuple):
    """How far all labellers agree."""

    raw: float | None  # over all pairs of answers to one comparison, both decisive
    kappa: float | None  # mean over pairs of labellers, weighted by their common answers
    alpha: float | None
    compared: int  # pairs of answers


def answers_of(database: Database) -> Answers:
    """The valid answers to each comparison."""
    answers: Answers = defaultdict(dict)
    for r in database.rows("SELECT question, first, second, labeller, answer FROM valid"):
        answers[r["question"], r["first"], r["second"]][r["labeller"]] = r["answer"]
    return answers


def agreement(answers: Answers) -> Agreement:
    units = [list(each.values()) for each in answers.values()]
    same = [a == b for unit in units for a, b in itertools.combinations(decisive(unit), 2)]
    kappas, weights = [], []
    for one, other in itertools.combinations(
        sorted({p for each in answers.values() for p in each}), 2
    ):
        both = [(e[one], e[other]) for e in answers.values() if one in e and other in e]
        value = kappa(both)
        if value is not None:
            kappas.append(value * len(both))
            weights.append(len(both))
    mean = sum(kappas) / sum(weights) if weights else None
    return Agreement(share(same), mean, alpha(units), len(same))


def decisive(answers: Iterable[str]) -> list[str]:
    return [answer for answer in answers if answer in DECISIVE]


def kappa(pairs: list[tuple[str, str]]) -> float | None:
    """Cohen's kappa (p_o - p_e) / (1 - p_e) of two labellers' answers to the same comparisons;
    None where both always gave one and the same answer."""
    if not pairs:
        return None
    n = len(pairs)
    observed = sum(a == b for a, b in pairs) / n
    first, second = (Counter(column) for column in zip(*pairs, strict=True))
    expected = sum(first[c] * second[c] for c in first) / n**2
    return None if expected == 1.0 else (observed - expected) / (1.0 - expected)


def alpha(units: list[list[str]]) -> float | None:
    """Krippendorff's alpha of nominal values: 1 - D_o / D_e, over units with two answers or more;
    None where no two answers differ in kind, or there are no such units."""
    units = [unit for unit in units if len(unit) > 1]
    totals: Counter[str] = Counter(value for unit in units for value in unit)
    n = sum(totals.values())
    differing = sum(
        sum(1 for a, b in itertools.permutations(unit, 2) if a != b) / (len(unit) - 1)
        for unit in units
    )
    expected = n * n - sum(count * count for count in totals.values())
    return 1.0 - (n - 1) * differing / expected if expected else None


def standings(database: Database) -> list[Standing]:
    """What is known of each labeller, those with warnings last."""
    answers = answers_of(database)
    people = database.rows("SELECT * FROM labeller ORDER BY id")
    rows = [standing(database, answers, p) for p in people]
    return sorted(rows, key=lambda s: len(s.warnings))


def standing(database: Database, answers: Answers, person: Any) -> Standing:
    rows = database.rows(
        "SELECT r.*, q.gold, q.repeats FROM valid r JOIN question q ON q.id = r.question "
        "WHERE r.labeller = ?",
        person["id"],
    )
    given, me = [r["answer"] for r in rows], person["id"]
    # a ranking is one act, whose time counts once
    acts = {r["act"]: r["answered_at"] - r["shown_at"] for r in rows}
    sides = [on_left(r) for r in rows if r["answer"] in DECISIVE]
    others = [
        each[me] == answer
        for each in answers.values()
        if each.get(me) in DECISIVE
        for who, answer in each.items()
        if who != me and answer in DECISIVE
    ]
    gold = [r["answer"] == r["gold"] for r in rows if r["gold"]]
    values = Standing(
        me, person["name"], bool(person["left_out"]), len(acts),
        share(a == EQUAL for a in given), share(a == CANNOT_TELL for a in given),
        share(sides), binomial(sum(sides), len(sides)),
        statistics.median(acts.values()) if acts else None,
        share(t < QUICK_S for t in acts.values()), share(others), share(gold),
        share(again(rows)), (),
    )  # fmt: skip
    return values._replace(warnings=warnings(values))


def on_left(row: Any) -> bool:
    """Whether a decisive answer chose the item that was shown further left."""
    shown = json.loads(row["shown"])
    first, second = row["first"], row["second"]
    better, worse = (first, second) if row["answer"] == FIRST else (second, first)
    return shown.index(better) < shown.index(worse)


def again(rows: list[Any]) -> list[bool]:
    """For each repeated question, whether its answer was the same as the first time."""
    by_question = {r["question"]: preferred(r) for r in rows}
    return [preferred(r) == by_question[r["repeats"]] for r in rows if r["repeats"] in by_question]


def preferred(row: Any) -> Any:
    """The preferred item, or the kind of answer that prefers none."""
    return {FIRST: row["first"], SECOND: row["second"]}.get(row["answer"], row["answer"])


def warnings(s: Standing) -> tuple[str, ...]:
    """What is suspicious about a labeller's answers."""
    if s.answers < MANY:
        return ()
    lines = []
    if s.left_p is not None and s.left is not None and s.left_p < 0.001:
        side = "left" if s.left > 0.5 else "right"
        lines.append(f"chose {side} in {max(s.left, 1 - s.left):.0%} of decisive answers")
    if s.quick and s.quick > 0.1:
        lines.append(f"{s.quick:.0%} of answers in less than {QUICK_S:g} s")
    if s.gold is not None and s.gold < 0.7:
        lines.append(f"only {s.gold:.0%} of known answers right")
    if s.agreement is not None and s.agreement < 0.6:
        lines.append(f"agrees with others in only {s.agreement:.0%}")
    if s.repeats is not None and s.repeats < 0.6:
        lines.append(f"agrees with own earlier answers in only {s.repeats:.0%}")
    return tuple(lines)


def share(values: Iterable[bool]) -> float | None:
    """The share of values that are true; None of no values."""
    values = list(values)
    return sum(values) / len(values) if values else None


def binomial(count: int, of: int) -> float | None:
    """The probability that fair coins differ from half as much as `count` heads of `of` do."""
    if not of:
        return None
    tail = min(count, of - count)
    return min(1.0, 2.0 * sum(math.comb(of, k) for k in range(tail + 1)) / 2**of)
