"""`spinward plot RUN...`: curves of a metric as a picture or a table."""

from pathlib import Path
from typing import Any

from spinward.cli.parser import OLDER, Parser, print_json


def run(words: list[str]) -> int:
    parser = Parser("plot", "Draw learning curves of one or more runs, or print them as a table.")
    parser.add_argument("runs", nargs="+", help="folders of runs")
    parser.add_argument("--metric", default="", help="of the log: loss, entropy; default: return")
    parser.add_argument("--out", default="", help="a .png, .svg or .pdf; default in the first run")
    parser.add_argument("--table", action="store_true", help="print a table in place of a picture")
    parser.add_argument("--profile", action="store_true", help="draw performance profiles")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_argument("--older", action="store_true", help=OLDER)
    ask = parser.read(words)
    from spinward.report import plot
    from spinward.report.results import curves, require_metric, shown
    from spinward.run.config import choices
    from spinward.run.run import load

    runs = [load(path, older=ask.older) for path in ask.runs]
    metric = ask.metric or shown(runs[0]).metric  # which of a run on texts is no return
    for run in runs:
        require_metric(run, metric)
    lines = [curve for run in runs for curve in curves(run, metric)]
    of_returns = metric == "episode_return"
    if ask.json:
        print_json([numbers(run, metric) for run in runs])
        return 0
    if ask.table:
        print(plot.table(lines))
        return 0
    title = ", ".join(dict.fromkeys(str(choices(run.config)[0]) for run in runs))
    picture = "profile" if ask.profile else "curve" if of_returns else metric
    path = Path(ask.out) if ask.out else runs[0].path / f"{picture}.png"
    if ask.profile:
        finals = {run.path.name: run.final() for run in runs}
        plot.save(plot.profiles(finals, title), path)
    else:
        plot.save(plot.figure(lines, title, values=metric.replace("_", " ")), path)
    print(f"picture: {path}")
    return 0


def numbers(run: Any, metric: str) -> dict[str, Any]:
    """The last values of a metric, and for returns those of evaluations too."""
    from spinward.report.results import evaluated, final, summary

    of_returns = metric == "episode_return"
    end = summary(run) if of_returns else final(run, metric)
    scores = evaluated(run) if of_returns else None
    also = {"evaluation": scores} if scores else {}
    return {"run": str(run.path), "metric": metric, "final": end, **also}
