"""When an episode ends: known from what is seen, or learned as a classifier of steps (Buckman et
al., 2018, arXiv:1807.01675, section 3.1)."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import Key, Metrics, struct
from spinward.learning.steps import Learner, descend
from spinward.models.dynamics import Dynamics, inputs_of
from spinward.networks.layers import MLP


class EndData(Protocol):
    """Steps whose ends are known, some of which are held out."""

    @property
    def obs(self) -> Array: ...
    @property
    def action(self) -> Array: ...
    @property
    def next_obs(self) -> Array: ...
    @property
    def terminated(self) -> Array: ...
    def sample(self, key: Key, shape: tuple[int, ...]) -> Array: ...


@struct
class EndClassifier:
    """The logit [...] of a step's being the last of its episode, for it terminates."""

    layers: MLP

    @classmethod
    def init(cls, key: Key, obs: int, action: int, hidden: tuple[int, ...]) -> "EndClassifier":
        return cls(MLP.init(key, (2 * obs + action, *hidden, 1), "swish", 0.1))

    def __call__(self, model: Dynamics, obs: Array, action: Array, next_obs: Array) -> Array:
        """`model` scales what is read."""
        size = next_obs.shape[-1]
        scale = model.inputs
        after = (next_obs - scale.mean[:size]) / scale.std[:size]
        before = scale(inputs_of(obs, action))
        return self.layers(jnp.concatenate([before, after], -1))[..., 0]


def fit_end(
    learner: Learner,
    model: Dynamics,
    steps: EndData,
    key: Key,
    optimiser: optax.GradientTransformation,
    batch: int,
    batches: int,
) -> tuple[Learner, Metrics]:
    """The classifier after so many `batches`; its loss on the last."""

    def one_batch(learner: Learner, key: Key) -> tuple[Learner, Metrics]:
        rows = steps.sample(key, (batch,))
        fields = steps.obs, steps.action, steps.next_obs, steps.terminated
        return descend(loss, optimiser, learner, model, *(jnp.take(x, rows, 0) for x in fields))

    learner, metrics = jax.lax.scan(one_batch, learner, jax.random.split(key, batches))
    return learner, {"end_loss": metrics["loss"][-1]}


def loss(
    classifier: Any,
    model: Dynamics,
    obs: Array,
    action: Array,
    next_obs: Array,
    terminated: Array,
) -> tuple[Array, Metrics]:
    logit = classifier(model, obs, action, next_obs)
    return optax.sigmoid_binary_cross_entropy(logit, terminated.astype(jnp.float32)).mean(), {}
