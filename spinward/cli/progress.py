"""How training goes: one line that is redrawn in a terminal, and plain lines elsewhere."""

import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from spinward.run.drive import Point

REDRAW_S, PLAIN_S = 0.1, 30.0  # least time between two lines


class Progress:
    """Tells of log points on standard error: by redrawing a line at nearly each of them where that
    is a terminal, and otherwise by a plain line every half minute, as a log file wants them."""

    def __init__(self, experiment: Any):
        self.terminal = sys.stderr.isatty()
        self.seeds = experiment.seeds
        self.told = 0.0 if self.terminal else time.monotonic()
        if self.terminal:
            print("compiling ...", end="", file=sys.stderr, flush=True)

    def __call__(self, point: "Point") -> None:
        last = point.iteration >= point.iterations
        pause = REDRAW_S if self.terminal else PLAIN_S
        if time.monotonic() - self.told < pause and not (last and self.terminal):
            return
        self.told = time.monotonic()
        begin, end = ("\r\033[K", "\n" if last else "") if self.terminal else ("", "\n")
        print(f"{begin}{self.line(point)}", end=end, file=sys.stderr, flush=True)

    def line(self, point: "Point") -> str:
        share = point.iteration / point.iterations
        rate = point.done / point.seconds
        left = (point.iterations - point.iteration) / rate
        steps = rate * point.env_steps / point.iteration * self.seeds
        returns = [r for r in point.metrics.get("episode_return", []) if r is not None]
        told = f"return {np.mean(returns):.1f}" if returns else "no episode ended yet"
        if "episode_return" not in point.metrics:
            told = f"loss {np.mean(point.metrics['loss']):.4f}"
        clock = f"{int(left) // 3600}:{int(left) // 60 % 60:02d}:{int(left) % 60:02d}"
        return (
            f"{share:4.0%}  {point.env_steps:,} of {point.steps:,} steps  "
            f"{steps:,.0f} steps/s  {told}  ETA {clock}"
        )
