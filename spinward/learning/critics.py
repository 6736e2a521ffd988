"""Functions shared by the algorithms with an actor and critics."""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array

from spinward.core import Key, Metrics, Transition
from spinward.learning.minibatches import means
from spinward.losses.critics import squares
from spinward.targets.diagnostics import QProbe, q_extremes, running_max


def scan_steps(
    improved: Callable[..., tuple[Any, Metrics]], agent: Any, batches: Transition, key: Key
) -> tuple[Any, Metrics]:
    """The agent after `improved(agent, batch, key)` for each of `batches` [updates, ...], and the
    metrics of all of them."""
    keys = jax.random.split(key, batches.reward.shape[0])
    agent, metrics = jax.lax.scan(lambda agent, x: improved(agent, *x), agent, (batches, keys))
    return agent, running_max(metrics)


def td_loss(q: Array, target: Array, weight: Array, rewards: Array) -> tuple[Array, Metrics]:
    """Half the squared error of values [critics, batch], summed over critics, and its metrics;
    `rewards` are what the values are sums of."""
    metrics = means({"td_loss": squares(q, target), "value": q.mean(0)}, weight)
    return metrics["td_loss"], metrics | q_extremes(q, rewards)


def probe(critic: Any, target: Any, batch: Transition) -> QProbe:
    """The diagnostics' inputs at steps [row], from the smallest value of the critics and of the
    target critics."""
    steps = batch.obs, batch.action
    each, lagged = critic(*steps), target(*steps).min(0)[:, None]
    q = each.min(0)[:, None]
    return QProbe(q, lagged, q[:, 0], each.mean(0), critic.features(*steps))
