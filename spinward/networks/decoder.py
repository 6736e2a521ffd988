"""Decoder-only transformers with a key-value cache: the GPT-2, Llama, Qwen2 and Qwen3 families.

GPT-2 (Radford et al., 2019) adds learned positions and has LayerNorm, biases and GELU; Llama
(Touvron et al., 2023, arXiv:2302.13971) turns queries and keys by their position (Su et al., 2021,
arXiv:2104.09864) and has RMSNorm and SwiGLU; Qwen2 (arXiv:2407.10671) puts a bias on queries, keys
and values; Qwen3 (arXiv:2505.09388) normalises each head's queries and keys. All but GPT-2 may
share keys and values between heads (Ainslie et al., 2023, arXiv:2305.13245).

Parameters may be float32 or bfloat16; norms, rotations, softmax and logits are float32 always.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, static, struct
from spinward.networks.attention import Scaling, attention, rotation, turned

FAMILIES = ("gpt2", "llama", "qwen2", "qwen3")
INIT_STD = 0.02  # of every weight, as in GPT-2
FEW = 4  # layers up to which `hidden` has no loop: on CPU, slopes take a quarter less time


@dataclasses.dataclass(frozen=True)
class Shape:
    """What a decoder is made of; hashable, so that it can be a part of a type."""

    vocab: int
    width: int
    layers: int
    heads: int
    kv_heads: int  # heads of keys and values, each shared by `heads // kv_heads` queries
    head_dim: int
    hidden: int  # width between the layers of each feedforward part
    context: int  # positions that it can tell apart
    family: str = "llama"  # gpt2, llama, qwen2 or qwen3
    tied: bool = True  # one matrix reads tokens and writes logits
    norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    rope_scaling: Scaling = Scaling()
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False

    @classmethod
    def small(
        cls,
        vocab: int,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        context: int = 64,
        family: str = "llama",
    ) -> "Shape":
        """A model to train from scratch: heads of their own, and a hidden layer of 4 widths, or,
        where it is gated, of 8/3 widths, which is as many weights."""
        gpt2 = family == "gpt2"
        hidden = 4 * width if gpt2 else -(-8 * width // 3 // 8) * 8
        size = (vocab, width, layers, heads, heads, width // heads, hidden, context)
        bias = gpt2 or family == "qwen2"
        return cls(*size, family, qkv_bias=bias, out_bias=gpt2, mlp_bias=gpt2)


@struct
class Projection:
    """`x @ w + b`, and a low-rank change of it where one is attached (networks/lora.py)."""

    w: Array  # [layers, inputs, outputs], or of one layer
    b: Array | None  # [layers, outputs]
    delta: Any = None

    def __call__(self, x: Array) -> Array:
        # As one product of two matrices, whose slope takes less time on CPU.
        y = (x.reshape(-1, x.shape[-1]) @ self.w).reshape(*x.shape[:-1], -1)
        y = y if self.b is None else y + self.b
        return y if self.delta is None else y + self.delta(x)


@struct
class Norm:
    """LayerNorm where there is a bias, and RMSNorm where there is none, in float32."""

    scale: Array  # [layers, width], or of one layer
    b: Array | None
    eps: float = static(1e-6)

    def __call__(self, x: Array) -> Array:
        y = x.astype(jnp.float32)
        if self.b is not None:
            y = y - y.mean(-1, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + self.eps) * self.scale
        return (y if self.b is None else y + self.b).astype(x.dtype)


@struct
class Layer:
    """Attention, then a feedforward part, each added to what it read. All layers of a decoder are
    one of these, with a leading axis, under a scan."""

    attention_norm: Norm
    q: Projection
    k: Projection
    v: Projection
    out: Projection
    q_norm: Norm | None  # of each head, in Qwen3
    k_norm: Norm | None
    mlp_norm: Norm
    gate: Projection | None  # none in GPT-2
    up: Projection
    down: Projection
    head_dim: int = static()

    @classmethod
    def init(cls, key: Key, shape: Shape) -> "Layer":
        """All layers of `shape`; what is added to the residual starts smaller (GPT-2)."""
        layers, width, d = shape.layers, shape.width, shape.head_dim
        keys = iter(jax.random.split(key, 7))

        def projection(inputs: int, outputs: int, bias: bool, std: float = INIT_STD) -> Projection:
            w = std * jax.random.normal(next(keys), (layers, inputs, outputs))
            return Projection(w, jnp.zeros((layers, outputs)) if bias else None)

        def head_norm() -> Norm | None:
            return Norm(jnp.ones((layers, d)), None, shape.norm_eps) if qwen3 else None

        gpt2, qwen3 = shape.family == "gpt2", shape.family == "qwen3"
        query, shared = shape.heads * d, shape.kv_heads * d
        residual = INIT_STD / math.sqrt(2 * layers)
        return cls(
            norm(shape, layers),
            projection(width, query, shape.qkv_bias),
            projection(width, shared, shape.qkv_bias),
            projection(width, shared, shape.qkv_bias),
            projection(query, width, shape.out_bias, residual),
            head_norm(),
            head_norm(),
            norm(shape, layers),
            None if gpt2 else projection(width, shape.hidden, shape.mlp_bias),
            projection(width, shape.hidden, shape.mlp_bias),
            projection(shape.hidden, width, shape.mlp_bias, residual),
            d,
        )

    def read(self, x: Array, angles: Array | None) -> tuple[Array, Array, Array]:
        """Queries [batch, time, heads, dim]; keys and values [batch, kv_heads, time, dim]."""
        x = self.attention_norm(x)
        q, k, v = (self.by_head(f(x)) for f in (self.q, self.k, self.v))
        q = q if self.q_norm is None else self.q_norm(q)
        k = k if self.k_norm is None else self.k_norm(k)
        if angles is not None:
            q, k = turned(q, angles), turned(k, angles)
        return q, k.swapaxes(1, 2), v.swapaxes(1, 2)

    def by_head(self, x: Array) -> Array:
        return x.reshape(*x.shape[:-1], -1, self.head_dim)

    def write(self, x: Array, attended: Array) -> Array:
        """The layer's output from its input and what its heads attended to."""
        x = x + self.out(attended.reshape(*x.shape[:-1], -1))
        y = self.mlp_norm(x)
        if self.gate is None:
            return x + self.down(jax.nn.gelu(self.up(y), approximate=True))
        return x + self.down(jax.nn.silu(self.gate(y)) * self.up(y))


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


def norm(shape: Shape, *leading: int) -> Norm:
    """One that changes nothing yet."""
    size, gpt2 = (*leading, shape.width), shape.family == "gpt2"
    return Norm(jnp.ones(size), jnp.zeros(size) if gpt2 else None, shape.norm_eps)


def cast(model: Any, dtype: Any) -> Any:
    """`model` with every float parameter as a `dtype`."""

    def one(x: Array) -> Array:
        return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(one, model)
