"""Layers whose weights are random around learned means (Fortunato et al., 2018,
arXiv:1706.10295), with the factorised noise of its section 3b."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, struct
from spinward.networks.layers import Linear

SIGMA = 0.5  # initial standard deviation, times the root of the inputs: section 3.2


@struct
class NoisyLinear:
    """A linear layer whose weights have a standard deviation. Called directly, it uses their
    means."""

    mean: Linear
    std: Linear  # standard deviations

    @classmethod
    def init(cls, key: Key, inputs: int, outputs: int) -> "NoisyLinear":
        k_w, k_b = jax.random.split(key)
        limit = inputs**-0.5
        w = jax.random.uniform(k_w, (inputs, outputs), minval=-limit, maxval=limit)
        b = jax.random.uniform(k_b, (outputs,), minval=-limit, maxval=limit)
        sigma = SIGMA * limit
        return cls(Linear(w, b), Linear(jnp.full_like(w, sigma), jnp.full_like(b, sigma)))

    def __call__(self, x: Array) -> Array:
        return self.mean(x)

    def sample(self, key: Key) -> Linear:
        """The layer with sampled weights, of noise f(e_i) f(e_j), f(x) = sgn(x) sqrt|x|: (10) and
        (11)."""
        k_in, k_out = jax.random.split(key)
        rows, columns = (
            jnp.sign(x) * jnp.sqrt(jnp.abs(x))
            for x in (
                jax.random.normal(k_in, self.mean.w.shape[:1]),
                jax.random.normal(k_out, self.mean.b.shape),
            )
        )
        w = self.mean.w + self.std.w * rows[:, None] * columns
        return Linear(w, self.mean.b + self.std.b * columns)


def with_noise(key: Key, model: Any) -> Any:
    """`model` with a new noisy layer in place of each fully connected layer."""

    def noisy(layer: Linear, key: Key) -> NoisyLinear:
        return NoisyLinear.init(key, *layer.w.shape)

    return replaced(model, key, Linear, noisy)


def perturbed(model: Any, key: Key) -> Any:
    """`model` with the weights of each noisy layer sampled once, for all inputs."""
    return replaced(model, key, NoisyLinear, NoisyLinear.sample)


def replaced(model: Any, key: Key, kind: type, change: Any) -> Any:
    """`model` with `change(layer, key)` in place of each layer of a `kind`."""
    parts, tree = jax.tree.flatten(model, is_leaf=lambda x: isinstance(x, kind))
    places = [i for i, part in enumerate(parts) if isinstance(part, kind)]
    if not places:
        return model
    for i, k in zip(places, jax.random.split(key, len(places)), strict=True):
        parts[i] = change(parts[i], k)
    return jax.tree.unflatten(tree, parts)
