"""`spinward presets [ALGORITHM]`: settings that are known to work, and their tasks."""

import textwrap
from typing import Any

from spinward.cli.parser import Parser, print_json, say
from spinward.cli.used import formatted, listed


def run(words: list[str]) -> int:
    parser = Parser("presets", "List settings that are known to work, and the tasks they are for.")
    parser.add_argument("algorithm", nargs="?", default="", help="a name; none lists all")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    ask = parser.read(words)
    from spinward.presets.choice import presets_of, with_presets
    from spinward.store import settings

    names = [ask.algorithm] if ask.algorithm else with_presets()
    by_algorithm = {name: presets_of(settings.find("algorithms", name)) for name in names}
    if ask.json:
        print_json([described(name, p) for name, presets in by_algorithm.items() for p in presets])
        return 0
    if not any(by_algorithm.values()):
        say(f"{ask.algorithm} has no presets: `spinward explain {ask.algorithm}` has its defaults")
    for name, presets in by_algorithm.items():
        for p in presets:
            print(f"{name} {p.name}: {p.serves}")
            text = listed(dict(p.settings))
            print(textwrap.fill(text, 100, initial_indent="  ", subsequent_indent="  "))
    return 0


def described(algorithm: str, preset: Any) -> dict[str, Any]:
    """A preset as JSON; a setting without a JSON form is a text."""
    plain = (bool, int, float, str, tuple)
    values = {k: v if isinstance(v, plain) else formatted(v) for k, v in preset.settings.items()}
    return {
        "algorithm": algorithm,
        "name": preset.name,
        "for": preset.serves,
        "settings": values,
    }
