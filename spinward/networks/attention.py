"""Attention with rotary positions: pairs of a head's features are rotated by an angle that grows
with the position (Su et al., 2021, arXiv:2104.09864). A pair is a feature of the first half and its
counterpart in the second, as in the public checkpoints of Llama and Qwen."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Turn = tuple[Array, Array]  # the cosine and the sine of an angle [..., dim / 2]
FORBIDDEN = -1e30  # the score of a masked column; finite, so that a fully masked row is not NaN


@dataclasses.dataclass(frozen=True)
class Scaling:
    """How frequencies are lowered for contexts longer than those of training."""

    kind: str = "default"  # default: not at all; linear: all; llama3: low frequencies only
    factor: float = 1.0
    low: float = 1.0  # turns in the original context below which a frequency is divided by `factor`
    high: float = 4.0  # turns above which a frequency is unchanged
    context: int = 8192  # the original context, in tokens


def frequencies(dim: int, theta: float, scaling: Scaling) -> np.ndarray:
    """Radians per position for each pair [dim / 2], from 1 down to nearly 1 / theta.

    For llama3, a frequency whose turns lie between `low` and `high` is interpolated (Llama Team,
    2024, arXiv:2407.21783, and its reference implementation).
    """
    speed = theta ** -(np.arange(0, dim, 2) / dim)
    if scaling.kind == "default":
        return speed
    if scaling.kind == "linear":
        return speed / scaling.factor
    turns = scaling.context * speed / (2 * math.pi)
    share = np.clip((turns - scaling.low) / (scaling.high - scaling.low), 0.0, 1.0)
    return speed * (share + (1.0 - share) / scaling.factor)


def rotation(position: Array, dim: int, theta: float, scaling: Scaling) -> Turn:
    """Cosines and sines [..., dim / 2] of the angles at positions [...]."""
    speed = jnp.asarray(frequencies(dim, theta, scaling), jnp.float32)
    angles = position[..., None].astype(jnp.float32) * speed
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    # Divided by their length of 1, because XLA computes a cosine again for every head of every
    # layer, and a quotient once. On CPU that was 8 % of the time of GRPO with a small model.
    length = jnp.sqrt(jnp.square(cos) + jnp.square(sin))
    return cos / length, sin / length


def turned(x: Array, by: Turn) -> Array:
    """`x` [batch, time, heads, dim] with each pair rotated by its angle; `by` is the cosine and
    the sine [batch, time, dim / 2]."""
    first, second = jnp.split(x.astype(jnp.float32), 2, -1)
    cos, sin = (part[:, :, None] for part in by)
    y = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1)
    return y.astype(x.dtype)


def attention(q: Array, k: Array, v: Array, allowed: Array) -> Array:
    """The weighted values [batch, time, heads, dim] of the queries `q` [batch, time, heads, dim],
    from `k` and `v` [batch, kv_heads, columns, dim].

    `allowed` is [batch, time, columns]. The result of a fully masked query is 0.
    """
    batch, time, heads, dim = q.shape
    kv_heads = k.shape[1]
    grouped = q.reshape(batch, time, kv_heads, -1, dim) * dim**-0.5
    if time == 1:
        return of_rows(grouped[:, 0], k, v, allowed).reshape(q.shape)
    queries = grouped.transpose(0, 2, 4, 3, 1).reshape(batch, kv_heads, dim, -1)
    bias = jnp.where(allowed, 0.0, FORBIDDEN).swapaxes(1, 2)[:, None]
    mixed = of_columns(queries, k, v, jnp.tile(bias, heads // kv_heads))
    return mixed.reshape(batch, kv_heads, dim, -1, time).transpose(0, 4, 1, 3, 2).reshape(q.shape)


@jax.custom_vjp
def of_columns(queries: Array, k: Array, v: Array, bias: Array) -> Array:
    """`attention` [batch, kv_heads, dim, group * time] with a query in each column, so that sums
    are over rows, and with an explicit gradient, so that no product needs a transposed matrix. On
    CPU both together take three fifths of the time."""
    return columns_forward(queries, k, v, bias)[0]


def columns_forward(
    queries: Array, k: Array, v: Array, bias: Array
) -> tuple[Array, tuple[Array, ...]]:
    weights, inverse = of_scores(product(k, queries) + bias, -2)
    mixed = (product(turned_over(v), weights.astype(v.dtype)) * inverse).astype(v.dtype)
    return mixed, (queries, k, v, weights, inverse, mixed)


def columns_backward(kept: tuple[Array, ...], gradient: Array) -> tuple[Array, Array, Array, None]:
    queries, k, v, weights, inverse, mixed = kept
    gradient = gradient * inverse
    shared = (gradient * mixed).sum(-2, keepdims=True)
    of_score = (weights * (product(v, gradient.astype(v.dtype)) - shared)).astype(v.dtype)
    of_v = product(weights.astype(v.dtype), turned_over(gradient.astype(v.dtype)))
    of_k = product(of_score, turned_over(queries))
    of_queries = product(turned_over(k), of_score)
    return of_queries.astype(v.dtype), of_k.astype(v.dtype), of_v.astype(v.dtype), None


of_columns.defvjp(columns_forward, columns_backward)


def turned_over(x: Array) -> Array:
    """`x` transposed. Without the barrier, XLA would transpose within a product, which is
    slower."""
    return jax.lax.optimization_barrier(x.swapaxes(-1, -2))


def of_rows(q: Array, k: Array, v: Array, allowed: Array) -> Array:
    """`attention` [batch, kv_heads, group, dim] for one query of each text."""
    scores = jnp.where(allowed[:, None], product(q, k.swapaxes(2, 3)), FORBIDDEN)
    weights, inverse = of_scores(scores, -1)
    return (product(weights.astype(v.dtype), v) * inverse).astype(v.dtype)


def of_scores(scores: Array, axis: int) -> tuple[Array, Array]:
    """Unnormalised weights and one over their sum. The product with the values is normalised in
    place of the weights, because it is smaller (Dao et al., 2022, arXiv:2205.14135, appendix
    B.2)."""
    largest = jax.lax.stop_gradient(scores.max(axis, keepdims=True))
    weights = jnp.exp(scores - jnp.maximum(largest, 0.5 * FORBIDDEN))
    return weights, 1.0 / jnp.maximum(weights.sum(axis, keepdims=True), 1e-30)


def product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)
