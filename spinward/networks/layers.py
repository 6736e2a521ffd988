"""Layers: structs of their parameters, which are called on arrays with any leading axes."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero

from spinward.core import Key, static, struct

ENOUGH_CHANNELS = 32  # from which a matrix product of each slice is faster than one of all slices
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "swish": jax.nn.swish,
    "elu": jax.nn.elu,
}


@struct
class Linear:
    """`x @ w + b`."""

    w: Array  # [inputs, outputs]
    b: Array  # [outputs]

    @classmethod
    def init(cls, key: Key, inputs: int, outputs: int, scale: float = 2**0.5) -> "Linear":
        """Orthogonal weights of gain `scale` (Saxe et al., 2014) and no bias."""
        w = jax.nn.initializers.orthogonal(scale)(key, (inputs, outputs))
        return cls(w, jnp.zeros(outputs))

    def __call__(self, x: Array) -> Array:
        return x @ self.w + self.b


@struct
class MLP:
    """Linear layers with an activation between them, and after the last if `ends_active`. With
    `normed` each hidden vector is shifted and scaled to mean 0 and standard deviation 1 (Ba et al.,
    2016, arXiv:1607.06450, without gain and bias)."""

    layers: tuple[Linear, ...]
    activation: str = static("tanh")
    ends_active: bool = static(False)
    normed: bool = static(default=False)

    @classmethod
    def init(
        cls,
        key: Key,
        sizes: Sequence[int],
        activation: str = "tanh",
        out_scale: float = 1.0,
        ends_active: bool = False,
    ) -> "MLP":
        """Layers of `sizes` [inputs, hidden..., outputs]; the last has gain `out_scale`."""
        keys = jax.random.split(key, max(len(sizes) - 1, 1))
        scales = [2**0.5] * (len(sizes) - 2) + [out_scale]
        layers = map(Linear.init, keys, sizes, sizes[1:], scales)
        return cls(tuple(layers), activation, ends_active)

    def __call__(self, x: Array) -> Array:
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i < len(self.layers) - 1 or self.ends_active:
                x = ACTIVATIONS[self.activation](x)
                x = normed(x) if self.normed else x
        return x

    def features(self, x: Array) -> Array:
        """The input of the last layer for `x`."""
        return MLP(self.layers[:-1], self.activation, True, self.normed)(x)


def normed(x: Array) -> Array:
    """`x` with mean 0 and variance 1 along its last axis."""
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-6)


@struct
class Conv:
    """A convolution without padding, over [..., height, width, channels].

    Written as slices and matrix products, because on CPU the backward pass of XLA's own
    convolution is some twenty times slower inside a scan than outside it. Where `stride` divides
    `size`, pixels are first folded into blocks of `stride`, which leaves (size / stride)^2 slices.
    """

    w: Array  # [size * size * channels, outputs], rows ordered as `windows` orders them
    b: Array
    size: int = static(3)
    stride: int = static(1)

    @classmethod
    def init(cls, key: Key, channels: int, outputs: int, size: int, stride: int = 1) -> "Conv":
        linear = Linear.init(key, size * size * channels, outputs)
        return cls(linear.w, linear.b, size, stride)

    def __call__(self, x: Array, high: float = 1.0) -> Array:
        """The convolution of `x` / `high`."""
        size, stride = self.size, self.stride
        if stride > 1 and size % stride == 0:
            x, size, stride = fold(x, stride), size // stride, 1
        x = x.astype(jnp.float32) / high
        if stride == 1 and x.shape[-1] >= ENOUGH_CHANNELS:
            return correlation(x, self.w, size) + self.b
        return jnp.concatenate(windows(x, size, stride), axis=-1) @ self.w + self.b


def windows(x: Array, size: int, stride: int = 1) -> list[Array]:
    """The pixels [..., rows, columns, channels] under each entry of a window of `size` x `size`."""
    rows = (x.shape[-3] - size) // stride + 1
    columns = (x.shape[-2] - size) // stride + 1
    return [
        x[..., i : i + stride * rows : stride, j : j + stride * columns : stride, :]
        for i in range(size)
        for j in range(size)
    ]


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def correlation(x: Array, w: Array, size: int) -> Array:
    """`x` [..., height, width, channels] under windows of weights `w` as a `Conv` has them.

    One product for all entries of the window, whose results are then shifted and added, where
    that makes smaller arrays than the slices would be.
    """
    channels, outputs = x.shape[-1], w.shape[-1]
    if outputs >= channels:
        return by_slices(x, w, size)
    each = jnp.moveaxis(w.reshape(-1, channels, outputs), 0, 1).reshape(channels, -1)
    parts = jnp.split(x @ each, size * size, axis=-1)
    rows, columns = x.shape[-3] - size + 1, x.shape[-2] - size + 1
    corners = [(i, j) for i in range(size) for j in range(size)]
    return sum(
        part[..., i : i + rows, j : j + columns, :]
        for part, (i, j) in zip(parts, corners, strict=True)
    )  # type: ignore[return-value]


def by_slices(x: Array, w: Array, size: int) -> Array:
    """`correlation` as a product for each entry of the window.

    Weights are transposed first, so that their gradient is (output gradient)^T x. On CPU, for so
    few outputs, that takes half the time of x^T (output gradient), which XLA would choose.
    """
    transposed = w.reshape(size * size, x.shape[-1], -1).swapaxes(1, 2)
    transposed = jax.lax.optimization_barrier(transposed)
    terms = zip(windows(x, size), transposed, strict=True)
    return sum(jnp.einsum("...c,oc->...o", pixels, part) for pixels, part in terms)  # type: ignore[return-value]


@partial(correlation.defjvp, symbolic_zeros=True)
def correlation_jvp(size: int, at: tuple[Any, Any], along: tuple[Any, Any]) -> tuple[Array, Any]:
    """The derivative by slices, whose backward pass is the fastest; it keeps `x` and slices it
    again."""
    (x, w), (dx, dw) = at, along
    varied = [(a, b) for a, b, d in ((dx, w, dx), (x, dw, dw)) if not isinstance(d, SymbolicZero)]
    again = jax.checkpoint(partial(by_slices, size=size), prevent_cse=False)
    return correlation(x, w, size), sum(again(a, b) for a, b in varied)


def fold(x: Array, block: int) -> Array:
    """Moves blocks of `block` x `block` pixels into channels, and drops incomplete blocks.

    Bytes of four channels move as one word, which takes an eighth of the time.
    """
    *leading, height, width, channels = x.shape
    rows, columns = height // block, width // block
    if x.dtype == jnp.uint8 and channels % 4 == 0:
        bytes_of = x.reshape(*leading, height, width, channels // 4, 4)
        words = fold(jax.lax.bitcast_convert_type(bytes_of, jnp.uint32), block)
        as_bytes = jax.lax.bitcast_convert_type(words, jnp.uint8)
        return as_bytes.reshape(*leading, rows, columns, -1)
    x = x[..., : rows * block, : columns * block, :]
    x = x.reshape(*leading, rows, block, columns, block * channels)
    return x.swapaxes(-3, -2).reshape(*leading, rows, columns, block * block * channels)


def outputs(layer: Conv, height: int, width: int) -> tuple[int, int]:
    """The height and the width of `layer`'s output for an image of `height` x `width`."""
    return tuple((n - layer.size) // layer.stride + 1 for n in (height, width))  # type: ignore[return-value]


def count(model: object) -> int:
    """The number of parameters of `model`."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(model))
