"""Layers. Each is a struct of its parameters, called on arrays with any leading axes."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, static, struct

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
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
    """Linear layers with an activation between them, and after the last if `ends_active`."""

    layers: tuple[Linear, ...]
    activation: str = static("tanh")
    ends_active: bool = static(False)

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
        return x


@struct
class Conv:
    """A convolution without padding, over [..., height, width, channels].

    Written as slices and one matrix product, because on CPU the backward pass of XLA's own
    convolution is some twenty times slower inside a scan than outside it. Where `stride` divides
    `size`, pixels are first folded into blocks of `stride`, which leaves (size / stride)^2 slices.
    """

    w: Array  # [size * size * channels, outputs], rows ordered as `patches` orders them
    b: Array
    size: int = static(3)
    stride: int = static(1)

    @classmethod
    def init(cls, key: Key, channels: int, outputs: int, size: int, stride: int = 1) -> "Conv":
        linear = Linear.init(key, size * size * channels, outputs)
        return cls(linear.w, linear.b, size, stride)

    def __call__(self, x: Array) -> Array:
        return self.patches(x) @ self.w + self.b

    def patches(self, x: Array) -> Array:
        """[..., height, width, channels] to [..., rows, columns, size * size * channels]."""
        size, stride = self.size, self.stride
        if stride > 1 and size % stride == 0:
            x, size, stride = fold(x, stride), size // stride, 1
        rows = (x.shape[-3] - size) // stride + 1
        columns = (x.shape[-2] - size) // stride + 1
        return jnp.concatenate(
            [
                x[..., i : i + stride * rows : stride, j : j + stride * columns : stride, :]
                for i in range(size)
                for j in range(size)
            ],
            axis=-1,
        )


def fold(x: Array, block: int) -> Array:
    """Moves blocks of `block` x `block` pixels into channels, dropping what does not fill one."""
    *leading, height, width, channels = x.shape
    rows, columns = height // block, width // block
    x = x[..., : rows * block, : columns * block, :]
    x = x.reshape(*leading, rows, block, columns, block, channels)
    x = jnp.moveaxis(x, -4, -3)
    return x.reshape(*leading, rows, columns, block * block * channels)


def outputs(layer: Conv, height: int, width: int) -> tuple[int, int]:
    """The height and width of what `layer` makes of an image of `height` x `width`."""
    return tuple((n - layer.size) // layer.stride + 1 for n in (height, width))  # type: ignore[return-value]


def count(model: object) -> int:
    """How many numbers `model` has."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(model))
