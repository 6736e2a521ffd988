"""What actors with critics of their actions have in common."""

from typing import Any

from spinward.core import Transition
from spinward.targets.diagnostics import Look


def look(critic: Any, target: Any, batch: Transition) -> Look:
    """What the instruments read of critics of an action, and of their target, of whose values the
    smallest counts: at steps [row]."""
    steps = batch.obs, batch.action
    q, lagged = (model(*steps).min(0)[:, None] for model in (critic, target))
    return Look(q, lagged, q[:, 0], critic.features(*steps))
