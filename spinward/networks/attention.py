"""Attention, and positions in it: pairs of a head's numbers turned by an angle that grows with the
position (Su et al., 2021, arXiv:2104.09864). A pair is a number of the first half and its twin of
the second, as the public checkpoints of Llama and Qwen have it."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

FORBIDDEN = -1e30  # a score that no softmax sees; finite, so that a row of none is not NaN


@dataclasses.dataclass(frozen=True)
class Scaling:
    """How frequencies are slowed for contexts longer than those trained on."""

    kind: str = "default"  # default: not at all; linear: all alike; llama3: the slow ones only
    factor: float = 1.0
    low: float = 1.0  # turns within the original context below which a frequency is slowed fully
    high: float = 4.0  # turns above which it is not slowed
    context: int = 8192  # the original one


def frequencies(dim: int, theta: float, scaling: Scaling) -> np.ndarray:
    """Radians per position for each pair [dim / 2], from 1 down to nearly 1 / theta.

    For llama3, a frequency of as many turns within the original context lies between the two
    (Llama Team, 2024, arXiv:2407.21783, and its reference implementation).
    """
    speed = theta ** -(np.arange(0, dim, 2) / dim)
    if scaling.kind == "default":
        return speed
    if scaling.kind == "linear":
        return speed / scaling.factor
    turns = scaling.context * speed / (2 * math.pi)
    share = np.clip((turns - scaling.low) / (scaling.high - scaling.low), 0.0, 1.0)
    return speed * (share + (1.0 - share) / scaling.factor)


def rotation(position: Array, dim: int, theta: float, scaling: Scaling) -> Array:
    """The angles [..., dim / 2] of positions [...]."""
    speed = jnp.asarray(frequencies(dim, theta, scaling), jnp.float32)
    return position[..., None].astype(jnp.float32) * speed


def turned(x: Array, angles: Array) -> Array:
    """`x` [batch, time, heads, dim] with each pair turned by its angle [batch, time, dim / 2]."""
    first, second = jnp.split(x.astype(jnp.float32), 2, -1)
    cos, sin = jnp.cos(angles)[:, :, None], jnp.sin(angles)[:, :, None]
    y = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1)
    return y.astype(x.dtype)


def attention(q: Array, k: Array, v: Array, allowed: Array) -> Array:
    """What each query attends to [batch, time, heads, dim]; of `q` likewise, and of `k` and `v`
    [batch, kv_heads, columns, dim].

    `allowed` is [batch, time, columns]. A query that may attend to nothing gets the mean of `v`.
    """
    batch, time, heads, dim = q.shape
    grouped = q.reshape(batch, time, k.shape[1], -1, dim)
    scores = jnp.einsum("btkgd,bksd->bkgts", grouped, k, preferred_element_type=jnp.float32)
    scores = jnp.where(allowed[:, None, None], scores * dim**-0.5, FORBIDDEN)
    # Divided by their sum after they have met `v`, which is smaller: slopes then need no sum over
    # what they are themselves a product of (Dao et al., 2022, arXiv:2205.14135, appendix B.2).
    most = jax.lax.stop_gradient(scores.max(-1, keepdims=True))
    weights = jnp.exp(scores - most)
    mixed = jnp.einsum(
        "bkgts,bksd->bkgtd", weights.astype(v.dtype), v, preferred_element_type=jnp.float32
    )
    mixed = (mixed / weights.sum(-1, keepdims=True)).astype(v.dtype)
    return jnp.moveaxis(mixed, 3, 1).reshape(batch, time, heads, dim)
