"""`spinward diagnose RUN`: what to think of a run on logged data, without acting."""

from pathlib import Path

from spinward.cli.parser import OLDER, Parser, print_json


def run(words: list[str]) -> int:
    parser = Parser("diagnose", "Say whether a run on logged data is over- or under-fitted.")
    parser.add_argument("run", help="the folder of a run on logged data alone")
    parser.add_argument("--twin", default="", help="the same run with wider networks")
    parser.add_argument("--out", default="", help="a .png for the picture; default in the run")
    parser.add_argument("--older", action="store_true", help=OLDER)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    ask = parser.read(words)
    from spinward.report import diagnosis as drawing
    from spinward.report import plot
    from spinward.run import diagnosis
    from spinward.run.run import load

    diagnosed = load(ask.run, older=ask.older)
    result = diagnosis.diagnose(diagnosed, load(ask.twin, older=ask.older) if ask.twin else None)
    path = Path(ask.out) if ask.out else diagnosed.path / "diagnosis.png"
    plot.save(drawing.figure(diagnosis.curves_of(diagnosed), result, diagnosed.path.name), path)
    numbers = diagnosis.write(diagnosed, result)
    if ask.json:
        print_json(result)
        return 0
    print("\n".join(diagnosis.lines(diagnosed, result)))
    print(f"picture: {path}; numbers: {numbers}")
    return 0
