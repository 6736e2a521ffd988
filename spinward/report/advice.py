"""What to do next with a run: sentences, each with a command."""

import shlex
from typing import Any, NamedTuple

import numpy as np

from spinward.envs import ids
from spinward.report.named import short
from spinward.run.config import choices
from spinward.store.headline import RETURN, Headline


class Advice(NamedTuple):
    sentence: str
    command: str


def advice(run: Any, result: dict[str, Any], metric: Headline) -> list[Advice]:
    """What to do next, by what the run has shown."""
    config, own = run.config, ids.is_own_code(choices(run.config)[0].name)
    path = shlex.quote(str(run.path)) + (" --trust" if own else "")
    steps, seeds = config["steps"], config["seeds"]
    words = [short(config["algorithm"]["class"]), choices(config)[0].name]
    steps_next = []
    if metric is RETURN and result["value"] is None:
        said = "No mean return is known, because episodes did not end: give them a limit of steps."
        steps_next.append(Advice(said, f"spinward evaluate {path} --episodes 5"))
    elif rises(run.curves(metric.metric)[1]) and metric is RETURN:
        said = "The return still rises at the end: train on."
        steps_next.append(Advice(said, f"spinward resume {path} --steps {2 * steps}"))
    if seeds < 3:
        few = "1 seed says" if seeds == 1 else f"{seeds} seeds say"
        said = f"{few} little: train more, with the same flags."
        steps_next.append(Advice(said, f"spinward train {shlex.join(words)} --seeds 5"))
    if metric is RETURN:
        said = "Score the policies over whole episodes, without exploration."
        steps_next.append(Advice(said, f"spinward evaluate {path}"))
        steps_next.append(Advice("See what a policy does.", f"spinward watch {path}"))
    steps_next.append(Advice("Use the result elsewhere.", f"spinward export {path} --out policy"))
    return steps_next


def rises(values: np.ndarray) -> bool:
    """Whether the mean over seeds is higher in the last fifth of the points [seed, point] than in
    the fifth before it, by more than the spread of the points."""
    finite = np.isfinite(values)
    counts = np.maximum(finite.sum(0), 1)
    means = (np.where(finite, values, 0.0).sum(0) / counts)[finite.any(0)]
    fifth = len(means) // 5
    if fifth < 2:
        return False
    before, last = means[-2 * fifth : -fifth], means[-fifth:]
    error = np.sqrt((before.var(ddof=1) + last.var(ddof=1)) / fifth)
    return bool(last.mean() - before.mean() > 2.0 * error + 1e-12)
