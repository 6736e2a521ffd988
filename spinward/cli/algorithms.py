"""`spinward algorithms`: lists the algorithms."""

from spinward.cli.parser import Parser, print_json


def run(words: list[str], package: str = "algorithms") -> int:
    parser = Parser(package, f"List the {package}.")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    ask = parser.read(words)
    import importlib

    from spinward.store.settings import modules

    rows = []
    for name in modules(package):
        text = importlib.import_module(f"spinward.{package}.{name}").__doc__ or ""
        rows.append({"name": name, "about": " ".join(text.split("\n\n")[0].split())})
    if ask.json:
        print_json(rows)
    else:
        print("\n".join(f"{row['name']:<16}{row['about']}" for row in rows))
    return 0
