"""Torsos, which read observations: vectors unchanged, images by convolutions, dicts by their
parts."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import MASK, PRIVILEGED, Box, Dict, Key, Obs, Spec, static, struct
from spinward.errors import SettingsError
from spinward.networks.layers import ACTIVATIONS, MLP, Conv, outputs
from spinward.spaces import UNBOUNDED

NATURE = ((32, 8, 4), (64, 4, 2), (64, 3, 1))  # filters, size, stride: Mnih et al., 2015
MIDDLE = ((16, 8, 4), (32, 4, 2))  # Mnih et al., 2016
SMALL = ((16, 3, 1),)  # MinAtar's: Young and Tian, 2019
CHUNK = 8  # large images read at once on CPU: as many as fit its cache


@struct
class Images:
    """Convolutions over an image, whose entries are divided by `high`; features are flat."""

    layers: tuple[Conv, ...]
    high: float = static(255.0)
    activation: str = static("relu")

    @classmethod
    def init(cls, key: Key, box: Box, activation: str = "relu") -> "Images":
        """The three layers of the Nature DQN where the image is large enough, else the two of A3C,
        or the one of MinAtar."""
        height, width, channels = box.shape
        side = min(height, width)
        shapes = NATURE if side >= 36 else MIDDLE if side >= 20 else SMALL
        layers = []
        for k, (filters, size, stride) in zip(
            jax.random.split(key, len(shapes)), shapes, strict=True
        ):
            layers.append(Conv.init(k, channels, filters, size, stride))
            channels = filters
        return cls(tuple(layers), brightest(box), activation)

    def features(self, box: Box) -> int:
        height, width, _ = box.shape
        for layer in self.layers:
            height, width = outputs(layer, height, width)
        return height * width * self.layers[-1].b.shape[0]

    def __call__(self, image: Array) -> Array:
        *leading, height, width, _ = image.shape
        n = math.prod(leading)
        large = min(height, width) >= 36 and n > CHUNK and n % CHUNK == 0
        if not large or jax.default_backend() != "cpu":
            return self.whole(image)
        parts = image.reshape(-1, CHUNK, *image.shape[-3:])
        return jax.lax.map(self.whole, parts).reshape(*leading, -1)

    def whole(self, image: Array) -> Array:
        x = image
        for i, layer in enumerate(self.layers):
            x = ACTIVATIONS[self.activation](layer(x, self.high if i == 0 else 1.0))
        return x.reshape(*x.shape[:-3], -1)


def brightest(box: Box) -> float:
    """The largest size of an entry of an image; 1 where the bounds say nothing of it."""
    size = float(np.max(np.abs([box.scale.low, box.scale.high])))
    return size if 0.0 < size < UNBOUNDED else 1.0


@struct
class Torso:
    """Reads an observation into features [..., dim]. `trunk` is shared by all heads and has no
    layers unless there are images to read."""

    images: dict[str, Images]
    trunk: MLP
    names: tuple[str, ...] = static(())  # of the parts of a dict observation
    scalars: tuple[str, ...] = static(())  # parts that are a number, not a vector

    @classmethod
    def init(
        cls,
        key: Key,
        space: Box | Dict,
        hidden: tuple[int, ...],
        activation: str,
        critic: bool = False,
    ) -> tuple["Torso", int, tuple[int, ...]]:
        """The torso, its number of features, and the hidden layers left for each head. A critic's
        torso also reads the privileged part, where there is one."""
        parts = readable(space, critic)
        k_trunk, *keys = jax.random.split(key, len(parts) + 1)
        images, size = {}, 0
        for k, (name, box) in zip(keys, parts.items(), strict=True):
            if len(box.shape) == 3:
                images[name] = Images.init(k, box, "relu")
                size += images[name].features(box)
            elif len(box.shape) <= 1:
                size += box.size
            else:
                raise SettingsError(
                    f"observation {name or 'space'} has shape {box.shape}; expected a vector "
                    "[dim] or an image [height, width, channels]"
                )
        names = tuple(parts) if isinstance(space, Dict) else ()
        scalars = tuple(name for name, box in parts.items() if box.shape == ())
        if not images:
            return cls({}, MLP((), activation, False), names, scalars), size, hidden
        activation = "relu"
        trunk = MLP.init(k_trunk, (size, *hidden), activation, 2**0.5, ends_active=True)
        return cls(images, trunk, names, scalars), hidden[-1] if hidden else size, ()

    def __call__(self, obs: Obs) -> Array:
        parts = {name: obs[name] for name in self.names} if self.names else {"": obs}
        features = [self.read(name, x) for name, x in parts.items()]
        x = jnp.concatenate(features, -1) if len(features) > 1 else features[0]
        return self.trunk(x)

    def read(self, name: str, x: Array) -> Array:
        """A part's features [..., dim]."""
        if name in self.images:
            return self.images[name](x)
        x = x.astype(jnp.float32)
        return x[..., None] if name in self.scalars else x


def readable(space: Box | Dict, critic: bool) -> dict[str, Box]:
    """The parts of an observation that a policy, or a critic, may read.

    Raises:
        SettingsError: there is none.
    """
    parts = dict(space.items) if isinstance(space, Dict) else {"": space}
    hidden = {MASK} if critic else {MASK, PRIVILEGED}
    # A part of a dict in a dict has the names of both, as in `privileged.mass`.
    boxes = {name: box for name, box in parts.items() if name.partition(".")[0] not in hidden}
    if not boxes:
        raise SettingsError(f"a policy can read nothing of these observations: {', '.join(parts)}")
    return boxes


def privileged(spec: Spec) -> bool:
    """Whether critics read a privileged part of observations."""
    parts = spec.obs.items if isinstance(spec.obs, Dict) else ()
    return any(name.partition(".")[0] == PRIVILEGED for name, _ in parts)


def uniform_choice(key: Key, allowed: Array | None, shape: tuple[int, ...]) -> Array:
    """One of `shape[-1]` actions, uniformly among the allowed actions."""
    scores = jax.random.uniform(key, shape)
    scores = scores if allowed is None else jnp.where(allowed != 0, scores, -1.0)
    return scores.argmax(-1).astype(jnp.int32)


def mask(obs: Obs) -> Array | None:
    """Which actions are allowed in `obs`: [..., actions] of 0 and 1, or None if all are."""
    return obs.get(MASK) if isinstance(obs, dict) else None
