"""What the parts of the loop are: spaces, batches of experience, and the laws of each part."""

import dataclasses
import typing
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np
from jax import Array

from spinward.spaces import MASK, Box, Dict, Discrete, MultiDiscrete, Spec

__all__ = ["MASK", "Box", "Dict", "Discrete", "MultiDiscrete", "Spec"]

T = TypeVar("T")
replace = dataclasses.replace
Key = Array
Obs = Any  # one array, or a dict of them; a leaf `action_mask` says which actions are allowed
Memory = Any  # what a policy remembers between steps: leaves [env, ...], or ()
Metrics = dict[str, Any]  # flat, snake_case, scalars


def static(default: Any = dataclasses.MISSING) -> Any:
    """A field of a struct that is part of its type: hashable, and never an array."""
    return dataclasses.field(default=default, metadata={"static": True})


@typing.dataclass_transform(frozen_default=True, field_specifiers=(static,))
def struct(cls: type[T]) -> type[T]:
    """State: a frozen dataclass and a PyTree whose every leaf is an array."""
    return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True)(cls))


@typing.dataclass_transform(frozen_default=True)
def config(cls: type[T]) -> type[T]:
    """Settings: a frozen dataclass. Fields annotated `float`, and those that hold a network or an
    environment with leaves of its own (annotated `Any`), may be traced; all else is static."""
    cls = dataclasses.dataclass(frozen=True)(cls)  # type: ignore[call-overload]
    fields = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    traced = [f.name for f in dataclasses.fields(cls) if f.type in (float, "float", Any, "Any")]  # type: ignore[arg-type]
    return jax.tree_util.register_dataclass(cls, traced, [n for n in fields if n not in traced])


@struct
class Transition:
    """A batch of steps. Leaves are [time, env, ...], or [updates, window, batch, ...] replayed."""

    obs: Obs
    action: Array  # in the policy's scale: [-1, 1] where the space has bounds
    reward: Array
    terminated: Array  # the future is worth nothing
    truncated: Array  # somebody stopped looking; the future keeps its value
    next_obs: Obs  # the true successor, before any reset
    weight: Array  # 0 where the step was not the policy's choice: a lost env, a prompt, padding
    extras: dict[str, Any]  # what act left for update

    @property
    def done(self) -> Array:
        return self.terminated | self.truncated


@struct
class TrainState:
    """All of a run: save it, and you have saved the run."""

    agent: Any
    source: Any
    reward: Any
    key: Key


@runtime_checkable
class Env(Protocol):
    """A simulator in JAX. What varies lives in the state; what is fixed lives in the object.

    `step` never resets. An `action` is in the environment's own units, and `terminated` and
    `truncated` are never both true. `render`, where there is one, turns a state into pixels.
    """

    @property
    def spec(self) -> Spec: ...
    def reset(self, key: Key) -> tuple[Any, Obs]: ...
    def step(self, state: Any, action: Array, key: Key) -> tuple[Any, Obs, Array, Array, Array]: ...


class Step(NamedTuple):
    """What N host environments answered, as NumPy arrays [env, ...]."""

    obs: Obs  # to act on next: the first of a new episode where the last one ended
    reward: np.ndarray  # float32
    terminated: np.ndarray  # bool
    truncated: np.ndarray  # bool, false where terminated
    next_obs: Obs  # the true successor; `obs` itself where no episode ended in this step
    weight: np.ndarray  # float32, 0 where the environment was lost and this step did not happen


class Stepper(Protocol):
    """N open host environments: a resource, to be closed."""

    def reset(self, seeds: np.ndarray) -> Obs: ...
    def step(self, action: np.ndarray) -> Step: ...
    def close(self) -> None: ...


@runtime_checkable
class HostEnv(Protocol):
    """A description of an environment that lives on the host, which `open` makes N of.

    Steppers reset at once and by themselves; see `Step`. An action is in the environment's units.
    """

    @property
    def spec(self) -> Spec: ...
    def open(self, envs: int) -> Stepper: ...


class Policy(NamedTuple):
    """An algorithm's `act`, closed over an agent."""

    act: Callable[[Obs, Memory, Key], tuple[Array, Memory, dict[str, Any]]]
    memory: Callable[[int], Memory]  # of so many envs, as it is when an episode starts
    agent: Any = None  # what both are closed over, for a source that acts in other processes


class Source(Protocol):
    """Where experience comes from. It alone resets environments."""

    @property
    def spec(self) -> Spec: ...
    @property
    def on_device(self) -> bool: ...
    @property
    def stride(self) -> int: ...  # env steps in an iteration; updates where no env is stepped
    def init(self, key: Key, memory: Memory) -> Any: ...
    def collect(self, state: Any, policy: Policy, key: Key) -> tuple[Any, Transition, Metrics]: ...


@runtime_checkable
class HostSource(Source, Protocol):
    """A source whose environments live on a host and must be closed."""

    @property
    def keys(self) -> Callable[[Key], Any]: ...  # hashable; makes of a seed's key what steps need
    def reopen(self, saved: Any, fresh: Any) -> Any: ...
    def close(self) -> None: ...


class Sampler(Protocol):
    """How the store of one seed is drawn from, and written: pure functions of a hashable value."""

    def __call__(self, stored: Any, key: Key) -> Transition: ...
    def renewed(self, stored: Any, new: Transition, key: Key) -> tuple[Any, Transition]: ...
    def reweighed(self, stored: Any, batch: Transition, priority: Array) -> Any: ...


@runtime_checkable
class Replayed(Source, Protocol):
    """A source whose batches come from what it stores, not from the steps that it takes."""

    @property
    def source(self) -> Source: ...
    @property
    def sampler(self) -> Sampler: ...
    def split(self, key: Key) -> Key: ...
    def stored(self, state: Any, source: Any, batch: Transition) -> Any: ...
    def reweigh(self, state: Any, batch: Transition, priority: Array) -> Any: ...


class Reward(Protocol):
    """Where reward comes from. `label` may change `reward` and `extras`, and nothing else."""

    def init(self, key: Key, spec: Spec) -> Any: ...
    def label(self, state: Any, batch: Transition, key: Key) -> tuple[Any, Transition, Metrics]: ...


class Algorithm(Protocol):
    """How an agent acts and improves: pure functions of settings, which are its fields.

    `source` wraps a collector of so many envs and steps into the experience it learns from.
    """

    def check(self, spec: Spec) -> None: ...
    def source(self, collect: Callable[[int, int], Source]) -> Source: ...
    def init(self, key: Key, spec: Spec) -> Any: ...
    def memory(self, agent: Any, envs: int) -> Memory: ...
    def act(
        self, agent: Any, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]: ...
    def update(self, agent: Any, batch: Transition, key: Key) -> tuple[Any, Metrics]: ...


class System(NamedTuple):
    """All that is known to whoever runs it. On a host every leaf has a leading axis of seeds, and
    `step` also takes an agent that nobody needs, in whose memory the next one is made."""

    init: Callable[[Key], TrainState]
    step: Callable[..., tuple[TrainState, Metrics]]
    on_device: bool
    reopen: Callable[[TrainState, TrainState], TrainState]  # one read from a file, a fresh one


def no_memory(self: Any, agent: Any, envs: int) -> Memory:
    """The memory of an algorithm whose policy has none."""
    return ()
