"""Distributions over actions; the last axis is the choice, and log-probabilities are summed."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Key, static, struct

LOG_2PI = float(np.log(2 * np.pi))


@struct
class Categorical:
    """One of n choices, from logits [..., n]. A forbidden choice has the logit of `forbid`."""

    logits: Array

    def sample(self, key: Key) -> Array:
        return jax.random.categorical(key, self.logits)

    def mode(self) -> Array:
        return self.logits.argmax(-1).astype(jnp.int32)

    def log_probs(self) -> Array:
        return jax.nn.log_softmax(self.logits)

    def log_prob(self, action: Array) -> Array:
        return pick(self.log_probs(), action)

    def entropy(self) -> Array:
        log_probs = self.log_probs()
        return -(jnp.exp(log_probs) * log_probs).sum(-1)


@struct
class MultiCategorical:
    """Several independent choices, from their logits side by side [..., sum(sizes)]."""

    logits: Array
    sizes: tuple[int, ...] = static()

    @property
    def parts(self) -> list[Categorical]:
        cuts = np.cumsum(self.sizes)[:-1]
        return [Categorical(x) for x in jnp.split(self.logits, cuts, -1)]

    def sample(self, key: Key) -> Array:
        keys = jax.random.split(key, len(self.sizes))
        return jnp.stack([p.sample(k) for p, k in zip(self.parts, keys, strict=True)], -1)

    def mode(self) -> Array:
        return jnp.stack([p.mode() for p in self.parts], -1)

    def log_prob(self, action: Array) -> Array:
        return sum(p.log_prob(action[..., i]) for i, p in enumerate(self.parts))  # type: ignore[return-value]

    def entropy(self) -> Array:
        return sum(p.entropy() for p in self.parts)  # type: ignore[return-value]


@struct
class Gaussian:
    """Independent normals. Nothing is squashed: sources clip to the bounds of the space."""

    mean: Array
    log_std: Array

    def sample(self, key: Key) -> Array:
        return self.mean + jnp.exp(self.log_std) * jax.random.normal(key, self.mean.shape)

    def mode(self) -> Array:
        return self.mean

    def log_prob(self, action: Array) -> Array:
        z = (action - self.mean) * jnp.exp(-self.log_std)
        return -(0.5 * jnp.square(z) + self.log_std + 0.5 * LOG_2PI).sum(self.axes)

    def entropy(self) -> Array:
        entropy = self.log_std + 0.5 * (LOG_2PI + 1.0)
        return jnp.broadcast_to(entropy, self.mean.shape).sum(self.axes)

    @property
    def axes(self) -> tuple[int, ...]:
        """Those of one action."""
        return tuple(range(-self.log_std.ndim, 0))


Distribution = Categorical | MultiCategorical | Gaussian


def pick(values: Array, index: Array) -> Array:
    """`values[..., index]`. A comparison, because a gather's gradient is a slow scatter on CPU."""
    chosen = index[..., None] == jnp.arange(values.shape[-1])
    return jnp.where(chosen, values, 0.0).sum(-1)


def forbid(values: Array, mask: Array | None) -> Array:
    """`values` [..., actions] with a very low number where `mask` is 0.

    Not minus infinity: its product with a probability of 0 in the entropy is NaN.
    """
    return values if mask is None else jnp.where(mask != 0, values, -1e9)
