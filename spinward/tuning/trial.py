"""Runs trials: those that differ only in numbers as one compiled program, others one after another,
each as a run of its own."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from spinward import schedules
from spinward.core import replace
from spinward.errors import NonFiniteError, SettingsError, Stopped
from spinward.evaluation.episodes import Agents, evaluate
from spinward.evaluation.statistics import last_returns
from spinward.experience import replay_bytes
from spinward.programs.trials import Lanes, lanes_of
from spinward.run.assemble import Assembled, assemble
from spinward.run.experiment import Experiment
from spinward.run.run import create
from spinward.store import files
from spinward.store.log import Interval

CHUNK_S = 0.2  # between two looks for a request to stop


class Asked(NamedTuple):
    """A trial that is to be run."""

    number: int
    experiment: Experiment


class Result(NamedTuple):
    """What a trial gave: a score for each seed, NaN where there is none and `reason` says why, and
    the training returns [seed, point]."""

    number: int
    scores: np.ndarray
    reason: str = ""
    steps: tuple[int, ...] = ()
    returns: tuple[tuple[float | None, ...], ...] = ()

    @property
    def score(self) -> float:
        """The mean over seeds; NaN if a seed has none."""
        return float(self.scores.mean())


class Scoring(NamedTuple):
    """What a trial is scored by: the returns of evaluations at its end, or with 0 `episodes` those
    of the last tenth of training."""

    episodes: int = 0


def results(
    trials: list[Asked], folder: Path, scoring: Scoring, asked: list[int]
) -> Iterator[Result]:
    """The results, as they come.

    Raises:
        Stopped: `asked` has an entry; trials without a result are lost, or saved runs of their own.
    """
    groups: dict[Any, list[tuple[Asked, Assembled]]] = {}
    for trial in trials:
        try:
            made = assemble(trial.experiment)
            together = made.on_device and not made.on_texts
        except SettingsError as error:
            yield failed(trial, str(error))
            continue
        structure = jax.tree.structure(made.algorithm), made.want if together else trial.number
        groups.setdefault(structure, []).append((trial, made))
    for group in groups.values():
        first = group[0][1]
        if first.on_device and not first.on_texts:
            yield from in_lanes(group, scoring, asked)
        else:
            yield as_run(*group[0], folder, scoring)


def failed(trial: Asked, reason: str) -> Result:
    return Result(trial.number, np.full(trial.experiment.seeds, np.nan), reason)


def as_run(trial: Asked, made: Assembled, folder: Path, scoring: Scoring) -> Result:
    """The result of a trial that is a run of its own, which is continued if it was begun."""
    place = files.inside(folder, folder / "trials" / str(trial.number)).parent
    run = create(trial.experiment, place, str(trial.number), exist_ok=True)
    try:
        run.train(trust=True)
    except NonFiniteError as error:
        return failed(trial, str(error))
    scores = run.final()
    if scoring.episodes:
        scores = run.evaluate(scoring.episodes).returns.mean(1)
    steps, returns = run.curves()
    return Result(trial.number, scores, missing(scores), tuple(steps.tolist()), plain(returns))


def in_lanes(
    group: list[tuple[Asked, Assembled]], scoring: Scoring, asked: list[int]
) -> Iterator[Result]:
    """The results of trials on a device that differ only in numbers."""
    made = group[0][1]
    experiment, seeds = made.experiment, made.experiment.seeds
    if needed := made.store_bytes:
        replay_bytes.require_ram(made.want, needed, seeds * len(group))
    iterations, _ = experiment.plan(made.stride)
    algorithms = [schedules.over(each.algorithm, iterations) for _, each in group]
    lanes = Lanes.of(made.parts, algorithms, seeds)
    state, points, broke = advance(lanes, experiment, made.stride, asked)
    returns, episodes = (
        np.array([p.get(name, [None] * lanes.lanes) for p in points], float).T
        for name in ("episode_return", "episodes")
    )
    steps = tuple(p["env_steps"] for p in points)
    for i, (trial, own) in enumerate(group):
        mine = slice(i * seeds, (i + 1) * seeds)
        if (broke[mine] >= 0).any():
            first_step = int(max(broke[mine])) * made.stride
            yield failed(trial, f"not finite after {first_step:,} steps")
            continue
        scores = last_returns(returns[mine], np.nan_to_num(episodes[mine]))
        if scoring.episodes:
            agent = lanes_of(state.agent, i, seeds)
            agents = Agents(own.algorithm, agent, own.env, seeds)
            scores = evaluate(agents, scoring.episodes).returns.mean(1)
        yield Result(trial.number, scores, missing(scores), steps, plain(returns[mine]))


def advance(
    lanes: Lanes, experiment: Experiment, stride: int, asked: list[int]
) -> tuple[Any, list[dict[str, Any]], np.ndarray]:
    """The last states of all lanes, their log points, and the iteration [lane] after which a lane
    was not finite, or -1."""
    iterations, log_every = experiment.plan(stride)
    state, size = lanes.start(experiment.keys()), 1
    broke = np.full(lanes.lanes, -1)
    at, points, interval = 0, [], Interval()
    while at < iterations:
        if asked:
            raise Stopped("stopped")
        began, chunk = time.monotonic(), min(size, log_every - at % log_every)
        state, metrics = lanes.advance(state, chunk, at)
        bad = ~metrics["finite"].astype(bool)
        broke = np.where(bad.any(1) & (broke < 0), at + bad.argmax(1) + 1, broke)
        at += chunk
        interval.add(metrics)
        if time.monotonic() - began < CHUNK_S / 2:
            size *= 2
        if at % log_every == 0:
            points.append(interval.line(at, at * stride))
            interval = Interval()
    return state, points, broke


def missing(scores: np.ndarray) -> str:
    """Why there is no score, if a seed has none."""
    return "" if np.isfinite(scores).all() else "a seed ended no episode"


def plain(returns: np.ndarray) -> tuple[tuple[float | None, ...], ...]:
    """Curves as JSON has them, with five digits."""
    return tuple(
        tuple(float(f"{x:.5g}") if np.isfinite(x) else None for x in row) for row in returns
    )


def with_settings(experiment: Experiment, values: dict[str, Any]) -> Experiment:
    return replace(experiment, algorithm=replace(experiment.algorithm, **values))
