"""Functions shared by the algorithms with an actor and critics."""

from typing import Any

from spinward.core import Transition
from spinward.targets.diagnostics import QProbe


def probe(critic: Any, target: Any, batch: Transition) -> QProbe:
    """The diagnostics' inputs at steps [row], from the smallest value of the critics and of the
    target critics."""
    steps = batch.obs, batch.action
    q, lagged = (model(*steps).min(0)[:, None] for model in (critic, target))
    return QProbe(q, lagged, q[:, 0], critic.features(*steps))
