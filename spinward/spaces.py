"""What an agent sees and what it does."""

import dataclasses
import functools
import math
import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


@dataclasses.dataclass(frozen=True)
class Box:
    """Numbers within bounds. A bound is one number for all entries, or a tuple with one for
    each."""

    shape: tuple[int, ...]
    low: float | tuple[float, ...] = -math.inf
    high: float | tuple[float, ...] = math.inf
    dtype: str = "float32"

    @functools.cached_property
    def bounded(self) -> bool:
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    def from_unit(self, action: Any) -> Any:
        """`action` clipped to [-1, 1] and scaled to the bounds; unchanged if there are no
        bounds."""
        if not self.bounded:
            return action
        low, half = self._scale
        if not isinstance(action, np.ndarray):
            return low + (jnp.clip(action, -1.0, 1.0) + 1.0) * half
        inside = np.minimum(np.maximum(action, -1.0), 1.0)  # a third of the time of `np.clip`
        inside += 1.0
        inside *= half
        inside += low
        return inside

    @functools.cached_property
    def _scale(self) -> tuple[np.ndarray, np.ndarray]:
        """The lower bounds, and half of the distance to the upper bounds, in this shape."""
        bounds = (np.asarray(bound, np.float32).reshape(-1) for bound in (self.low, self.high))
        low, high = (np.broadcast_to(b, (self.size,)).reshape(self.shape) for b in bounds)
        return low, 0.5 * (high - low)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """A uniform action in [-1, 1], the scale of a policy's actions."""
        return jax.random.uniform(key, (*shape, *self.shape), minval=-1.0, maxval=1.0)


@dataclasses.dataclass(frozen=True)
class Discrete:
    """One of `n` actions, counted from 0."""

    n: int
    shape: typing.ClassVar[tuple[int, ...]] = ()

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        return jax.random.randint(key, shape, 0, self.n)


@dataclasses.dataclass(frozen=True)
class MultiDiscrete:
    """Several choices at once: the i-th is one of `sizes[i]`."""

    sizes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.sizes),)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        return jax.random.randint(key, (*shape, len(self.sizes)), 0, np.asarray(self.sizes))


@dataclasses.dataclass(frozen=True)
class Dict:
    """Named parts of an observation."""

    items: tuple[tuple[str, Box], ...]


ActionSpace = Box | Discrete | MultiDiscrete
MASK = "action_mask"  # the part of a dict observation that says which actions are allowed
PRIVILEGED = "privileged"  # the part that critics read and policies do not


@dataclasses.dataclass(frozen=True)
class Spec:
    """What an agent observes and does, and how many environments are stepped in parallel."""

    obs: Box | Dict
    action: ActionSpace
    envs: int = 1
    players: int = 1  # they move in turn; only algorithms for games accept more than one
    resets: bool = True  # every episode starts after the step that ended the episode before

    def zeros(self, *leading: int) -> Any:
        """An observation of zeros with `leading` axes in front."""
        parts = self.obs.items if isinstance(self.obs, Dict) else (("", self.obs),)
        zeros = {name: np.zeros((*leading, *box.shape), box.dtype) for name, box in parts}
        return zeros if isinstance(self.obs, Dict) else zeros[""]
