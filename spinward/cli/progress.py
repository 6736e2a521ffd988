"""The progress of training: one line that is redrawn in a terminal, and plain lines elsewhere."""

import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from spinward.store import headline

if TYPE_CHECKING:
    from spinward.run.watching import Point

REDRAW_S, PLAIN_S = 0.1, 30.0  # least time between two lines


class Progress:
    """Prints log points on standard error: in a terminal as one line that is redrawn, and otherwise
    as a plain line every half minute, for a log file."""

    def __init__(self, experiment: Any):
        self.terminal = sys.stderr.isatty()
        self.seeds, self.env = experiment.seeds, experiment.env.name
        self.metrics: dict[str, Any] = {}  # the newest values: some metrics are not at every point
        self.printed_at = 0.0 if self.terminal else time.monotonic()
        if self.terminal:
            print("compiling ...", end="", file=sys.stderr, flush=True)

    def __call__(self, point: "Point") -> None:
        self.metrics |= point.metrics
        last = point.iteration >= point.iterations
        pause = REDRAW_S if self.terminal else PLAIN_S
        if time.monotonic() - self.printed_at < pause and not (last and self.terminal):
            return
        self.printed_at = time.monotonic()
        begin, end = ("\r\033[K", "\n" if last else "") if self.terminal else ("", "\n")
        print(f"{begin}{self.line(point)}", end=end, file=sys.stderr, flush=True)

    def line(self, point: "Point") -> str:
        share = point.iteration / point.iterations
        rate = point.done / point.seconds
        left = (point.iterations - point.iteration) / rate
        steps = rate * point.env_steps / point.iteration * self.seeds
        value = self.value()
        clock = f"{int(left) // 3600}:{int(left) // 60 % 60:02d}:{int(left) % 60:02d}"
        return (
            f"{share:4.0%}  {point.env_steps:,} of {point.steps:,} steps  "
            f"{steps:,.0f} steps/s  {value}  ETA {clock}"
        )

    def value(self) -> str:
        """The newest value of the run's headline metric."""
        scores = self.metrics.get(headline.EVALUATION.metric)
        also = f", evaluated {np.mean(scores):.1f}" if scores else ""
        shown = headline.headline(self.env, self.metrics)
        values = [x for x in self.metrics[shown.metric] if x is not None]
        if shown is headline.RETURN:
            told = f"return {np.mean(values):.1f}" if values else "no episode ended yet"
            return f"{told}{also}"
        return f"{shown.label} {np.mean(values):.4g}"
