"""`spinward runs`: lists the runs of a folder."""

from pathlib import Path
from typing import Any

from spinward.cli.parser import Parser, print_json, say


def run(words: list[str]) -> int:
    parser = Parser("runs", "List the runs of a folder.")
    parser.add_argument("--out", default="runs", help="the folder")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    ask = parser.read(words)
    from spinward.store import files

    folder = Path(ask.out)
    paths = [p.parent for p in sorted(folder.glob("*/config.json"))]
    rows = [describe(p) for p in paths if not files.TEMPORARY.fullmatch(p.name)]
    if ask.json:
        print_json(rows)
        return 0
    if not rows:
        say(f"{folder} holds no runs; begin with: spinward train ppo CartPole-v1")
    for row in rows:
        if "error" in row:
            print(f"{row['run']:<40}{row['error']}")
            continue
        done = f"{row['env_steps']:,} of {row['steps']:,}"
        what = row["metric"].removeprefix("episode ")
        form = ".1f" if what == "return" else ".4g"
        score = "-" if row["return"] is None else f"{row['return']:{form}}"
        seeds = f"{row['seeds']:>3} {'seed ' if row['seeds'] == 1 else 'seeds'}"
        print(f"{row['run']:<40}{seeds}  {done:>24} steps  {what} {score}")
    return 0


def describe(path: Path) -> dict[str, Any]:
    from spinward.errors import SpinwardError
    from spinward.report.results import shown, summary
    from spinward.run.config import choices
    from spinward.run.run import load

    if path.is_symlink():
        return {"run": str(path), "error": "a link to another folder: give its path to --out"}
    try:
        run = load(path)
        config, points = run.config, run.points
        return {
            "run": str(path),
            "algorithm": config["algorithm"]["class"].rpartition(":")[2],
            "env": str(choices(config)[0]),
            "seeds": config["seeds"],
            "steps": config["steps"],
            "env_steps": points[-1]["env_steps"] if points else 0,
            "return": summary(run)["value"] if points else None,
            "metric": shown(run).label,
        }
    except (SpinwardError, OSError) as error:
        return {"run": str(path), "error": str(error)}
