"""What the parts of the loop are: spaces, batches of experience, and the laws of each part."""

import dataclasses
import typing
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np
from jax import Array

from spinward.spaces import MASK, PRIVILEGED, Box, Dict, Discrete, MultiDiscrete, Spec

__all__ = ["MASK", "PRIVILEGED", "Box", "Dict", "Discrete", "MultiDiscrete", "Spec"]

T = TypeVar("T")
replace = dataclasses.replace
Key = Array
# One array, or a dict of them: a leaf `action_mask` says which actions are allowed, and a leaf
# `privileged` is read by critics alone.
Obs = Any
Memory = Any  # what a policy remembers between steps: leaves [env, ...], or ()
ENV_REWARD = "env_reward"  # in extras: the environment's own, where a reward source has changed it
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
    """Where experience comes from, of one seed. It alone resets environments."""

    @property
    def spec(self) -> Spec: ...
    @property
    def stride(self) -> int: ...  # env steps in an iteration; updates where no env is stepped
    def init(self, key: Key, memory: Memory) -> Any: ...
    def collect(self, state: Any, policy: Policy, key: Key) -> tuple[Any, Transition, Metrics]: ...


class HostSource(Source, Protocol):
    """A source whose environments live on a host: a resource, to be closed. Its states, keys and
    batches have a leading axis of seeds."""

    @property
    def keys(self) -> Callable[[Key], Any]: ...  # hashable; makes of a seed's key what steps need
    def reopen(self, saved: Any, fresh: Any) -> Any: ...
    def close(self) -> None: ...


class Context(NamedTuple):
    """What a reward is told of a batch beside the batch itself."""

    replayed: bool = False  # drawn from a store, not collected by the current policy just now
    log_prob: Callable[[Transition], Array] | None = None  # of a rollout's actions by the policy


ROLLOUT = Context()


class Reward(Protocol):
    """Where reward comes from. `label` may change `reward` and `extras`, and nothing else."""

    def init(self, key: Key, spec: Spec) -> Any: ...
    def label(
        self, state: Any, batch: Transition, key: Key, context: Context = ROLLOUT
    ) -> tuple[Any, Transition, Metrics]: ...


class Algorithm(Protocol):
    """How an agent acts and improves: pure functions of settings, which are its fields.

    `wants` says what experience it learns from: a value of `experience/wanted.py`.
    """

    def check(self, spec: Spec) -> None: ...
    def wants(self, spec: Spec) -> Any: ...
    def init(self, key: Key, spec: Spec) -> Any: ...
    def memory(self, agent: Any, envs: int) -> Memory: ...
    def act(
        self, agent: Any, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]: ...
    def update(self, agent: Any, batch: Transition, key: Key) -> tuple[Any, Metrics]: ...


class System(NamedTuple):
    """The loop of one seed, closed over its parts: all that a program knows."""

    init: Callable[[Key], TrainState]
    step: Callable[[TrainState], tuple[TrainState, Metrics]]


# What some parts have beside their law. Whoever asks for one of these asks with `isinstance`.


@runtime_checkable
class OwnLoop(Protocol):
    """An algorithm whose loop has another shape, which it brings itself."""

    def system(self, source: Any, reward: Reward) -> System: ...


@runtime_checkable
class Opens(Protocol):
    """Settings that name something to be read before a run: a rule, a model, a vocabulary."""

    def opened(self, reader: "Reader") -> Any: ...


class Reader(Protocol):
    """What settings may ask for. Everything is read once, however often it is asked for."""

    def start(self) -> Any: ...  # the decoder to begin with, None where none is named
    def vocabulary(self) -> Any: ...  # what the tokens of the run's texts stand for
    def rows(self) -> Any: ...  # the row of a number, where prompts are rows of a file; or None
    def trained(self, run: str) -> Any: ...  # the language model of a run, with its head
    def arrays(self, path: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]: ...


@runtime_checkable
class Likelihood(Protocol):
    """An algorithm whose policy says how likely actions were."""

    def log_prob(self, agent: Any, batch: Transition) -> Array: ...


@runtime_checkable
class QLearner(Protocol):
    """An algorithm that learns values of actions, which instruments look at."""

    @property
    def gamma(self) -> float: ...
    def probe(self, agent: Any, batch: Transition) -> Any: ...  # a `targets.diagnostics.Look`


@runtime_checkable
class LimitsRewards(Protocol):
    """An algorithm that has no room for rewards beyond some limits."""

    def check_rewards(self, low: float, high: float) -> None: ...


@runtime_checkable
class BoundedReward(Protocol):
    """A reward that says between which numbers it lies."""

    @property
    def bounds(self) -> tuple[float, float]: ...


@runtime_checkable
class UserReward(Protocol):
    """A reward that calls code which is not Spinward's."""

    @property
    def function(self) -> str: ...  # where that code is, as `module:name`
    def try_once(self, source: Any) -> None: ...  # calls it once, before anything is learned
    def failure(self) -> str: ...  # what it last failed on; empty if it did not


@runtime_checkable
class Threaded(Protocol):
    """A host environment whose copies use several cores, unless they are told not to."""

    def on_one_core(self) -> Any: ...


@runtime_checkable
class Renders(Protocol):
    """An environment in JAX that can be drawn."""

    def render(self, state: Any) -> np.ndarray: ...


@runtime_checkable
class Tasks(Protocol):
    """A distribution of tasks: `drawn` is the same environment in one of them for good."""

    def drawn(self, key: Key) -> Any: ...


def no_memory(self: Any, agent: Any, envs: int) -> Memory:
    """The memory of an algorithm whose policy has none."""
    return ()
