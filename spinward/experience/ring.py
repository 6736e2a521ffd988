"""The ring of an actor-critic that learns from stored steps, and what cannot work about it."""

from collections.abc import Callable
from typing import Protocol

from spinward.core import Box, Source, Spec
from spinward.errors import SettingsError
from spinward.experience.replay import Replay


class Stored(Protocol):
    """The settings that say what is stored and drawn."""

    @property
    def envs(self) -> int: ...
    @property
    def rollout(self) -> int: ...
    @property
    def updates(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    @property
    def warmup(self) -> int: ...


def replayed(stored: Stored, collect: Callable[[int, int], Source]) -> Replay:
    """A ring around what `collect` makes."""
    experience = collect(stored.envs, stored.rollout)
    sizes = rows(stored, stored.capacity), rows(stored, stored.warmup)
    return Replay(experience, *sizes, stored.updates, stored.batch)


def rows(stored: Stored, steps: int) -> int:
    """So many env steps as rows of all envs, rounded up to whole iterations."""
    return -(-steps // (stored.envs * stored.rollout)) * stored.rollout


def check_ring(stored: Stored) -> None:
    """Raises SettingsError where no batch could be drawn, or none that is whole."""
    for name in ("envs", "rollout", "updates", "batch", "warmup"):
        if getattr(stored, name) < 1:
            raise SettingsError(f"{name}={getattr(stored, name)} must be at least 1")
    if stored.warmup > stored.capacity:
        raise SettingsError(f"warmup={stored.warmup} is more than capacity={stored.capacity}")
    if stored.batch > stored.warmup:
        raise SettingsError(
            f"batch={stored.batch} is more than warmup={stored.warmup}, "
            "all the steps there are at the first update"
        )
    if rows(stored, stored.capacity) <= stored.rollout:
        raise SettingsError(
            f"capacity={stored.capacity} holds no more than one rollout of "
            f"{stored.rollout * stored.envs} env steps"
        )


def check_bounded(name: str, spec: Spec) -> None:
    """Raises SettingsError where an action is no vector of numbers within bounds."""
    if not isinstance(spec.action, Box) or not spec.action.bounded:
        raise SettingsError(
            f"{name} needs continuous actions with finite bounds; this environment has "
            f"{spec.action}"
        )
