"""Controllable features: those from which the action between two states can be predicted (Pathak et
al., 2017, arXiv:1705.05363; Badia et al., 2020, arXiv:2002.06038, section 2)."""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Discrete, Key, Obs, Spec, struct
from spinward.networks.distillation import Features
from spinward.networks.distributions import pick
from spinward.networks.layers import MLP


@struct
class Controllable:
    """An embedding f(o), and a model h that predicts the action from f(o_t) and f(o_{t+1}). h does
    not need what no action changes, so that f may ignore it."""

    embedding: Features
    inverse: MLP

    @classmethod
    def init(cls, key: Key, spec: Spec, width: int, dim: int) -> "Controllable":
        assert isinstance(spec.action, Discrete)
        k_embedding, k_inverse = jax.random.split(key)
        embedding = Features.init(k_embedding, spec.obs, (width,), dim)
        return cls(embedding, MLP.init(k_inverse, (2 * dim, width, spec.action.n), "relu"))

    def __call__(self, obs: Obs) -> Array:
        return self.embedding(obs)

    def log_probs(self, obs: Obs, next_obs: Obs) -> Array:
        """The log-probabilities [..., actions] of the action between two observations."""
        both = jnp.concatenate([self.embedding(obs), self.embedding(next_obs)], -1)
        return jax.nn.log_softmax(self.inverse(both))


def inverse_losses(model: Controllable, obs: Obs, action: Array, next_obs: Obs) -> dict[str, Array]:
    """The cross-entropy [...] of the actions taken, and whether each was predicted correctly."""
    log_probs = model.log_probs(obs, next_obs)
    correct = (log_probs.argmax(-1) == action).astype(jnp.float32)
    return {"inverse_loss": -pick(log_probs, action), "inverse_accuracy": correct}
