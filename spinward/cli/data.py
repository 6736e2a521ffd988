"""`spinward data record RUN --out FOLDER`: a policy's transitions, to learn from."""

from pathlib import Path

from spinward.cli.parser import OLDER, Parser


def run(words: list[str]) -> int:
    parser = Parser("data", "Record transitions of a run's policy as a data set.")
    parser.add_argument("what", choices=["record"], help="what to do")
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--out", required=True, help="the data set's folder")
    parser.add_argument("--steps", type=int, default=10_000, help="transitions")
    parser.add_argument("--seed", type=int, default=0, help="which of the run's seeds acts")
    parser.add_argument("--explore", action="store_true", help="act as in training")
    parser.add_argument("--licence", default="", help="of the data, for the card")
    parser.add_argument("--trust", action="store_true", help="run code of the run's own")
    parser.add_argument("--older", action="store_true", help=OLDER)
    ask = parser.read(words)
    from spinward.run.recording import record
    from spinward.run.run import load

    run_read = load(ask.run, ask.trust, ask.older)
    rows = record(run_read, Path(ask.out), ask.steps, ask.seed, ask.explore, ask.licence)
    print(f"{rows:,} transitions: {ask.out}")
    return 0
