"""Real steps to a return, of several methods on one task: what experiments with learned models
share.

A method has reached the return at the first step at which its last `EPISODES` training episodes
have it on average, for one episode may have it by chance; the random steps of its warm-up count. A
seed that never does counts with all of its steps, so that factors are rather too small.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spinward.experiments.reproduction import Row, row_of, trained
from spinward.presets.choice import preset
from spinward.report import plot

EPISODES = 5


class Method(NamedTuple):
    """An algorithm with its preset, and what differs from that."""

    label: str
    kind: Any
    steps: int  # without those of its warm-up
    more: dict[str, Any]


class ReturnTask(NamedTuple):
    env: str
    wanted: float  # return
    episode: int  # steps of an episode at most: a point of the curves has as many


class Compared(NamedTuple):
    """What came of methods on a task, by their labels."""

    env: str
    rows: list[Row]
    reached: dict[str, np.ndarray]  # [seed] real steps to the return; all of them if never
    missed: dict[str, int]  # seeds that never had the return
    last: dict[str, np.ndarray]  # [seed] return of the last tenth
    picture: Path

    def factor(self, label: str, over: str) -> Row:
        """How many times the steps of a method another one takes, seed by seed."""
        what = f"{self.env}: factor of {label} over {over}"
        return row_of(what, self.reached[over] / self.reached[label])


def compared(name: str, task: ReturnTask, methods: list[Method], seeds: int, out: Path) -> Compared:
    """Trains all methods on the task, and counts their steps."""
    rows: list[Row] = []
    curves, reached, missed, last = [], {}, {}, {}
    for method in methods:
        settings, reward = preset(method.kind, task.env, method.steps)
        algorithm = method.kind(**settings | method.more)
        run = trained(
            algorithm, task.env, method.steps, seeds, out, f"{name}-{method.label}", reward=reward,
            shards=1, logs=method.steps // task.episode,
        )  # fmt: skip
        steps, returns = run.curves()
        at = steps_to(steps, returns, task.wanted) + algorithm.warmup
        total = method.steps + algorithm.warmup
        missed[method.label] = int(np.isnan(at).sum())
        reached[method.label] = np.where(np.isnan(at), total, at)
        last[method.label] = run.final()
        never = f" ({missed[method.label]} seeds never)" if missed[method.label] else ""
        what = f"{task.env}: real steps of {method.label} to {task.wanted:g}{never}"
        rows += [row_of(what, reached[method.label])]
        rows += [row_of(f"{task.env}: {method.label}, last tenth", last[method.label])]
        curves.append(plot.Curve(method.label, steps + algorithm.warmup, returns))
    picture = out / f"{task.env.lower()}.png"
    plot.save(plot.figure(curves, f"{task.env}, {seeds} seeds"), picture)
    return Compared(task.env, rows, reached, missed, last, picture)


def steps_to(steps: np.ndarray, returns: np.ndarray, wanted: float) -> np.ndarray:
    """The step [seed] at which the mean of the last `EPISODES` returns [seed, point] first was
    `wanted`; NaN where it never was. Points at which no episode ended do not count."""
    at = np.full(len(returns), np.nan)
    for seed, curve in enumerate(returns):
        ended = np.isfinite(curve)
        if ended.sum() < EPISODES:
            continue
        means = np.convolve(curve[ended], np.ones(EPISODES) / EPISODES, "valid")
        if (means >= wanted).any():
            at[seed] = steps[ended][EPISODES - 1 :][(means >= wanted).argmax()]
    return at
