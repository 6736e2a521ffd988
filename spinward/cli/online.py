"""`spinward train ... --data D --online-steps N`: the same agents go on in the environment."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from spinward.cli.parser import say
from spinward.cli.progress import Progress
from spinward.errors import SettingsError

SHARE = 0.5  # of every batch that is logged, where `--data.share` does not say


def phases(experiment: Any, ask: argparse.Namespace) -> tuple[Any, Any]:
    """The experiment on data alone, and the one in the environment; None for a run of one phase.

    Raises:
        SettingsError: there is no data to begin with.
    """
    if not ask.online_steps:
        return experiment, None
    if ask.online_steps < 0 or not experiment.data:
        raise SettingsError(
            f"online_steps={ask.online_steps} go on after logged data: name a file with --data"
        )
    share = ask.own["data"].get("share", SHARE)
    data = experiment.data
    offline = dataclasses.replace(experiment, data=dataclasses.replace(data, share=1.0))
    online = dataclasses.replace(
        experiment, data=dataclasses.replace(data, share=share), steps=ask.online_steps
    )
    return offline, online


def go_on(run: Any, online: Any, ask: argparse.Namespace) -> Any:
    """The run in the environment, which begins with the agents of the run on data."""
    from spinward.run.run import create

    before = run.evaluate(20).per_seed
    online = dataclasses.replace(online, start_from=str(run.path), start_parts=("all",))
    after = create(online, Path(ask.out), ask.name and f"{ask.name}-online")
    say(f"on in {online.env}, {online.data.share:g} of every batch logged: {after.path}")
    after.train(Progress(online), ask.checkpoint_every, trust=True)
    say(dip_after(before, after.curves()[1]))
    return after


def dip_after(before: Any, returns: Any) -> str:
    """The sentence on the change to the environment: the return before it, the lowest and the last
    after it."""
    import numpy as np

    joint = float(np.mean(before))
    known = returns[:, np.isfinite(returns).all(0)]
    if not known.size:
        return f"at the joint {joint:.1f} (greedy); no episode ended after it"
    dip, last = float(known.mean(0).min()), float(known.mean(0)[-1])
    return (
        f"at the joint {joint:.1f} (greedy); lowest after it {dip:.1f}, {joint - dip:.1f} below; "
        f"last {last:.1f} (as in training)"
    )
