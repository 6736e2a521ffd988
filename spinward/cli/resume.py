"""`spinward resume RUN`: continues a run where it stopped, or makes it longer."""

import time

from spinward import interrupts
from spinward.cli.parser import OLDER, Parser, say
from spinward.cli.train import add_running, finish, require_loggers
from spinward.store import settings


def run(words: list[str]) -> int:
    parser = Parser("resume", "Continue a run where it stopped, or make it longer.")
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--trust", action="store_true", help="run code of the run's own")
    parser.add_argument("--older", action="store_true", help=OLDER)
    parser.add_argument(
        "--steps", type=settings.int_or_whole, default=0, help="of each seed, to make it longer"
    )
    add_running(parser)
    ask = parser.read(words)
    from spinward.cli.progress import Progress
    from spinward.report.results import resume_note
    from spinward.run.folders import folders
    from spinward.run.run import load
    from spinward.store import checkpoint

    began = time.monotonic()
    interrupts.set_run(ask.run)
    run = load(ask.run, ask.trust, ask.older)
    require_loggers(ask.logger)
    if ask.steps:
        run.extend(ask.steps)  # which says how the run differs from one of this length at once
    kept = [checkpoint.checkpoints(f / "checkpoints") for f in folders(run.path)]
    note = resume_note(run) if any(kept) else "no step is saved yet, so it begins anew"
    longer = f"to {ask.steps:,} steps of each seed"
    say(f"resuming {run.path}: {longer if ask.steps and any(kept) else note}")
    run.train(Progress(run.made.experiment), ask.checkpoint_every, loggers=tuple(ask.logger))
    finish(run, began, ask)
    return 0
