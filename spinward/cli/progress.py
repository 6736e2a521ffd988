"""The progress of training: one line that is redrawn in a terminal, and plain lines elsewhere."""

import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spinward.run.progress import Line
    from spinward.run.watching import Point

REDRAW_S, PLAIN_S = 0.1, 30.0  # least time between two lines


class Progress:
    """Prints log points on standard error: in a terminal as one line that is redrawn, and otherwise
    as a plain line every half minute, for a log file."""

    def __init__(self, experiment: Any):
        self.terminal = sys.stderr.isatty()
        self.experiment = experiment
        self.words: Line | None = None
        self.printed_at = 0.0 if self.terminal else time.monotonic()
        if self.terminal:
            print("compiling ...", end="", file=sys.stderr, flush=True)

    def __call__(self, point: "Point") -> None:
        from spinward.run.progress import Line

        self.words = self.words or Line(self.experiment)
        text = self.words.of(point)
        last = point.iteration >= point.iterations
        pause = REDRAW_S if self.terminal else PLAIN_S
        if time.monotonic() - self.printed_at < pause and not (last and self.terminal):
            return
        self.printed_at = time.monotonic()
        before, end = ("\r\033[K", "\n" if last else "") if self.terminal else ("", "\n")
        print(f"{before}{text}", end=end, file=sys.stderr, flush=True)
