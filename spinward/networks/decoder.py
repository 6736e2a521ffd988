"""Decoder-only transformers with a key-value cache: the GPT-2, Llama, Qwen2 and Qwen3 families.

GPT-2 (Radford et al., 2019) adds learned positions and has LayerNorm, biases and GELU; Llama
(Touvron et al., 2023, arXiv:2302.13971) rotates queries and keys by their position (Su et al.,
2021, arXiv:2104.09864) and has RMSNorm and SwiGLU; Qwen2 (arXiv:2407.10671) puts a bias on queries,
keys and values; Qwen3 (arXiv:2505.09388) normalises each head's queries and keys. All but GPT-2 may
share keys and values between heads (Ainslie et al., 2023, arXiv:2305.13245).

Parameters may be float32 or bfloat16; norms, rotations, softmax and logits are float32 always.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, replace, static, struct
from spinward.networks.attention import Turn, attention, rotation
from spinward.networks.transformer import INIT_STD, Layer, Norm, Shape, norm

FAMILIES = ("gpt2", "llama", "qwen2", "qwen3")
FEW = 4  # layers up to which layers are unrolled: on CPU, gradients take a quarter less time


@struct
class Cache:
    """Keys and values of the tokens read so far. All sequences have equally many columns, some
    empty."""

    keys: tuple[
        Array, ...
    ]  # of a layer [batch, kv_heads, columns, dim], or one of all [layers, ...]
    values: tuple[Array, ...]  # as keys
    mask: Array  # [batch, columns], false where there is no token: padding, or not reached
    length: Array  # number of columns in use, equal in all sequences

    def repeated(self, times: int) -> "Cache":
        """Each sequence so many times, side by side."""
        keys, values = jax.tree.map(lambda x: jnp.repeat(x, times, -4), (self.keys, self.values))
        return Cache(keys, values, jnp.repeat(self.mask, times, 0), self.length)


@struct
class Decoder:
    """A language model: its parameters, and its architecture as the static `shape`.

    A `mask` is false where there is padding, on either side. A padding token has no position and is
    not attended to, so that no output depends on it.
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
        """The output [batch, time, width] of the last norm for `tokens` [batch, time].

        With `remat` the activations within layers are recomputed for the gradient, not kept.
        """
        mask = mask.astype(bool)
        position, turn = self.placed(mask)
        allowed = mask[:, None, :] & causal(tokens.shape[1])

        def one(x: Array, layer: Layer) -> Array:
            q, k, v = layer.read(x, turn)
            return layer.write(x, attention(q, k, v, allowed))

        return self.norm(self.through(one, self.embed(tokens, position), remat))

    def after(self, prompt: Array, tokens: Array, mask: tuple[Array, Array], remat: bool) -> Array:
        """`hidden` of `tokens` [batch, time] that follow prompts [prompts, before]. Each prompt is
        shared by equally many consecutive rows of `tokens` and is read once; both have a mask."""
        first, second = (m.astype(bool) for m in mask)
        group, before = len(tokens) // len(prompt), prompt.shape[1]
        position, turn = self.placed(first)
        later, after = self.placed(second, jnp.repeat(first.sum(-1, keepdims=True), group, 0))
        within = first[:, None, :] & causal(before)
        columns = jnp.concatenate([jnp.repeat(first, group, 0), second], 1)
        allowed = columns[:, None, :] & causal(tokens.shape[1], before)

        def one(both: tuple[Array, Array], layer: Layer) -> tuple[Array, Array]:
            p, x = both
            own, (q, k, v) = layer.read(p, turn), layer.read(x, after)
            k, v = (
                jnp.concatenate([jnp.repeat(a, group, 0), b], 2)
                for a, b in zip(own[1:], (k, v), strict=True)
            )
            p = layer.write(p, attention(*own, within))
            return p, layer.write(x, attention(q, k, v, allowed))

        embedded = self.embed(prompt, position), self.embed(tokens, later)
        return self.norm(self.through(one, embedded, remat)[1])

    def through(self, one: Callable[[Any, Layer], Any], x: Any, remat: bool = False) -> Any:
        """`x` after `one(x, layer)` of each layer in turn."""
        body = jax.checkpoint(one, prevent_cse=self.few) if remat else one
        if not self.few:
            return jax.lax.scan(lambda x, layer: (body(x, layer), None), x, self.layers)[0]
        for at in range(self.shape.layers):  # so that XLA can drop unused results of the last layer
            x = body(x, self.layer(at))
        return x

    def layer(self, at: int) -> Layer:
        # Joined: as layers are unrolled, XLA concatenates the matrices outside of token loops.
        layer: Layer = jax.tree.map(lambda x: x[at], self.layers)
        return replace(layer, joined=True)

    def logits(self, hidden: Array) -> Array:
        """The next token's logits [..., vocab], in float32."""
        head = self.embedding if self.head is None else self.head
        # One product of two matrices, as in `Projection`. Without the barrier, the product for the
        # gradient of the transposed matrix would take twice as long.
        rows, columns = hidden.reshape(-1, hidden.shape[-1]), jax.lax.optimization_barrier(head.T)
        logits = jnp.matmul(rows, columns, preferred_element_type=jnp.float32)
        return logits.reshape(*hidden.shape[:-1], -1)

    def cache(self, batch: int, columns: int) -> Cache:
        """An empty cache, for `batch` sequences of up to `columns` tokens and padding."""
        shape, stacked = self.shape, () if self.few else (self.shape.layers,)
        size = (*stacked, batch, shape.kv_heads, columns, shape.head_dim)
        empty = (jnp.zeros(size, self.embedding.dtype),) * (shape.layers if self.few else 1)
        return Cache(empty, empty, jnp.zeros((batch, columns), bool), jnp.int32(0))

    def extend(self, tokens: Array, mask: Array, cache: Cache) -> tuple[Array, Cache]:
        """`hidden` of `tokens` [batch, time] that follow the tokens in the cache, and the cache
        with `tokens` added. They may be one token or a whole prompt, for which the cache has
        room."""
        mask, start = mask.astype(bool), cache.length
        position, turn = self.placed(mask, cache.mask.sum(-1, keepdims=True))
        columns = jax.lax.dynamic_update_slice(cache.mask, mask, (0, start))
        row, column = start + jnp.arange(tokens.shape[1]), jnp.arange(columns.shape[1])
        allowed = columns[:, None, :] & (column <= row[:, None])

        # The cache is carried, not scanned: a carry is written in place, and a scan would copy it.
        def one(carry: tuple[Array, ...], layer: Layer, at: tuple[Array, ...]) -> tuple[Array, ...]:
            x, keys, values = carry
            q, k, v = layer.read(x, turn)
            k, v = (new.reshape((1,) * len(at) + new.shape) for new in (k, v))
            keys = jax.lax.dynamic_update_slice(keys, k, (*at, 0, 0, start, 0))
            values = jax.lax.dynamic_update_slice(values, v, (*at, 0, 0, start, 0))
            return layer.write(x, attention(q, keys[at], values[at], allowed)), keys, values

        x, keys, values = self.embed(tokens, position), list(cache.keys), list(cache.values)
        if self.few:
            for i in range(len(keys)):
                x, keys[i], values[i] = one((x, keys[i], values[i]), self.layer(i), ())
        else:
            parts = self.layers, jnp.arange(self.shape.layers)
            initial = x, *keys, *values
            (x, *pair), _ = jax.lax.scan(
                lambda c, part: (one(c, part[0], part[1:]), None), initial, parts
            )
            keys, values = pair[:1], pair[1:]
        return self.norm(x), Cache(tuple(keys), tuple(values), columns, start + tokens.shape[1])

    @property
    def few(self) -> bool:
        """Whether layers are so few that they are unrolled. Each then has its own cache, which
        needs no copy to be attended to."""
        return self.shape.layers <= FEW

    def placed(self, mask: Array, before: Array | int = 0) -> tuple[Array, Turn | None]:
        """The positions of tokens [batch, time] after so many tokens `before`, and the rotation of
        queries and keys [batch, time, dim / 2]; GPT-2 has no rotation."""
        shape = self.shape
        position = jnp.maximum(before + jnp.cumsum(mask, -1) - 1, 0)
        if shape.family == "gpt2":
            return position, None
        return position, rotation(position, shape.head_dim, shape.rope_theta, shape.rope_scaling)

    def embed(self, tokens: Array, position: Array) -> Array:
        """[batch, time, width]. Token numbers out of range, as padding may have, read the ends."""
        x = jnp.take(self.embedding, jnp.maximum(tokens, 0), 0, mode="clip")
        if self.positions is None:
            return x
        return x + jnp.take(self.positions, position, 0, mode="clip")


def causal(time: int, before: int = 0) -> Array:
    """The causal mask [time, before + time]: each row attends to the columns up to its own."""
    return jnp.arange(before + time) <= before + jnp.arange(time)[:, None]


def cast(model: Any, dtype: Any) -> Any:
    """`model` with every float parameter as a `dtype`."""

    def one(x: Array) -> Array:
        return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(one, model)
