"""`spinward explain ALGORITHM[.SETTING] [ENV]`: meaning, type and value of settings."""

from typing import Any

from spinward.cli.parser import Parser, print_json
from spinward.cli.used import Setting, choice_of, docstring, formatted, statement, used


def run(words: list[str]) -> int:
    parser = Parser("explain", "Say what an algorithm or one of its settings means.")
    parser.add_argument("what", help="as in ppo or ppo.clip")
    parser.add_argument("env", nargs="?", default="", help="to see the values that are used in it")
    parser.add_argument("--steps", type=float, default=100_000, help="length of the run in it")
    parser.add_argument("--preset", default="", help="by its name, or tuned; none: the defaults")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    ask = parser.read(words)
    from spinward.store import settings

    name, _, wanted = ask.what.partition(".")
    kind = settings.find("algorithms", name)
    choice = choice_of(kind, ask.env, int(ask.steps), ask.preset) if ask.env else None
    rows = used(kind, choice.settings if choice else {})
    rows = [only(rows, name, wanted)] if wanted else rows
    if ask.json:
        print_json([to_json(row, bool(ask.env)) for row in rows])
        return 0
    if not wanted:
        print(docstring(kind))
    if choice:
        print(f"in {ask.env}: {statement(choice) or 'no preset; the defaults are used'}\n")
    for row in rows:
        default = "" if row.value == row.default else f"; default {formatted(row.default)}"
        what = f"{row.meaning} ({settings.describe(row.hint)}{default})"
        print(f"{row.name:<18}{formatted(row.value):<12}{what}")
    return 0


def only(rows: list[Setting], name: str, wanted: str) -> Setting:
    """The row of one setting.

    Raises:
        SettingsError: there is none; the nearest are named.
    """
    from spinward.errors import SettingsError, nearest

    known = {row.name: row for row in rows}
    wanted = wanted.replace("-", "_")
    if wanted not in known:
        near = ", ".join(nearest(wanted, known, 3) or known)
        raise SettingsError(f"{name} has no setting {wanted!r}; expected one of {near}")
    return known[wanted]


def to_json(row: Setting, in_env: bool) -> dict[str, Any]:
    from spinward.store import settings

    value = {"value": settings.to_json(row.value)} if in_env else {}
    return {
        "name": row.name,
        "type": settings.describe(row.hint),
        "default": row.default,
        **value,
        "meaning": row.meaning,
    }
