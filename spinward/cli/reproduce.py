"""`spinward reproduce [NAME]`: a published claim, measured again."""

from pathlib import Path

from spinward.cli.parser import Parser, print_json, say


def run(words: list[str]) -> int:
    parser = Parser("reproduce", "Measure a published claim again, or list those there are.")
    parser.add_argument("name", nargs="?", default="", help="an experiment; none lists them")
    parser.add_argument("--scale", default="laptop", help="laptop: minutes; paper: in full")
    parser.add_argument("--seeds", type=int, default=None, help="in place of the experiment's own")
    parser.add_argument("--seed", type=int, default=1000, help="the first; fresh from 1000 on")
    parser.add_argument("--out", default="", help="folder of what is written")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    ask = parser.read(words)
    from spinward.experiments import reproduction

    if not ask.name:
        rows = [{"name": n, "about": reproduction.about(n)} for n in reproduction.names()]
        if ask.json:
            print_json(rows)
        else:
            print("\n".join(f"{row['name']:<26}{row['about']}" for row in rows))
        return 0
    out = Path(ask.out) if ask.out else Path("runs/reproduce") / ask.name
    result = reproduction.reproduce(ask.name, ask.scale, ask.seeds, out, ask.seed)
    if ask.json:
        print_json(reproduction.to_json(result, out))
    else:
        print(reproduction.table(result.rows))
    show = say if ask.json else print
    show(f"{result.verdict}: {result.why}")
    show(f"report: {out / 'report.html'}")
    return 0
