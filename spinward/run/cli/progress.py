"""One line on how training goes, where somebody is looking."""

import sys
import time
from typing import Any

import numpy as np

from spinward.run.drive import Point


class Progress:
    """Redraws its line at each log point; says nothing where standard error is no terminal."""

    def __init__(self, experiment: Any):
        self.seen = sys.stderr.isatty()
        self.drawn = 0.0
        self.seeds = experiment.seeds
        if self.seen:
            print("compiling ...", end="", file=sys.stderr, flush=True)

    def __call__(self, point: Point) -> None:
        last = point.iteration >= point.iterations
        if not self.seen or (time.monotonic() - self.drawn < 0.1 and not last):
            return
        self.drawn = time.monotonic()
        end = "\n" if last else ""
        print(f"\r\033[K{self.line(point)}", end=end, file=sys.stderr, flush=True)

    def line(self, point: Point) -> str:
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
