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
    """Numbers within bounds, which are one number for all or a tuple with one for each entry."""

    shape: tuple[int, ...]
    low: float | tuple[float, ...] = -math.inf
    high: float | tuple[float, ...] = math.inf
    dtype: str = "float32"

    @functools.cached_property
    def bounded(self) -> bool:
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    def from_unit(self, action: Any) -> Any:
        """`action` clipped to [-1, 1] and stretched to the bounds; unchanged if there are none."""
        if not self.bounded:
            return action
        low, half = self._stretch
        if not isinstance(action, np.ndarray):
            return low + (jnp.clip(action, -1.0, 1.0) + 1.0) * half
        inside = np.minimum(np.maximum(action, -1.0), 1.0)  # a third of the time of `np.clip`
        inside += 1.0
        inside *= half
        inside += low
        return inside

    @functools.cached_property
    def _stretch(self) -> tuple[np.ndarray, np.ndarray]:
        """The lower bounds and half of what lies between them and the upper, of this shape."""
        bounds = (np.asarray(bound, np.float32).reshape(-1) for bound in (self.low, self.high))
        low, high = (np.broadcast_to(b, (self.size,)).reshape(self.shape) for b in bounds)
        return low, 0.5 * (high - low)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """A uniform action in [-1, 1], the scale in which policies act."""
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
    """What an agent sees and does, and how many environments step side by side."""

    obs: Box | Dict
    action: ActionSpace
    envs: int = 1
    players: int = 1  # who move in turn; only algorithms for games take more
    resets: bool = True  # every start of an episode is told, by the end of the one before

    def zeros(self, *leading: int) -> Any:
        """An observation of zeros with `leading` axes in front."""
        parts = self.obs.items if isinstance(self.obs, Dict) else (("", self.obs),)
        zeros = {name: np.zeros((*leading, *box.shape), box.dtype) for name, box in parts}
        return zeros if isinstance(self.obs, Dict) else zeros[""]
