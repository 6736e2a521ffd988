"""The rule of learned policy gradient and the agent's networks (Oh et al., 2020, arXiv:2007.08794).

The rule's inputs do not depend on the spaces of observations and actions, so that one rule fits
all.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Box, Dict, Discrete, Key, Memory, Obs, Spec, Transition, replace, struct
from spinward.networks.distributions import Categorical, Distribution
from spinward.networks.heads import PolicyNetwork
from spinward.networks.layers import MLP, Linear
from spinward.networks.recurrent import LSTM
from spinward.networks.table import Table
from spinward.networks.torso import Torso

INPUTS = ("reward", "terminated", "gamma", "probability", "phi(y)", "phi(y')")
EMBEDDING = 16  # width of the layer between a prediction and its one number
# Scale of the first weights of the prediction's target. From small weights all predictions stay
# uniform: they carry no information, and the rule does not learn to use them.
SPREAD = 10.0


@struct
class Rule:
    """Reads a trajectory from its end to its start, and gives for each step the coefficient of its
    action's log-probability (the policy output) and the target of its prediction."""

    phi: MLP  # from a prediction to one number, with shared weights for y and y'
    cell: LSTM
    to_policy: Linear
    to_prediction: Linear

    @classmethod
    def init(cls, key: Key, predictions: int, width: int) -> "Rule":
        of_phi, of_cell = ((predictions, EMBEDDING), (EMBEDDING, 1)), (len(INPUTS), 4 * width)
        shapes = *of_phi, of_cell, (width, 4 * width), (width, 1), (width, predictions)
        keys = jax.random.split(key, len(shapes))
        first, second, inputs, w, policy, prediction = map(normal, keys, shapes)
        forget = jnp.zeros((4, width)).at[1].set(1.0).reshape(-1)
        cell = LSTM(replace(inputs, b=forget), w.w)
        wanted = replace(prediction, w=SPREAD * prediction.w)
        return cls(MLP((first, second), "relu", False), cell, policy, wanted)

    @property
    def predictions(self) -> int:
        return self.to_prediction.b.shape[-1]

    def __call__(
        self, batch: Transition, gamma: float | Array, prob: Array, y: Array, next_y: Array
    ) -> tuple[Array, Array]:
        """The policy output [time, env], which is the coefficient of log pi(a|s), and the target of
        the prediction as logits [time, env, predictions].

        `prob` is pi(a|s); `y` and `next_y` are predictions [time, env, predictions], at the state
        and at the true successor. The prediction after a terminated step counts as 0, and the
        cell's memory is reset at the end of an episode.
        """
        terminated = batch.terminated.astype(prob.dtype)
        after = self.phi(next_y)[..., 0] * (1.0 - terminated)
        discount = jnp.broadcast_to(gamma, prob.shape).astype(prob.dtype)
        numbers = (batch.reward, terminated, discount, prob, self.phi(y)[..., 0], after)
        x = self.cell.inputs(jnp.stack(numbers, -1))

        def back(memory: Memory, row: tuple[Array, Array]) -> tuple[Memory, Array]:
            x, done = row
            kept = jax.tree.map(lambda m: jnp.where(done[:, None], 0.0, m), memory)
            memory = self.cell(x, kept)
            return memory, memory[0]

        # Not the cell's own `memory`, which is float32, while tests use float64.
        zero = jnp.zeros((x.shape[1], len(self.cell.w)), x.dtype)
        _, h = jax.lax.scan(back, (zero, zero), (x, batch.done), reverse=True)
        h = jax.nn.relu(h)
        return self.to_policy(h)[..., 0], self.to_prediction(h)


def normal(key: Key, shape: tuple[int, int]) -> Linear:
    """A layer of normal weights that preserves the scale of its input, and no bias."""
    return Linear(jax.random.normal(key, shape) * shape[0] ** -0.5, jnp.zeros(shape[1]))


@struct
class Predicting:
    """A policy, and logits of the prediction vector of each state."""

    policy: Any  # a PolicyNetwork, or a Table of logits
    prediction: Any  # a Prediction, or a Table
    sequential: ClassVar[bool] = False

    @classmethod
    def init(
        cls,
        key: Key,
        spec: Spec,
        hidden: tuple[int, ...],
        activation: str,
        predictions: int,
        tabular: bool = False,
    ) -> "Predicting":
        """Two towers of layers; with `tabular` two tables, which start at zero."""
        assert isinstance(spec.action, Discrete)
        if tabular:
            return cls(Table.init(spec.obs, spec.action.n), Table.init(spec.obs, predictions))
        k_policy, k_prediction = jax.random.split(key)
        policy = PolicyNetwork.init(k_policy, spec, hidden, activation)
        return cls(policy, Prediction.init(k_prediction, spec.obs, hidden, activation, predictions))

    def __call__(self, obs: Obs) -> Distribution:
        if isinstance(self.policy, Table):
            return Categorical(self.policy(obs))
        return self.policy(obs)

    def unroll(self, batch: Transition) -> tuple[Distribution, Array, Array]:
        """The policy, and logits of the predictions at states and true successors."""
        return self(batch.obs), self.prediction(batch.obs), self.prediction(batch.next_obs)


@struct
class Prediction:
    """Logits of a prediction [..., predictions]."""

    torso: Torso
    layers: MLP

    @classmethod
    def init(
        cls, key: Key, obs: Box | Dict, hidden: tuple[int, ...], activation: str, predictions: int
    ) -> "Prediction":
        k_torso, k_layers = jax.random.split(key)
        torso, size, left = Torso.init(k_torso, obs, hidden, activation)
        return cls(torso, MLP.init(k_layers, (size, *left, predictions), activation, 0.1))

    def __call__(self, obs: Obs) -> Array:
        return self.layers(self.torso(obs))
