"""`spinward plot RUN...`: learning curves as a picture or a table."""

from pathlib import Path

from spinward.run.cli.parser import Parser, print_json, say


def run(words: list[str]) -> int:
    parser = Parser("plot", "Draw learning curves of one or more runs, or print them as a table.")
    parser.add_argument("runs", nargs="+", help="folders of runs")
    parser.add_argument("--out", default="", help="a .png, .svg or .pdf; default in the first run")
    parser.add_argument("--table", action="store_true", help="print a table in place of a picture")
    parser.add_argument("--profile", action="store_true", help="draw performance profiles")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    ask = parser.read(words)
    from spinward.run import plot
    from spinward.run.experiment import choices
    from spinward.run.results import curve, summary
    from spinward.run.run import load

    runs = [load(path) for path in ask.runs]
    if ask.json:
        print_json([{"run": str(run.path), "final": summary(run)} for run in runs])
        return 0
    curves = [curve(run) for run in runs]
    if ask.table:
        print(plot.table(curves))
        return 0
    title = ", ".join(dict.fromkeys(str(choices(run.config)[0]) for run in runs))
    picture = "profile.png" if ask.profile else "curve.png"
    path = Path(ask.out) if ask.out else runs[0].path / picture
    if ask.profile:
        finals = {run.path.name: run.final() for run in runs}
        plot.save(plot.profiles(finals, title), path)
    else:
        plot.save(plot.figure(curves, title), path)
    say(f"picture: {path}")
    return 0
