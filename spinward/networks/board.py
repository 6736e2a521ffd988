"""The network of a board game: a policy and a value in [-1, 1] for the side to move."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import MASK, Dict, Key, Obs, Spec, struct
from spinward.networks.layers import ACTIVATIONS, MLP, Conv
from spinward.spaces import GAME_STATE

UNREAD = (MASK, GAME_STATE)  # parts of an observation


@struct
class BoardNet:
    """Convolutions that keep the board's size, then hidden layers shared by two heads."""

    convolutions: tuple[Conv, ...]
    trunk: MLP
    policy: MLP
    value: MLP

    @classmethod
    def init(
        cls,
        key: Key,
        spec: Spec,
        filters: tuple[int, ...],
        hidden: tuple[int, ...],
        activation: str,
    ) -> "BoardNet":
        assert isinstance(spec.obs, Dict)
        (board,) = [box for name, box in spec.obs.items if name not in UNREAD]
        rows, columns, channels = board.shape
        k_trunk, k_policy, k_value, k_conv = jax.random.split(key, 4)
        convolutions = []
        for k, count in zip(jax.random.split(k_conv, max(len(filters), 1)), filters, strict=False):
            convolutions.append(Conv.init(k, channels, count, 3))
            channels = count
        sizes = (rows * columns * channels, *hidden)
        trunk = MLP.init(k_trunk, sizes, activation, 2**0.5, ends_active=True)
        policy = MLP.init(k_policy, (hidden[-1], spec.action.n), out_scale=0.01)  # type: ignore[union-attr]
        value = MLP.init(k_value, (hidden[-1], 1), out_scale=0.1)
        return cls(tuple(convolutions), trunk, policy, value)

    def __call__(self, obs: Obs) -> tuple[Array, Array]:
        """Logits [..., actions] of all actions, legal or not, and values [...]."""
        x: Any = next(x for name, x in obs.items() if name not in UNREAD).astype(jnp.float32)
        for layer in self.convolutions:
            wide = jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [(1, 1), (1, 1), (0, 0)])
            x = ACTIVATIONS[self.trunk.activation](layer(wide))
        x = self.trunk(x.reshape(*x.shape[:-3], math.prod(x.shape[-3:])))
        return self.policy(x), jnp.tanh(self.value(x)[..., 0])
