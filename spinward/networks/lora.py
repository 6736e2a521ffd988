"""Low-rank changes of a decoder's projections (Hu et al., 2021, arXiv:2106.09685).

Departs from the paper: all seven projections of a layer are changed, not queries and values alone
(Dettmers et al., 2023, arXiv:2305.14314, section 4), and `a` is uniform, as in PEFT.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, replace, static, struct
from spinward.errors import SettingsError
from spinward.networks.decoder import Decoder
from spinward.networks.transformer import Layer, Projection


@struct
class LowRank:
    """`scale * x @ a @ b`, with the parameters of all layers or of one."""

    a: Array  # [layers, inputs, rank]
    b: Array  # [layers, rank, outputs], 0 at first
    scale: float = static(2.0)

    def __call__(self, x: Array) -> Array:
        return (self.scale * ((x @ self.a) @ self.b)).astype(x.dtype)


@struct
class Lora:
    """The trained parameters in place of a decoder's: a change of each projection, by its name."""

    deltas: dict[str, LowRank]

    @classmethod
    def init(cls, key: Key, decoder: Decoder, rank: int, scale: float = 2.0) -> "Lora":
        """A change that is 0 at first, in float32. `scale` is alpha / rank in the paper's terms.

        Raises:
            SettingsError: the rank is not below that of the smallest matrix.
        """
        matrices = projections(decoder.layers)
        smallest = min(min(p.w.shape[1:]) for p in matrices.values())
        if not 0 < rank < smallest:
            raise SettingsError(f"a rank of {rank} must be above 0 and below {smallest}")
        deltas = {}
        for name, k in zip(matrices, jax.random.split(key, len(matrices)), strict=True):
            layers, inputs, outputs = matrices[name].w.shape
            a = jax.random.uniform(k, (layers, inputs, rank), minval=-1.0) * inputs**-0.5
            deltas[name] = LowRank(a, jnp.zeros((layers, rank, outputs)), scale)
        return cls(deltas)

    def attached(self, decoder: Decoder) -> Decoder:
        """`decoder` with the change attached to its own weights, which stay unchanged."""
        matrices = projections(decoder.layers)
        changed = {
            name: replace(matrices[name], delta=delta) for name, delta in self.deltas.items()
        }
        return replace(decoder, layers=replace(decoder.layers, **changed))


def projections(layers: Layer) -> dict[str, Projection]:
    """The projections of a layer by their names."""
    values = {f.name: getattr(layers, f.name) for f in dataclasses.fields(layers)}
    return {name: value for name, value in values.items() if isinstance(value, Projection)}


def merged(decoder: Decoder) -> Decoder:
    """`decoder` with every attached change merged into its weights."""
    changed = {}
    for name, own in projections(decoder.layers).items():
        if own.delta is not None:
            delta = own.delta.scale * (own.delta.a @ own.delta.b)  # [layers, inputs, outputs]
            changed[name] = Projection((own.w + delta).astype(own.w.dtype), own.b)
    return replace(decoder, layers=replace(decoder.layers, **changed))
