"""A policy that looks for things in a picture: convolutions, and then where each channel is the
brightest (a spatial softmax: Levine et al., 2016, arXiv:1504.00702)."""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Dict, Key, Obs, Spec, struct
from spinward.networks.distributions import Distribution
from spinward.networks.heads import Actor
from spinward.networks.layers import Conv

CHANNELS, SHARP = 16, 5.0  # of each layer; factor of the softmax's logits
LAYERS = ((4, 2), (3, 1), (3, 1))  # size and stride


@struct
class Looking:
    """Reads `image`, and all other parts of a dict observation as numbers."""

    layers: tuple[Conv, ...]
    actor: Actor

    @classmethod
    def init(cls, key: Key, spec: Spec, hidden: tuple[int, ...], activation: str) -> "Looking":
        assert isinstance(spec.obs, Dict)
        parts = dict(spec.obs.items)
        k_actor, *keys = jax.random.split(key, len(LAYERS) + 1)
        channels, layers = parts["image"].shape[-1], []
        for k, (size, stride) in zip(keys, LAYERS, strict=True):
            layers.append(Conv.init(k, channels, CHANNELS, size, stride))
            channels = CHANNELS
        others = sum(box.size for name, box in parts.items() if name != "image")
        actor = Actor.init(k_actor, 2 * CHANNELS + others, spec.action, hidden, activation)
        return cls(tuple(layers), actor)

    def __call__(self, obs: Obs) -> Distribution:
        assert isinstance(obs, dict)
        x = jnp.asarray(obs["image"])
        for i, layer in enumerate(self.layers):
            x = layer(x, 255.0 if i == 0 else 1.0)
            x = jax.nn.relu(x) if i < len(self.layers) - 1 else x
        others = [obs[name] for name in sorted(obs) if name != "image"]
        return self.actor(jnp.concatenate([places(SHARP * x), *others], -1), None)


def places(x: Array) -> Array:
    """The mean place [..., 2 * channels] of each channel of [..., row, column, channel] under the
    softmax of its values, in [-1, 1]."""
    rows, columns = (jnp.linspace(-1.0, 1.0, n) for n in x.shape[-3:-1])
    flat = x.reshape(*x.shape[:-3], -1, x.shape[-1])
    share = jax.nn.softmax(flat, -2).reshape(x.shape)
    down = (share.sum(-2) * rows[:, None]).sum(-2)
    across = (share.sum(-3) * columns[:, None]).sum(-2)
    return jnp.concatenate([down, across], -1)
