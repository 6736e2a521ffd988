"""What cannot work about the batches that an algorithm learns from."""

from spinward.core import Box, Spec
from spinward.errors import SettingsError
from spinward.experience.wanted import Stored, rows, samples


def check_minibatches(
    envs: int, rollout: int, epochs: int, minibatches: int, recurrent: str = ""
) -> None:
    """Raises SettingsError where a batch cannot be cut into whole minibatches of equal size.

    A `recurrent` policy reads each environment's steps in their order, so envs are what is cut.
    """
    given = {"envs": envs, "rollout": rollout, "epochs": epochs, "minibatches": minibatches}
    for name, value in given.items():
        if value < 1:
            raise SettingsError(f"{name}={value} must be at least 1")
    if recurrent and envs % minibatches:
        raise SettingsError(
            f"minibatches={minibatches} does not divide envs = {envs}, whose "
            f"sequences recurrent={recurrent!r} keeps whole"
        )
    if rollout * envs % minibatches:
        raise SettingsError(
            f"minibatches={minibatches} does not divide rollout * envs = {rollout * envs}"
        )


def check_stored(stored: Stored) -> None:
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
    if rows(samples(stored), stored.capacity) <= stored.rollout:
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
