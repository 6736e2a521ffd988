"""Spinward's side of every workload. All that the benchmarks assume of its interface is here.

The same training is run twice in one process: the first run is the whole command, the second has
its programs compiled already. Training alone is from the first to the last point that the second
logs, as the peers' clocks start once updates are under way; start-up is what the whole command
took beyond that pace.
"""

import atexit
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from benchmarks import measure
from benchmarks.measure import Cost


def algorithm(name: str, settings: dict[str, Any]) -> tuple[Any, list[str]]:
    """The algorithm with these settings, and the names of those it does not have."""
    from spinward.store.settings import find

    kind = find("algorithms", name)
    settings = dict(settings)
    settings["rollout"] = settings.pop("steps")
    if "anneal_steps" in settings:  # of epsilon in a workload
        settings["explore_steps"] = settings.pop("anneal_steps")
    if "target_every" in settings:  # env steps in a workload, updates in our settings
        pace = settings["envs"] * settings["rollout"] / settings["updates"]
        settings["target_every"] = max(1, round(settings["target_every"] / pace))
    fields = {field.name for field in dataclasses.fields(kind)}
    known = {key: value for key, value in settings.items() if key in fields}
    if "hidden" in known:  # JSON has no tuples
        known["hidden"] = tuple(known["hidden"])
    return kind(**known), sorted(settings.keys() - fields - {"reward_clip"})  # which is a reward


def train(ask: measure.Request, learner: Any, seed: int, watch: Callable[[Any], None]) -> Any:
    """A finished run, each of whose log points `watch` is told."""
    import spinward as sw

    # On one core seeds are one vmapped program, as the peer has them; else as a user has them.
    one = {"shards": 1} if len(os.sched_getaffinity(0)) == 1 else {}
    folder = tempfile.mkdtemp(prefix="spinward-bench-")
    atexit.register(shutil.rmtree, folder, True)
    more: dict[str, Any] = {"reward": sw.Clipped()} if ask.settings.get("reward_clip") else {}
    more |= {"out": folder, "watch": watch}
    return sw.train(learner, ask.env, ask.env_steps, ask.seeds, seed, **more, **one)


def final_return(run: Any) -> float:
    """The last point of the curve of training episodes, averaged over seeds."""
    import numpy as np

    _, returns = run.curves()  # [points], [seeds, points]
    returns = np.asarray(returns)
    last = np.flatnonzero(np.isfinite(returns).any(axis=0))
    return float(np.nanmean(returns[:, last[-1]])) if len(last) else float("nan")


def versions() -> dict[str, str]:
    import jax

    import spinward as sw

    return {"spinward": getattr(sw, "__version__", "unknown"), "jax": jax.__version__}


def main() -> None:
    ask = measure.request()
    learner, left_out = algorithm(ask.algorithm, ask.settings)
    run = train(ask, learner, ask.seed, lambda point: None)
    total = measure.spent()
    reached = final_return(run)
    env_steps_train = env_steps = ask.env_steps * ask.seeds
    if ask.variant == "first update":
        started, trained = total, Cost(0.0, 0.0)
    else:
        points: list[tuple[int, Cost]] = []
        train(ask, learner, ask.seed + 1, lambda p: points.append((p.env_steps, measure.spent())))
        (begun, first), (ended, last) = points[0], points[-1]
        trained, env_steps_train = measure.between(first, last), (ended - begun) * ask.seeds
        pace = Cost(*(spent * env_steps / env_steps_train for spent in trained))
        started = measure.between(pace, total)
    more: dict[str, Any] = {}
    if ask.env.startswith("envpool:"):
        from benchmarks.envpool_cost import envpool_cpu_s

        env = ask.env.partition(":")[2]
        more["env_cpu_s"] = envpool_cpu_s(env, ask.settings["envs"], env_steps_train)
    measure.report(
        "spinward",
        total=total,
        started=started,
        train=trained,
        env_steps=env_steps,
        env_steps_train=env_steps_train,
        final_return=reached if reached == reached else None,
        return_kind="last point of the training curve",
        settings_left_out=left_out,
        **more,
        **versions(),
    )


if __name__ == "__main__":
    main()
