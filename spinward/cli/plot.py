"""`spinward plot RUN...`: curves of a metric as a picture or a table."""

from pathlib import Path

from spinward.cli.parser import OLDER, Parser, print_json


def run(words: list[str]) -> int:
    parser = Parser("plot", "Draw learning curves of one or more runs, or print them as a table.")
    parser.add_argument("runs", nargs="+", help="folders of runs")
    parser.add_argument("--metric", default="episode_return", help="of the log: loss, entropy, ...")
    parser.add_argument("--out", default="", help="a .png, .svg or .pdf; default in the first run")
    parser.add_argument("--table", action="store_true", help="print a table in place of a picture")
    parser.add_argument("--profile", action="store_true", help="draw performance profiles")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_argument("--older", action="store_true", help=OLDER)
    ask = parser.read(words)
    from spinward.report import plot
    from spinward.report.results import curve, final, require_metric, summary
    from spinward.run.config import choices
    from spinward.run.run import load

    runs, metric = [load(path, older=ask.older) for path in ask.runs], ask.metric
    for run in runs:
        require_metric(run, metric)
    curves = [curve(run, metric) for run in runs]
    of_returns = metric == "episode_return"
    if ask.json:
        ends = [summary(run) if of_returns else final(run, metric) for run in runs]
        rows = zip(runs, ends, strict=True)
        print_json([{"run": str(run.path), "metric": metric, "final": end} for run, end in rows])
        return 0
    if ask.table:
        print(plot.table(curves))
        return 0
    title = ", ".join(dict.fromkeys(str(choices(run.config)[0]) for run in runs))
    picture = "profile" if ask.profile else "curve" if of_returns else metric
    path = Path(ask.out) if ask.out else runs[0].path / f"{picture}.png"
    if ask.profile:
        finals = {run.path.name: run.final() for run in runs}
        plot.save(plot.profiles(finals, title), path)
    else:
        plot.save(plot.figure(curves, title, values=metric.replace("_", " ")), path)
    print(f"picture: {path}")
    return 0
