"""Decoder-only transformers with a key-value cache: the GPT-2, Llama, Qwen2 and Qwen3 families.

GPT-2 (Radford et al., 2019) adds learned positions and has LayerNorm, biases and GELU; Llama
(Touvron et al., 2023, arXiv:2302.13971) turns queries and keys by their position (Su et al., 2021,
arXiv:2104.09864) and has RMSNorm and SwiGLU; Qwen2 (arXiv:2407.10671) puts a bias on queries, keys
and values; Qwen3 (arXiv:2505.09388) normalises each head's queries and keys. All but GPT-2 may
share keys and values between heads (Ainslie et al., 2023, arXiv:2305.13245).

Parameters may be float32 or bfloat16; norms, rotations, softmax and logits are float32 always.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, static, struct
from spinward.networks.attention import attention, rotation
from spinward.networks.transformer import INIT_STD, Layer, Norm, Shape, norm

FAMILIES = ("gpt2", "llama", "qwen2", "qwen3")
FEW = 4  # layers up to which `hidden` has no loop: on CPU, slopes take a quarter less time


@struct
class Cache:
    """Keys and values of what was read; every sequence has as many columns, some of them empty."""

    keys: Array  # [layers, batch, kv_heads, columns, dim]
    values: Array  # as keys
    mask: Array  # [batch, columns], false where there is no token: padding, or not reached
    length: Array  # columns written, in all sequences alike


@struct
class Decoder:
    """A language model: its parameters, and by its static `shape` how they are put together.

    A `mask` is false where there is padding, on either side: such a token has no position and is
    attended to by none, so that nothing depends on it.
    """

    embedding: Array  # [vocab, width]
    positions: Array | None  # [context, width], in GPT-2
    layers: Layer
    norm: Norm
    head: Array | None  # [vocab, width], or none where tied to the embedding
    shape: Shape = static()

    @classmethod
    def init(cls, key: Key, shape: Shape) -> "Decoder":
        k_embedding, k_positions, k_layers, k_head = jax.random.split(key, 4)

        def table(key: Key, rows: int) -> Array:
            return INIT_STD * jax.random.normal(key, (rows, shape.width))

        return cls(
            table(k_embedding, shape.vocab),
            table(k_positions, shape.context) if shape.family == "gpt2" else None,
            Layer.init(k_layers, shape),
            norm(shape),
            None if shape.tied else table(k_head, shape.vocab),
            shape,
        )

    def hidden(self, tokens: Array, mask: Array, remat: bool = False) -> Array:
        """What the last norm makes of `tokens` [batch, time]: [batch, time, width].

        With `remat` the activations within layers are computed again for the gradient, not kept.
        """
        mask = mask.astype(bool)
        position = jnp.maximum(jnp.cumsum(mask, -1) - 1, 0)
        order = jnp.arange(tokens.shape[1])
        allowed = mask[:, None, :] & (order <= order[:, None])
        angles = self.angles(position)

        def one(x: Array, layer: Layer) -> tuple[Array, None]:
            q, k, v = layer.read(x, angles)
            return layer.write(x, attention(q, k, v, allowed)), None

        body = jax.checkpoint(one, prevent_cse=False) if remat else one
        begin, unroll = self.embed(tokens, position), self.shape.layers <= FEW
        x, _ = jax.lax.scan(body, begin, self.layers, unroll=unroll)
        return self.norm(x)

    def logits(self, hidden: Array) -> Array:
        """The next token's logits [..., vocab], in float32."""
        head = self.embedding if self.head is None else self.head
        return jnp.einsum("...d,vd->...v", hidden, head, preferred_element_type=jnp.float32)

    def cache(self, batch: int, columns: int) -> Cache:
        """An empty one, for `batch` sequences of up to `columns` tokens and padding."""
        shape = self.shape
        size = (shape.layers, batch, shape.kv_heads, columns, shape.head_dim)
        empty = jnp.zeros(size, self.embedding.dtype)
        return Cache(empty, empty, jnp.zeros((batch, columns), bool), jnp.int32(0))

    def extend(self, tokens: Array, mask: Array, cache: Cache) -> tuple[Array, Cache]:
        """`hidden` of `tokens` [batch, time] that follow those in the cache, and the cache with
        them in it. One step or a whole prompt is the same; there must be columns left for it."""
        mask, start = mask.astype(bool), cache.length
        before = cache.mask.sum(-1, keepdims=True)
        position = jnp.maximum(before + jnp.cumsum(mask, -1) - 1, 0)
        seen = jax.lax.dynamic_update_slice(cache.mask, mask, (0, start))
        row, column = start + jnp.arange(tokens.shape[1]), jnp.arange(seen.shape[1])
        allowed = seen[:, None, :] & (column <= row[:, None])
        angles = self.angles(position)

        # The cache is carried, not scanned: written in place, where scanning would copy it all.
        def one(carry: tuple[Array, ...], part: tuple[Layer, Array]) -> tuple[Any, None]:
            (x, keys, values), (layer, at) = carry, part
            q, k, v = layer.read(x, angles)
            keys = jax.lax.dynamic_update_slice(keys, k[None], (at, 0, 0, start, 0))
            values = jax.lax.dynamic_update_slice(values, v[None], (at, 0, 0, start, 0))
            return (layer.write(x, attention(q, keys[at], values[at], allowed)), keys, values), None

        begin = self.embed(tokens, position), cache.keys, cache.values
        parts = self.layers, jnp.arange(self.shape.layers)
        (x, keys, values), _ = jax.lax.scan(one, begin, parts)
        return self.norm(x), Cache(keys, values, seen, start + tokens.shape[1])

    def embed(self, tokens: Array, position: Array) -> Array:
        """[batch, time, width]. Token numbers out of range, as padding may have, read the ends."""
        x = jnp.take(self.embedding, jnp.maximum(tokens, 0), 0, mode="clip")
        if self.positions is None:
            return x
        return x + jnp.take(self.positions, position, 0, mode="clip")

    def angles(self, position: Array) -> Array | None:
        """By how much to turn queries and keys [batch, time, dim / 2]; none in GPT-2."""
        shape = self.shape
        if shape.family == "gpt2":
            return None
        return rotation(position, shape.head_dim, shape.rope_theta, shape.rope_scaling)


def cast(model: Any, dtype: Any) -> Any:
    """`model` with every float parameter as a `dtype`."""

    def one(x: Array) -> Array:
        return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(one, model)
