"""Random network distillation (Burda et al., 2019, arXiv:1810.12894): the novelty
of an observation is the error of a network that predicts the features of a fixed random network."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import MASK, Box, Dict, Key, Obs, Spec, struct
from spinward.networks.layers import MLP
from spinward.networks.normaliser import Moments, parts_of
from spinward.networks.torso import Torso

CLIP = 5.0  # standard deviations at which observations are clipped


@struct
class Features:
    """The features [..., outputs] of an observation."""

    torso: Torso
    layers: MLP

    @classmethod
    def init(cls, key: Key, space: Box | Dict, hidden: tuple[int, ...], outputs: int) -> "Features":
        k_torso, k_layers = jax.random.split(key)
        torso, size, left = Torso.init(k_torso, space, hidden, "relu")
        return cls(torso, MLP.init(k_layers, (size, *left, outputs), "relu"))

    def __call__(self, obs: Obs) -> Array:
        return self.layers(self.torso(obs))


@struct
class Whitener:
    """Scales every entry of an observation to mean 0 and standard deviation 1, pixels included."""

    moments: dict[str, Moments]

    @classmethod
    def init(cls, spec: Spec) -> "Whitener":
        parts = parts_of(spec.zeros())
        return cls({k: Moments.init(x.shape) for k, x in parts.items() if k != MASK})

    def add(self, obs: Obs, weight: Array) -> "Whitener":
        """The statistics with the observations [time, env, ...] of nonzero weight added."""
        parts = parts_of(obs)
        rows = {k: parts[k].astype(jnp.float32) for k in self.moments}
        return Whitener({k: m.add(rows[k], weight) for k, m in self.moments.items()})

    def __call__(self, obs: Obs) -> Obs:
        parts = parts_of(obs)
        scaled = {
            k: jnp.clip((parts[k] - m.mean) * jax.lax.rsqrt(m.var + 1e-8), -CLIP, CLIP)
            for k, m in self.moments.items()
        }
        return scaled if isinstance(obs, dict) else scaled[""]


def whitened(space: Box | Dict) -> Box | Dict:
    """The space of whitened observations."""

    def box(space: Box) -> Box:
        return Box(space.shape, -CLIP, CLIP)

    if isinstance(space, Dict):
        return Dict(tuple((k, box(part)) for k, part in space.items if k != MASK))
    return box(space)


@struct
class Distillation:
    """The fixed random target, and the predictor that is trained to match it."""

    target: Features
    predictor: Features

    @classmethod
    def init(cls, key: Key, spec: Spec, width: int, outputs: int) -> "Distillation":
        """The predictor has two layers of `width` more than the target."""
        k_target, k_predictor = jax.random.split(key)
        space = whitened(spec.obs)
        vector = not any(len(x.shape) == 3 for x in parts_of(spec.zeros()).values())
        first = (width,) if vector else ()  # images are read by convolutions
        target = Features.init(k_target, space, first, outputs)
        return cls(target, Features.init(k_predictor, space, (*first, width, width), outputs))


def distance(predictor: Any, target: Any, obs: Obs) -> Array:
    """mean_j (predictor(o) - target(o))_j^2 [...], without a gradient to the target."""
    error = predictor(obs) - jax.lax.stop_gradient(target(obs))
    return jnp.square(error).mean(-1)
