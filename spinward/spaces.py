"""What an agent sees and what it does."""

import dataclasses
import functools
import math
import typing
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

UNBOUNDED = 1e10  # a bound this large stands for none, as the largest float32 does


class Scale(NamedTuple):
    """From a policy's actions to the units of a space, entry by entry, in float32.

    An entry with two bounds is clipped to [-1, 1] and scaled to them. An entry without is counted
    from the number within its bounds that is nearest to 0, and clipped.
    """

    low: np.ndarray
    high: np.ndarray
    base: np.ndarray  # the lower of two bounds, or the number within the bounds nearest to 0
    half: np.ndarray  # of the distance between two bounds
    both: np.ndarray  # whether an entry has two bounds

    @classmethod
    def within(cls, low: np.ndarray, high: np.ndarray) -> "Scale":
        both = (np.abs(low) < UNBOUNDED) & (np.abs(high) < UNBOUNDED)
        low, high = rounded_up(low), -rounded_up(-high)
        half = np.where(both, 0.5 * (np.where(both, high, 0.0) - np.where(both, low, 0.0)), 0.0)
        base = np.where(both, low, np.clip(0.0, low, high))
        return cls(low, high, base.astype(np.float32), half.astype(np.float32), both)

    def __call__(self, action: Any) -> Any:
        xp: Any = np if isinstance(action, np.ndarray) else jnp
        inside = self.base + (xp.clip(action, -1.0, 1.0) + 1.0) * self.half
        inside = xp.where(self.both, inside, action + self.base)
        return xp.clip(inside, self.low, self.high)

    def inverse(self, values: np.ndarray) -> np.ndarray:
        """A policy's actions, in float32, for `values` in the units of the space."""
        half = np.where(self.half > 0.0, self.half, 1.0)
        unit = np.where(self.both, (values - self.base) / half - 1.0, values - self.base)
        return unit.astype(np.float32)


def rounded_up(values: np.ndarray) -> np.ndarray:
    """`values` in float32, rounded up: a bound in float64 lies between two numbers of float32."""
    near = values.astype(np.float32)
    return np.where(near < values, np.nextafter(near, np.float32(np.inf)), near)


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
        """Whether every entry has two bounds."""
        return bool(self.scale.both.all())

    def from_unit(self, action: Any) -> Any:
        """A policy's `action` in the space's own units, within the bounds; see `Scale`."""
        if not isinstance(action, np.ndarray) or not self.bounded:
            return self.scale(action)
        inside = np.minimum(np.maximum(action, -1.0), 1.0)  # a third of the time of `np.clip`
        inside += 1.0
        inside *= self.scale.half
        inside += self.scale.low
        return np.minimum(np.maximum(inside, self.scale.low), self.scale.high)

    @functools.cached_property
    def scale(self) -> Scale:
        bounds = (np.asarray(bound, np.float64).reshape(-1) for bound in (self.low, self.high))
        low, high = (np.broadcast_to(b, (self.size,)).reshape(self.shape) for b in bounds)
        return Scale.within(low, high)

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

    def from_unit(self, action: Any) -> Any:
        """`action` itself: a choice has no scale."""
        return action

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        return jax.random.randint(key, shape, 0, self.n)


@dataclasses.dataclass(frozen=True)
class MultiDiscrete:
    """Several choices at once: the i-th is one of `sizes[i]`."""

    sizes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.sizes),)

    def from_unit(self, action: Any) -> Any:
        """`action` itself: choices have no scale."""
        return action

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        return jax.random.randint(key, (*shape, len(self.sizes)), 0, np.asarray(self.sizes))


@dataclasses.dataclass(frozen=True)
class Hybrid:
    """Choices and numbers at once. An action is one vector of float32: the choices, counted from 0,
    and then the numbers."""

    sizes: tuple[int, ...]  # of the choices
    box: Box  # of the numbers, a vector

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.sizes) + self.box.size,)

    @property
    def choices(self) -> MultiDiscrete:
        return MultiDiscrete(self.sizes)

    def parts(self, action: Any) -> tuple[Any, Any]:
        """The choices [..., choices] and the numbers [..., numbers] of an action."""
        count = len(self.sizes)
        return action[..., :count].astype("int32"), action[..., count:]

    @functools.cached_property
    def scale(self) -> Scale:
        """Of the numbers; choices are left as they are."""
        count, numbers = len(self.sizes), self.box.scale
        nothing = Scale.within(np.full(count, -np.inf), np.full(count, np.inf))
        return Scale(*(np.concatenate(pair) for pair in zip(nothing, numbers, strict=True)))

    def from_unit(self, action: Any) -> Any:
        """The action with its numbers in their own units."""
        return self.scale(action)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        k_choices, k_numbers = jax.random.split(key)
        choices = self.choices.sample(k_choices, shape).astype(jnp.float32)
        return jnp.concatenate([choices, self.box.sample(k_numbers, shape)], -1)


@dataclasses.dataclass(frozen=True)
class Dict:
    """Named parts of an observation."""

    items: tuple[tuple[str, Box], ...]


ActionSpace = Box | Discrete | MultiDiscrete | Hybrid
MASK = "action_mask"  # the part of a dict observation that says which actions are allowed
GAME_STATE = "game_state"  # the part that only the rules of a game read, and no network
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
