"""Checks of the settings that decide an algorithm's batches."""

from collections.abc import Callable
from typing import Any, Protocol

from spinward.core import Box, Discrete, Spec
from spinward.errors import SettingsError
from spinward.experience.replay_bytes import require_images
from spinward.experience.wanted import Sequences, Stored, rows, samples
from spinward.learning.sequences import Sequential
from spinward.networks.recurrent import CELLS


def check_minibatches(
    envs: int, rollout: int, epochs: int, minibatches: int, recurrent: str = ""
) -> None:
    """Raises SettingsError where a batch cannot be split into minibatches of equal size.

    A `recurrent` policy reads each environment's steps in order, so only the envs are split.
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


def check_stored(stored: Stored, whole_batch: bool = True) -> None:
    """Raises SettingsError where no batch could be sampled. With `whole_batch`, also where a batch
    has more steps than the warm-up stores."""
    for name in ("envs", "rollout", "updates", "batch", "warmup"):
        if getattr(stored, name) < 1:
            raise SettingsError(f"{name}={getattr(stored, name)} must be at least 1")
    if stored.warmup > stored.capacity:
        raise SettingsError(f"warmup={stored.warmup} is more than capacity={stored.capacity}")
    if whole_batch and stored.batch > stored.warmup:
        raise SettingsError(
            f"batch={stored.batch} is more than warmup={stored.warmup}, "
            "the number of steps stored at the first update"
        )
    if rows(samples(stored), stored.capacity) <= stored.rollout:
        raise SettingsError(
            f"capacity={stored.capacity} holds no more than one rollout of "
            f"{stored.rollout * stored.envs} env steps"
        )


class Windows(Stored, Protocol):
    """The settings of an algorithm that learns from windows of stored steps with discrete
    actions."""

    @property
    def n_step(self) -> int: ...
    @property
    def stack(self) -> int: ...
    @property
    def explore_steps(self) -> int: ...
    @property
    def anneal_steps(self) -> int: ...
    @property
    def gamma(self) -> float: ...
    @property
    def tau(self) -> float: ...
    @property
    def epsilon(self) -> float: ...


def check_windows(settings: Windows, spec: Spec) -> None:
    """Raises SettingsError where action values cannot be learned with these settings."""
    if not isinstance(spec.action, Discrete):
        name = type(settings).__name__
        raise SettingsError(f"{name} needs one discrete action, not {spec.action}")
    check_stored(settings)
    want, stride = samples(settings), settings.envs * settings.rollout
    held = min(rows(want, settings.warmup), rows(want, settings.capacity) - settings.rollout)
    if held < settings.n_step:
        raise SettingsError(
            f"n_step={settings.n_step} is more than the steps of each environment in "
            f"warmup={settings.warmup}, or in capacity={settings.capacity} less a rollout"
        )
    schedules = {"explore_steps": settings.explore_steps, "anneal_steps": settings.anneal_steps}
    for schedule, steps in schedules.items():
        if steps < stride and not (schedule == "anneal_steps" and steps == 0):
            raise SettingsError(
                f"{schedule}={steps} ends before training starts: the first update comes "
                f"after envs * rollout = {stride} steps"
            )
    shares = {"gamma": settings.gamma, "tau": settings.tau, "epsilon": settings.epsilon}
    for share, value in shares.items():
        if not 0.0 <= value <= 1.0:
            raise SettingsError(f"{share}={value} must be between 0 and 1")
    require_images(spec, settings.stack)


def check_huber(huber: float) -> None:
    if not huber > 0.0:
        raise SettingsError(f"huber={huber} must be more than 0")


def check_bounded(name: str, spec: Spec) -> None:
    """Raises SettingsError where an action is not a vector of numbers within bounds."""
    if not isinstance(spec.action, Box) or not spec.action.bounded:
        raise SettingsError(
            f"{name} needs continuous actions with finite bounds; this environment has "
            f"{spec.action}"
        )


def check_vectors(name: str, spec: Spec) -> None:
    """Raises SettingsError where no model of observations and actions could be learned."""
    if not isinstance(spec.action, Box):
        raise SettingsError(f"{name} needs continuous actions, not {spec.action}")
    for what, space in (("observations", spec.obs), ("actions", spec.action)):
        if not isinstance(space, Box) or len(space.shape) != 1:
            raise SettingsError(f"{name} models vectors, and {what} are {space}")


def check_policy(name: str, spec: Spec) -> None:
    """Raises SettingsError where an action is neither one choice nor numbers within bounds."""
    box = isinstance(spec.action, Box) and spec.action.bounded
    if not box and not isinstance(spec.action, Discrete):
        raise SettingsError(
            f"{name} needs one discrete action, or continuous actions with finite bounds; this "
            f"environment has {spec.action}"
        )


def sequence_steps(settings: Sequential) -> int:
    """The steps of a sequence, and one step more for the network's inputs after the last."""
    return settings.burn_in + settings.trace + 1


def check_sequences(settings: Sequential, spec: Spec) -> None:
    """Raises SettingsError where sequences cannot be learned from with these settings."""
    name = type(settings).__name__
    if not isinstance(spec.action, Discrete):
        raise SettingsError(f"{name} needs one discrete action, not {spec.action}")
    if not spec.resets:
        raise SettingsError(
            f"{name} needs a spec with resets=True: the memory starts anew with each episode"
        )
    if settings.recurrent not in CELLS:
        known = ", ".join(CELLS)
        raise SettingsError(f"recurrent={settings.recurrent!r} must be one of {known}")
    if not settings.hidden:
        raise SettingsError("hidden=() must end with the width of the memory")
    trace, burn_in = settings.trace, settings.burn_in
    if trace < 1 or burn_in < 0:
        raise SettingsError(f"trace={trace} must be at least 1, burn_in={burn_in} 0")
    check_stored(settings, whole_batch=False)
    want = sequences_wanted(settings, print, 0)
    held = min(rows(want, want.warmup), rows(want, want.capacity) - want.steps)
    if held < want.window:
        raise SettingsError(
            f"burn_in + trace + 1 = {want.window} is more than the steps of each environment in "
            f"warmup={want.warmup}, or in capacity={want.capacity} less a rollout"
        )
    shares = {
        "lam": settings.lam,
        "epsilon": settings.epsilon,
        "target_epsilon": settings.target_epsilon,
        "priority_max": settings.priority_max,
    }
    for share, value in shares.items():
        if not 0.0 <= value <= 1.0:
            raise SettingsError(f"{share}={value} must be between 0 and 1")


def sequences_wanted(
    settings: Sequential, act: Callable[..., Any], context_inputs: int
) -> Sequences:
    """The sequences to learn from. Each step is stored with `context_inputs` numbers."""
    sizes = settings.envs, settings.rollout, settings.updates, settings.batch
    return Sequences(
        *sizes,
        sequence_steps(settings),
        settings.capacity,
        settings.warmup,
        act,
        settings.prioritised,
        settings.priority_exponent,
        settings.importance_exponent,
        extras=context_inputs + 4,
        memory=2 * settings.hidden[-1],
    )
