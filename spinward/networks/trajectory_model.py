"""A language model of trajectories: every number of every step is a token (Janner et al., 2021,
arXiv:2106.02039, section 3)."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Box, Key, Spec, replace, static, struct
from spinward.networks.decoder import Cache, Decoder
from spinward.networks.transformer import INIT_STD, Shape


@struct
class TrajectoryModel:
    """Tokens of a step are its observation, its action, its reward, and its value, which is the
    return after it. Each entry has its own tokens and its own head. No token sees a value: in their
    places the model reads one and the same token, and attends to none of them."""

    decoder: Decoder
    heads: Array  # [entries, width, bins]
    observed: int = static()  # tokens of an observation
    entries: int = static()  # tokens of a step
    bins: int = static()

    @classmethod
    def init(
        cls, key: Key, spec: Spec, bins: int, context: int, width: int, layers: int, heads: int
    ) -> "TrajectoryModel":
        k_decoder, k_heads = jax.random.split(key)
        observed, acted = sizes(spec)
        entries = observed + acted + 2
        shape = Shape.small(entries * bins, width, layers, heads, context * entries, "gpt2")
        made = INIT_STD * jax.random.normal(k_heads, (entries, width, bins))
        return cls(Decoder.init(k_decoder, shape), made, observed, entries, bins)

    def logits(self, tokens: Array, valid: Array) -> Array:
        """Of the next token at each of `tokens` [batch, steps * entries], from the first of a step
        on; tokens that are not `valid` are padding."""
        inputs, mask = self.read(tokens, 0)
        hidden = self.decoder.hidden(inputs, mask & valid)
        heads = self.heads[(jnp.arange(tokens.shape[1]) + 1) % self.entries]
        return jnp.einsum("btw,twn->btn", hidden, heads)

    def read(self, tokens: Array, first: Any) -> tuple[Array, Array]:
        """The decoder's tokens [batch, time] for `tokens`, the first of which is of the entry
        `first`, and which of them are attended to."""
        entry = (first + jnp.arange(tokens.shape[1])) % self.entries
        value = entry == self.entries - 1
        inputs = jnp.where(value, 0, tokens) + entry * self.bins
        return inputs, jnp.broadcast_to(~value, tokens.shape)

    def cache(self, batch: int, steps: int) -> Cache:
        return self.decoder.cache(batch, steps * self.entries)

    def extend(self, tokens: Array, valid: Array, first: Any, cache: Cache) -> tuple[Array, Cache]:
        """The hidden state [batch, width] after `tokens` [batch, time], which follow those in the
        cache and begin with the entry `first`; and the cache with them."""
        inputs, mask = self.read(tokens, first)
        hidden, cache = self.decoder.extend(inputs, mask & valid, cache)
        return hidden[:, -1], cache

    def next_logits(self, hidden: Array, entry: Any) -> Array:
        """The logits [batch, bins] of the token of an entry, from the hidden state before it."""
        return hidden @ self.heads[entry]


def sizes(spec: Spec) -> tuple[int, int]:
    """The tokens of an observation, which is a vector, and of an action."""
    action = spec.action.size if isinstance(spec.action, Box) else 1
    return math.prod(spec.zeros().shape), action


def selected(cache: Cache, index: Array) -> Cache:
    """The sequences of a cache with these numbers, in their order."""
    keys, values = jax.tree.map(lambda x: jnp.take(x, index, -4), (cache.keys, cache.values))
    return replace(cache, keys=keys, values=values, mask=cache.mask[index])
