"""What actors with critics of their actions have in common."""

from typing import Any

from spinward.core import Transition
from spinward.targets.diagnostics import QProbe


def probe(critic: Any, target: Any, batch: Transition) -> QProbe:
    """What the instruments read of critics of an action, and of their target, of whose values the
    smallest counts: at steps [row]."""
    steps = batch.obs, batch.action
    q, lagged = (model(*steps).min(0)[:, None] for model in (critic, target))
    return QProbe(q, lagged, q[:, 0], critic.features(*steps))
