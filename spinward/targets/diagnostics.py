"""Diagnostics of Q-learning: the size of values, their error against the returns that followed,
their distance from the target network's, and the rank of the features.

A Q-learner adds `q_extremes` to the metrics of its loss and `running_max` to those of its update,
and has a method `probe(agent, batch) -> QProbe`; for an actor and its critics, `probe` is in
`learning/critics.py`. `evaluation/q_diagnostics.py` computes the rest at each log point.
"""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Metrics, Obs, Transition, replace, struct
from spinward.networks.normaliser import Normalised
from spinward.targets.returns import reward_to_go

FORBIDDEN = 1e8  # bound of true values: actions that a mask forbids have a value below minus this
KNOWN = 0.05  # share of the discounted future that a known return may lack
PEAK = "max_"  # prefix of a metric that is aggregated by its maximum, not its mean


@runtime_checkable
class Layered(Protocol):
    """A network whose layers read the features of its torso."""

    @property
    def torso(self) -> Any: ...
    @property
    def layers(self) -> Any: ...


@struct
class QProbe:
    """The values and the features that a Q-learner gives some steps."""

    q: Array  # [row, actions]; [row, 1] of the action taken where actions are continuous
    lagged: Array  # the same, by the target network, or the online network where there is no target
    value: Array  # [row] of the action taken
    mean: Array  # [row] the same, averaged over critics where there are several
    features: Array  # [row, dim] the inputs of the last layer


def q_extremes(q: Array, reward: Array) -> Metrics:
    """The largest |Q| of a batch and the largest |reward|, a bonus for entropy included."""
    size = jnp.abs(q)
    largest = jnp.where(size < FORBIDDEN, size, 0.0).max()
    return {"max_abs_q": largest, "max_reward": jnp.abs(reward).max()}


def running_max(metrics: Metrics) -> Metrics:
    """Metrics of several updates; those that are named `max_` are replaced by their maximum."""
    return {k: v.max() if k.startswith(PEAK) else v for k, v in metrics.items()}


def bound(reward: Any, gamma: Any) -> Any:
    """The largest sum of discounted rewards of at most `reward`: r_max / (1 - gamma).

    A larger |Q| is soft divergence (van Hasselt et al., 2018, arXiv:1812.02648, section 3).
    """
    return reward / (1.0 - gamma)


def followed(batch: Transition, gamma: float | Array) -> tuple[Array, Array]:
    """The discounted return [time, env] that followed each step, and whether the return is known.

    A return is known where the episode terminated, or where it continued so long that at most 5 %
    of the discounted sum of a constant reward is missing.
    """
    zero, one = jnp.zeros_like(batch.reward), jnp.ones_like(batch.reward)
    left = reward_to_go(replace(batch, reward=zero), one, gamma)
    return reward_to_go(batch, zero, gamma), (left <= KNOWN) & (batch.weight > 0)


def effective_rank(features: np.ndarray, delta: float = 0.01) -> np.ndarray:
    """The number of directions [...] that hold all but `delta` of the sum of the singular values of
    `features` [..., row, dim]; 0 for features that are all 0.

    srank (Kumar et al., 2021, arXiv:2010.14498, section 3). In double precision the eigenvalues of
    the Gram matrix are exact enough, and take a fortieth of the time of the singular values.
    """
    x = np.asarray(features, np.float64)
    if x.shape[-1] == 0:
        return np.full(x.shape[:-2], np.nan)
    x = x if x.shape[-2] >= x.shape[-1] else np.swapaxes(x, -1, -2)
    squares = np.linalg.eigvalsh(np.swapaxes(x, -1, -2) @ x)[..., ::-1]
    values = np.sqrt(np.maximum(squares, 0.0))
    total = values.sum(-1, keepdims=True)
    short = np.cumsum(values, -1) < (1.0 - delta) * total
    return np.where(total[..., 0] > 0.0, short.sum(-1) + 1, 0)


def last_features(network: Any, obs: Obs) -> Array:
    """The inputs [row, dim] of the last layer of `network`; empty, [row, 0], for a network without
    a `torso` and `layers`."""
    if isinstance(network, Normalised):
        return last_features(network.network, network.normaliser(obs))
    if isinstance(network, Layered):
        return network.layers.features(network.torso(obs))
    return jnp.zeros((jax.tree.leaves(obs)[0].shape[0], 0))
