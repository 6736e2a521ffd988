"""`spinward report RUN...`: one self-contained HTML file."""

from pathlib import Path

from spinward.cli.parser import OLDER, Parser


def run(words: list[str]) -> int:
    parser = Parser("report", "Write one self-contained HTML file on a run.")
    parser.add_argument("runs", nargs="+", help="folders; the first is reported, all are drawn")
    parser.add_argument("--out", default="", help="the file; default report.html in the run")
    parser.add_argument("--older", action="store_true", help=OLDER)
    ask = parser.read(words)
    from spinward.report.results import write_report
    from spinward.run.run import load

    first, *others = (load(path, older=ask.older) for path in ask.runs)
    path = Path(ask.out) if ask.out else None
    print(f"report: {write_report(first, path, tuple(others))}")
    return 0
