"""`spinward explain ALGORITHM[.SETTING]`: meaning, type and default."""

import importlib

from spinward.run.cli.parser import Parser, print_json


def run(words: list[str]) -> int:
    parser = Parser("explain", "Say what an algorithm or one of its settings means.")
    parser.add_argument("what", help="as in ppo or ppo.clip")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    ask = parser.read(words)
    from spinward.errors import SettingsError
    from spinward.run import settings

    name, _, wanted = ask.what.partition(".")
    kind = settings.find("algorithms", name)
    rows = [
        {"name": n, "type": settings.describe(hint), "default": default, "meaning": note}
        for n, hint, default, note in settings.flags(kind)
    ]
    if wanted:
        import difflib

        wanted = wanted.replace("-", "_")
        names = [row["name"] for row in rows]
        if wanted not in names:
            near = ", ".join(difflib.get_close_matches(wanted, names, 3)) or ", ".join(names)
            raise SettingsError(f"{name} has no setting {wanted!r}; expected one of {near}")
        rows = [row for row in rows if row["name"] == wanted]
    if ask.json:
        print_json(rows)
        return 0
    if not wanted:
        print(importlib.import_module(kind.__module__).__doc__)
    for row in rows:
        print(f"{row['name']:<18}{row['default']!s:<12}{row['meaning']} ({row['type']})")
    return 0
