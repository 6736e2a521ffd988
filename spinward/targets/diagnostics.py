"""Instruments for learning from Q: how large values are, how far from what came of them, how far
behind their target, and how many features they are made of.

A Q-learner hands out `extremes` from its loss and `peaks` from its update, and has a method
`look(agent, batch) -> Look`; that of an actor and its critics is in `learning/critics.py`.
`evaluation/q_diagnostics.py` does the rest at each log point.
"""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Metrics, Obs, Transition, replace, struct
from spinward.targets.returns import reward_to_go

FORBIDDEN = 1e8  # no value: actions that a mask forbids have less than minus this
KNOWN = 0.05  # share of its discounted future that may be missing from a return that is known
PEAK = "max_"  # of a metric whose largest counts, not its mean


@runtime_checkable
class Layered(Protocol):
    """A network whose layers read what its torso makes of observations."""

    @property
    def torso(self) -> Any: ...
    @property
    def layers(self) -> Any: ...


@struct
class QProbe:
    """What a Q-learner thinks of some steps."""

    q: Array  # [row, actions]; [row, 1] of the action taken where there are not so few
    lagged: Array  # the same, by the target network; by the online one where there is no other
    value: Array  # [row] of the action taken
    features: Array  # [row, dim] what its last layer sees


def q_extremes(q: Array, reward: Array) -> Metrics:
    """The largest |Q| of a batch, and the largest reward, a bonus for entropy included."""
    size = jnp.abs(q)
    largest = jnp.where(size < FORBIDDEN, size, 0.0).max()
    return {"max_abs_q": largest, "max_reward": jnp.abs(reward).max()}


def running_max(metrics: Metrics) -> Metrics:
    """Metrics of several updates, of which the largest is kept where it is what counts."""
    return {k: v.max() if k.startswith(PEAK) else v for k, v in metrics.items()}


def bound(reward: Any, gamma: Any) -> Any:
    """What no sum of discounted rewards of at most `reward` exceeds: r_max / (1 - gamma).

    A larger |Q| is soft divergence (van Hasselt et al., 2018, arXiv:1812.02648, section 3).
    """
    return reward / (1.0 - gamma)


def followed(batch: Transition, gamma: float | Array) -> tuple[Array, Array]:
    """The discounted return [time, env] that followed each step, and whether it is known.

    It is where the episode terminated, or went on so long that no more than 5 % of any constant
    reward's sum is left.
    """
    zero, one = jnp.zeros_like(batch.reward), jnp.ones_like(batch.reward)
    left = reward_to_go(replace(batch, reward=zero), one, gamma)
    return reward_to_go(batch, zero, gamma), (left <= KNOWN) & (batch.weight > 0)


def effective_rank(features: np.ndarray, delta: float = 0.01) -> np.ndarray:
    """How many directions [...] hold all but `delta` of the singular values of `features`
    [..., row, dim]; 0 of nothing but zeros.

    srank (Kumar et al., 2021, arXiv:2010.14498, section 3). In double precision the squares of the
    singular values serve as well, and take a fortieth of the time.
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
    """What the last layer of `network` sees [row, dim]; nothing, [row, 0], where it is not made of
    a `torso` and `layers` as ours are."""
    if isinstance(network, Layered):
        return network.layers.features(network.torso(obs))
    return jnp.zeros((jax.tree.leaves(obs)[0].shape[0], 0))
