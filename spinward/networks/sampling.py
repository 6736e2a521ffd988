"""Sampling of the next token from a language model's logits."""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import config
from spinward.errors import SettingsError
from spinward.networks.attention import FORBIDDEN
from spinward.networks.distributions import Categorical


@config
class Sampling:
    """Temperature first, then the `top_k` likeliest, then the fewest whose mass reaches `top_p`
    (Fan et al., 2018, arXiv:1805.04833; Holtzman et al., 2020, arXiv:1904.09751)."""

    temperature: float = 1.0  # logits are divided by it; 0 takes the likeliest token, or the first
    top_k: int = 0  # tokens to draw from; 0 for all
    top_p: float = 1.0  # mass of the tokens to draw from; 1 for all

    def check(self) -> None:
        """Raises SettingsError for a setting that is out of its range."""
        if not self.temperature >= 0.0:
            raise SettingsError(f"temperature={self.temperature} must be at least 0")
        if self.top_k < 0:
            raise SettingsError(f"top_k={self.top_k} must be at least 1, or 0 for all")
        if not 0.0 < self.top_p <= 1.0:
            raise SettingsError(f"top_p={self.top_p} must be above 0 and at most 1")

    def __call__(self, logits: Array) -> Categorical:
        """The distribution that tokens are sampled from, after temperature, top_k and top_p."""
        logits = heated(logits, self.temperature)
        if 0 < self.top_k < logits.shape[-1]:
            least = jax.lax.top_k(logits, self.top_k)[0][..., -1:]
            logits = jnp.where(logits >= least, logits, FORBIDDEN)
        # A condition on small arrays, so that nothing is sorted where all mass counts.
        logits = jax.lax.cond(self.top_p < 1.0, nucleus, lambda x, p: x, logits, self.top_p)
        return Categorical(logits)


def heated(logits: Array, temperature: float | Array) -> Array:
    """`logits` [..., vocab] divided by a temperature; at 0 all mass is on the first largest
    logit."""
    likeliest = jnp.arange(logits.shape[-1]) == logits.argmax(-1, keepdims=True)
    gap = logits - logits.max(-1, keepdims=True)  # at most 0, so a small divisor gives no NaN
    cold = jnp.where(likeliest, 0.0, FORBIDDEN)
    warm = temperature >= jnp.finfo(jnp.float32).tiny  # a CPU flushes smaller numbers to 0
    divisor = jnp.where(warm, temperature, 1.0)
    return jnp.where(warm, jnp.maximum(gap / divisor, FORBIDDEN), cold)


def nucleus(logits: Array, mass: float | Array) -> Array:
    """`logits` [..., vocab] of the fewest likeliest tokens that together reach `mass`."""
    descending = -jnp.sort(-logits, axis=-1)
    chance = jax.nn.softmax(descending)
    needed = (jnp.cumsum(chance, -1) - chance < mass).sum(-1, keepdims=True)
    least = jnp.take_along_axis(descending, jnp.maximum(needed, 1) - 1, -1)
    return jnp.where(logits >= least, logits, FORBIDDEN)
