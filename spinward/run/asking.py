"""The hook between the chunks of a run whose reward is learned from comparisons."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spinward.rewards.preferences import Preferences
from spinward.run.assemble import Assembled
from spinward.run.experiment import Experiment


@contextmanager
def asking(made: Assembled, shard: Experiment, run: Path) -> Iterator[Any]:
    """The hook that asks people, or programs in their place, while a shard of a run trains."""
    reward = made.parts.reward
    if not isinstance(reward, Preferences):
        yield None
        return
    # Imported for these runs alone: the page and the films take a tenth of a start.
    from spinward.people.cycle import hook
    from spinward.people.schedule import AskingPlan

    iterations, every = shard.plan(made.stride)
    plan = AskingPlan(iterations, iterations // every, made.stride, shard.seed, shard.seeds)
    cycle = hook(reward, made.algorithm, made.env, str(shard.env), plan, run, made.agent_spec)
    finished = False
    try:
        yield cycle
        finished = True
    finally:
        if cycle:
            cycle.close(finished)
