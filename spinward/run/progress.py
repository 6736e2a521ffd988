"""The progress of a run in one line; in a notebook, a display of it that is updated."""

import html
import json
import sys
import time
from typing import Any

import numpy as np

from spinward.evaluation.reward_hacking import Watched, watched_names
from spinward.run.experiment import Experiment
from spinward.run.watching import Point
from spinward.store import headline

UPDATE_S = 0.2  # least time between two updates of a display


class Line:
    """Log points in words; the newest values of metrics count, as not every point has them all."""

    def __init__(self, experiment: Experiment):
        self.seeds, self.env = experiment.seeds, experiment.env.name
        self.metrics: dict[str, Any] = {}
        names = watched_names(json.loads(experiment.to_json()))
        self.watched = Watched(names) if names else None

    def of(self, point: Point) -> str:
        self.metrics |= point.metrics
        if self.watched:
            self.watched.add(point.metrics)
        share = point.iteration / point.iterations
        rate = point.done / point.seconds
        left = (point.iterations - point.iteration) / rate
        steps = rate * point.env_steps / point.iteration * self.seeds
        clock = f"{int(left) // 3600}:{int(left) // 60 % 60:02d}:{int(left) % 60:02d}"
        return (
            f"{share:4.0%}  {point.env_steps:,} of {point.steps:,} steps  "
            f"{steps:,.0f} steps/s  {self.value()}{self.warning()}  ETA {clock}"
            + (f"  {point.sample}" if point.sample else "")
        )

    def warning(self) -> str:
        """The seeds whose reward may be exploited."""
        count = len(self.watched.warnings) if self.watched else 0
        return f"  ! reward hacking in {count} of {self.seeds} seeds?" if count else ""

    def value(self) -> str:
        """The newest value of the run's headline metric."""
        scores = self.metrics.get(headline.EVALUATION.metric)
        also = f", evaluated {np.mean(scores):.1f}" if scores else ""
        shown = headline.headline(self.env, self.metrics)
        values = [x for x in self.metrics[shown.metric] if x is not None]
        if shown is headline.RETURN:
            text = f"return {np.mean(values):.1f}" if values else "no episode ended yet"
            return f"{text}{also}"
        return f"{shown.label} {np.mean(values):.4g}"


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and type(ipython.get_ipython()).__name__ == "ZMQInteractiveShell"


class Display:
    """Shows log points in one display of a notebook, which is updated."""

    def __init__(self, experiment: Experiment, name: str):
        from IPython.display import HTML, display

        self.html, self.line, self.name = HTML, Line(experiment), name
        self.shown_at = 0.0
        self.handle = display(HTML(self.page(0.0, "compiling ...")), display_id=True)

    def __call__(self, point: Point) -> None:
        text = self.line.of(point)
        if time.monotonic() - self.shown_at < UPDATE_S and point.iteration < point.iterations:
            return
        self.shown_at = time.monotonic()
        self.handle.update(self.html(self.page(point.iteration / point.iterations, text)))

    def page(self, share: float, text: str) -> str:
        return (
            f"<div><b>{html.escape(self.name)}</b> "
            f"<progress value='{share:.4f}' max='1'></progress> "
            f"<code>{html.escape(text)}</code></div>"
        )


def watched(experiment: Experiment, name: str, watch: Any) -> Any:
    """A watcher that also shows progress, in a notebook; elsewhere `watch` itself."""
    if not in_notebook():
        return watch or (lambda point: None)
    display = Display(experiment, name)

    def both(point: Point) -> Any:
        display(point)
        return watch(point) if watch else None

    return both
