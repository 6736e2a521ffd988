"""A network that predicts the reward of an action in a state."""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Discrete, Hybrid, Key, MultiDiscrete, Obs, Spec, static, struct
from spinward.networks.heads import width
from spinward.networks.layers import MLP
from spinward.networks.torso import Torso
from spinward.spaces import ActionSpace


@struct
class RewardPredictor:
    """A reward [...] from an observation and an action."""

    torso: Torso
    layers: MLP
    action: ActionSpace = static(Discrete(1))

    @classmethod
    def init(cls, key: Key, spec: Spec, hidden: tuple[int, ...]) -> "RewardPredictor":
        k_torso, k_layers = jax.random.split(key)
        torso, size, left = Torso.init(k_torso, spec.obs, hidden, "leaky_relu")
        sizes = (size + width(spec.action), *(left or hidden[-1:]), 1)
        return cls(torso, MLP.init(k_layers, sizes, "leaky_relu"), spec.action)

    def __call__(self, obs: Obs, action: Array) -> Array:
        x = jnp.concatenate([self.torso(obs), numbers(self.action, action)], -1)
        return self.layers(x)[..., 0]


def numbers(space: ActionSpace, action: Array) -> Array:
    """Actions of a space as vectors [..., dim]; a choice is a one-hot vector."""
    if isinstance(space, Discrete):
        return jax.nn.one_hot(action, space.n)
    if isinstance(space, MultiDiscrete):
        parts = [jax.nn.one_hot(action[..., i], n) for i, n in enumerate(space.sizes)]
        return jnp.concatenate(parts, -1)
    if isinstance(space, Hybrid):
        choices, amounts = space.parts(action)
        return jnp.concatenate([numbers(space.choices, choices), amounts], -1)
    return action.reshape(*action.shape[: action.ndim - len(space.shape)], -1)
