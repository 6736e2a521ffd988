"""The parts of transformers (networks/decoder.py): a shape, projections, norms and layers."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Key, static, struct
from spinward.networks.attention import Scaling, Turn, turned

INIT_STD = 0.02  # of every weight, as in GPT-2


@dataclasses.dataclass(frozen=True)
class Shape:
    """The architecture of a decoder; hashable, so that it can be static."""

    vocab: int
    width: int
    layers: int
    heads: int
    kv_heads: int  # heads of keys and values, each shared by `heads // kv_heads` queries
    head_dim: int
    hidden: int  # width between the layers of each feedforward part
    context: int  # positions, in tokens
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
        """A model to train from scratch: no shared key and value heads, and a hidden layer of 4
        widths, or of 8/3 widths where it is gated, which is the same number of weights."""
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
        # One product of two matrices, whose gradient takes less time on CPU.
        y = (x.reshape(-1, x.shape[-1]) @ self.w).reshape(*x.shape[:-1], -1)
        return self.changed(y, x)

    def changed(self, y: Array, x: Array) -> Array:
        """`y`, which is `x @ w`, with the bias and the low-rank change added."""
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
    joined: bool = static(False)  # projections of the same input are one product

    @classmethod
    def init(cls, key: Key, shape: Shape) -> "Layer":
        """All layers of `shape`. Weights of layers that add to the residual start smaller
        (GPT-2)."""
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
            False,
        )

    def read(self, x: Array, turn: Turn | None) -> tuple[Array, Array, Array]:
        """Queries [batch, time, heads, dim]; keys and values [batch, kv_heads, time, dim]."""
        x = self.attention_norm(x)
        q, k, v = map(self.by_head, self.projected(x, self.q, self.k, self.v))
        q = q if self.q_norm is None else self.q_norm(q)
        k = k if self.k_norm is None else self.k_norm(k)
        if turn is not None:
            q, k = turned(q, turn), turned(k, turn)
        return q, k.swapaxes(1, 2), v.swapaxes(1, 2)

    def projected(self, x: Array, *by: Projection) -> list[Array]:
        """The projections `by` of `x`. Where layers are `joined`, they are one product, which makes
        GRPO with a small model a twentieth faster on CPU."""
        if not self.joined:
            return [projection(x) for projection in by]
        w = jnp.concatenate([projection.w for projection in by], -1)
        cuts = np.cumsum([projection.w.shape[-1] for projection in by])[:-1].tolist()
        parts = jnp.split(x.reshape(-1, x.shape[-1]) @ w, cuts, -1)
        parts = [y.reshape(*x.shape[:-1], -1) for y in parts]
        return [projection.changed(y, x) for projection, y in zip(by, parts, strict=True)]

    def by_head(self, x: Array) -> Array:
        return x.reshape(*x.shape[:-1], -1, self.head_dim)

    def write(self, x: Array, attended: Array) -> Array:
        """The layer's output from its input and what its heads attended to."""
        x = x + self.out(attended.reshape(*x.shape[:-1], -1))
        y = self.mlp_norm(x)
        if self.gate is None:
            return x + self.down(jax.nn.gelu(self.up(y), approximate=True))
        return x + self.down(gated(*self.projected(y, self.gate, self.up)))


@jax.custom_vjp
def gated(gate: Array, up: Array) -> Array:
    """SwiGLU (Shazeer, 2020, arXiv:2002.05202). Its gradient is explicit, because recomputing its
    intermediate values takes less time than storing them."""
    return jax.nn.silu(gate) * up


def gated_backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    gate, up = kept
    open_ = jax.nn.sigmoid(gate)
    return gradient * up * open_ * (1.0 + gate * (1.0 - open_)), gradient * gate * open_


gated.defvjp(lambda gate, up: (gated(gate, up), (gate, up)), gated_backward)


def norm(shape: Shape, *leading: int) -> Norm:
    """A norm with scale 1 and bias 0."""
    size, gpt2 = (*leading, shape.width), shape.family == "gpt2"
    return Norm(jnp.ones(size), jnp.zeros(size) if gpt2 else None, shape.norm_eps)
