"""Functions shared by the algorithms with an actor and critics."""

from typing import Any

from spinward.core import Transition
from spinward.targets.diagnostics import QProbe


def probe(critic: Any, target: Any, batch: Transition) -> QProbe:
    """The diagnostics' inputs at steps [row], from the smallest value of the critics and of the
    target critics."""
    steps = batch.obs, batch.action
    each, lagged = critic(*steps), target(*steps).min(0)[:, None]
    q = each.min(0)[:, None]
    return QProbe(q, lagged, q[:, 0], each.mean(0), critic.features(*steps))
