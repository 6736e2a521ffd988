"""How far the labelling of a run is: for all labellers and for one."""

from typing import Any

from spinward.people.database import Database

WINDOW_S = 600.0  # of the rate
POINTS = 200  # of the predictor's curve


def of(database: Database, labeller: int, now: float) -> dict[str, Any]:
    """Counts of answers, the rate, the minutes left, and the predictor's accuracy over time. Other
    labellers' answers are not in it."""
    facts = database.facts()
    answered = database.number(
        "SELECT count(DISTINCT r.act) FROM valid r JOIN question q ON q.id = r.question "
        "WHERE q.gold IS NULL AND q.repeats IS NULL"
    )
    mine = database.number("SELECT count(DISTINCT act) FROM valid WHERE labeller = ?", labeller)
    recent = database.rows(
        "SELECT min(answered_at) AS at FROM valid WHERE labeller = ? AND answered_at > ? "
        "GROUP BY act ORDER BY at",
        *(labeller, now - WINDOW_S),
    )
    span = max(now - recent[0]["at"], 1.0) if len(recent) > 1 else 0.0
    rate = 60.0 * len(recent) / span if span else None
    waiting = database.number("SELECT sum(overlap - answers) FROM question WHERE answers < overlap "
                              "AND gold IS NULL AND repeats IS NULL")  # fmt: skip
    budget = int(facts.get("budget", 0)) or answered + waiting
    left = max(budget - answered, 0)
    curve = database.rows(
        "SELECT env_steps, labels, accuracy FROM progress WHERE accuracy IS NOT NULL "
        "ORDER BY id DESC LIMIT ?",
        POINTS,
    )
    return {
        "answered": answered,
        "mine": mine,
        "waiting": waiting,
        "budget": budget,
        "answers_per_minute": round(rate, 1) if rate else None,
        "minutes_left": round(left / rate, 1) if rate else None,
        "state": facts.get("state", "unknown"),
        "accuracy": [[r["env_steps"], r["labels"], r["accuracy"]] for r in reversed(curve)],
    }
