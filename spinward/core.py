"""The types of the loop: spaces, batches of experience, and a protocol for each part."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jax import Array

from spinward.spaces import MASK, PRIVILEGED, Box, Dict, Discrete, Hybrid, MultiDiscrete, Spec
from spinward.structs import config, static, struct

__all__ = ["MASK", "PRIVILEGED", "Box", "Dict", "Discrete", "Hybrid", "MultiDiscrete", "Spec"]
__all__ += ["config", "static", "struct"]

replace = dataclasses.replace
Key = Array
# One array, or a dict of arrays: the leaf `action_mask` says which actions are allowed, and only
# critics read the leaf `privileged`.
Obs = Any
Memory = Any  # what a policy remembers between steps: leaves [env, ...], or ()
ENV_REWARD = "env_reward"  # in extras: the environment's own reward, where `label` changed it
Metrics = dict[str, Any]  # flat, snake_case, scalars


@struct
class Transition:
    """A batch of steps. Leaves are [time, env, ...]; if replayed, [updates, window, batch, ...]."""

    obs: Obs
    action: Array  # in the policy's scale: [-1, 1] where the space has bounds
    reward: Array
    terminated: Array  # the future is worth nothing
    truncated: Array  # the episode was cut off; the future keeps its value
    next_obs: Obs  # the true successor, before any reset
    weight: Array  # 0 where the step was not the policy's choice: a lost env, a prompt, padding
    extras: dict[str, Any]  # what act left for update

    @property
    def done(self) -> Array:
        return self.terminated | self.truncated


@struct
class TrainState:
    """The whole state of a run: what a checkpoint saves."""

    agent: Any
    source: Any
    reward: Any
    key: Key


@runtime_checkable
class Env(Protocol):
    """A simulator in JAX. Whatever varies is in the state; whatever is fixed is in the object.

    `step` never resets. An `action` is in the environment's own units, and `terminated` and
    `truncated` are never both true. An environment that is drawn has `render` too; see `Renders`.
    """

    @property
    def spec(self) -> Spec: ...
    def reset(self, key: Key) -> tuple[Any, Obs]: ...
    def step(self, state: Any, action: Array, key: Key) -> tuple[Any, Obs, Array, Array, Array]: ...


class Step(NamedTuple):
    """The result of one step of N host environments, as NumPy arrays [env, ...]."""

    obs: Obs  # to act on next: the first observation of a new episode where an episode ended
    reward: np.ndarray  # float32
    terminated: np.ndarray  # bool
    truncated: np.ndarray  # bool, false where terminated
    next_obs: Obs  # the true successor; `obs` itself where no episode ended in this step
    weight: np.ndarray  # float32, 0 where the environment was lost and this step did not happen


class Stepper(Protocol):
    """N open host environments: a resource that must be closed."""

    def reset(self, seeds: np.ndarray) -> Obs: ...
    def step(self, action: np.ndarray) -> Step: ...
    def close(self) -> None: ...


@runtime_checkable
class HostEnv(Protocol):
    """A description of an environment on the host; `open` makes N copies of the environment.

    Steppers reset ended episodes by themselves; see `Step`. Actions are in the environment's units.
    """

    @property
    def spec(self) -> Spec: ...
    def open(self, envs: int) -> Stepper: ...


class Policy(NamedTuple):
    """An algorithm's `act`, closed over an agent."""

    act: Callable[[Obs, Memory, Key], tuple[Array, Memory, dict[str, Any]]]
    memory: Callable[[int], Memory]  # for a number of envs: the memory at the start of an episode
    agent: Any = None  # the agent itself, for a source that acts in other processes


class Source(Protocol):
    """Where the experience of one seed comes from. Only a source resets environments."""

    @property
    def spec(self) -> Spec: ...
    @property
    def stride(self) -> int: ...  # env steps of an iteration; updates where no env is stepped
    def init(self, key: Key, memory: Memory) -> Any: ...
    def collect(self, state: Any, policy: Policy, key: Key) -> tuple[Any, Transition, Metrics]: ...


class HostSource(Source, Protocol):
    """A source whose environments run on a host: a resource that must be closed. Its states, keys
    and batches have a leading axis of seeds."""

    @property
    def keys(self) -> Callable[[Key], Any]: ...  # hashable; turns a seed's key into keys of steps
    def reopen(self, saved: Any, fresh: Any) -> Any: ...
    def close(self) -> None: ...


class Context(NamedTuple):
    """What a reward knows about a batch, besides the batch itself."""

    replayed: bool = False  # sampled from a store, not just collected by the current policy
    log_prob: Callable[[Transition], Array] | None = None  # the policy's, of a rollout's actions


ROLLOUT = Context()


class Reward(Protocol):
    """Where reward comes from. `label` may change `reward` and `extras`, and nothing else."""

    def init(self, key: Key, spec: Spec) -> Any: ...
    def label(
        self, state: Any, batch: Transition, key: Key, context: Context = ROLLOUT
    ) -> tuple[Any, Transition, Metrics]: ...


class Algorithm(Protocol):
    """How an agent acts and improves: pure functions; the fields are the settings.

    `wants` returns the experience that the algorithm learns from: a value of
    `experience/wanted.py`. `update` returns the agent, its metrics and, where replay goes by
    priorities, the priorities [updates, batch] of what it learned from.
    """

    def check(self, spec: Spec) -> None: ...
    def wants(self, spec: Spec) -> Any: ...
    def init(self, key: Key, spec: Spec) -> Any: ...
    def memory(self, agent: Any, envs: int) -> Memory: ...
    def act(
        self, agent: Any, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]: ...
    def update(self, agent: Any, batch: Transition, key: Key) -> tuple[Any, ...]: ...


class System(NamedTuple):
    """The loop of one seed, closed over its parts. A program knows nothing else."""

    init: Callable[[Key], TrainState]
    step: Callable[[TrainState], tuple[TrainState, Metrics]]


# Optional protocols, which only some parts have. Callers check for them with `isinstance`.


@runtime_checkable
class OwnLoop(Protocol):
    """An algorithm that brings a loop of another shape."""

    def system(self, source: Any, reward: Reward) -> System: ...


@runtime_checkable
class Opens(Protocol):
    """Settings that name a file to read before a run: a rule, a model, a vocabulary."""

    def opened(self, reader: "Reader") -> Any: ...


class Reader(Protocol):
    """What settings may request. Each file is read once, however often it is requested."""

    def start(self) -> Any: ...  # the initial decoder; None where none is named
    def vocabulary(self) -> Any: ...  # the vocabulary of the run's texts
    def game(self) -> Any: ...  # the rules of the run's game for two
    def rows(self) -> Any: ...  # from number to row, where prompts are rows of a file; or None
    def trained(self, run: str) -> Any: ...  # the language model that a run trained, with its head
    def arrays(self, path: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]: ...


@runtime_checkable
class Likelihood(Protocol):
    """An algorithm whose policy gives the log-probability of actions."""

    def log_prob(self, agent: Any, batch: Transition) -> Array: ...


@runtime_checkable
class Fits(Protocol):
    """An algorithm whose agent keeps statistics of the logged steps [rows, 1, ...] that it learns
    from: `fit` takes them once, before the first update."""

    def fit(self, agent: Any, steps: Transition) -> Any: ...


@runtime_checkable
class Discounts(Protocol):
    """An algorithm with a discount per step."""

    @property
    def gamma(self) -> float: ...


@runtime_checkable
class QLearner(Protocol):
    """An algorithm that learns action values; instruments measure those."""

    @property
    def gamma(self) -> float: ...
    def probe(self, agent: Any, batch: Transition) -> Any: ...  # a `targets.diagnostics.QProbe`


@runtime_checkable
class LimitsRewards(Protocol):
    """An algorithm that can represent only rewards within limits."""

    def check_rewards(self, low: float, high: float) -> None: ...


@runtime_checkable
class BoundedReward(Protocol):
    """A reward with a known lower and upper bound."""

    @property
    def bounds(self) -> tuple[float, float]: ...


@runtime_checkable
class UserReward(Protocol):
    """A reward that calls a user's function."""

    @property
    def function(self) -> str: ...  # the function's place, as `module:name`
    def try_once(self, source: Any) -> None: ...  # calls the function once, before training
    def failure(self) -> str: ...  # the function's last failure; empty if there was none


@runtime_checkable
class Threaded(Protocol):
    """A host environment whose copies use several cores; `on_one_core` limits them to one."""

    def on_one_core(self) -> Any: ...


@runtime_checkable
class Renders(Protocol):
    """An environment in JAX that can be drawn."""

    def render(self, state: Any) -> np.ndarray: ...


@runtime_checkable
class Game(Env, Protocol):
    """A board game for two in JAX. They move in turn; rewards are the mover's, who may win 1.
    Nothing is hidden: an observation, as the side to move sees it, determines the state."""

    def state_of(self, obs: Obs) -> Any: ...
    def plies(self, obs: Obs) -> Array: ...  # [batch] since the start of a game
    def symmetries(self) -> tuple[np.ndarray, np.ndarray]: ...  # of cells and actions; see boards
    def text(self, state: Any) -> str: ...  # the board, for a terminal


@runtime_checkable
class Searches(Algorithm, Protocol):
    """An algorithm that searches before it moves; see `search.trees.SearchResult`."""

    def run_search(self, model: Any, obs: Obs, key: Key, explore: bool) -> Any: ...


@runtime_checkable
class Tasks(Protocol):
    """A distribution of tasks: `sample_task` samples one and returns the environment fixed to that
    task."""

    def sample_task(self, key: Key) -> Any: ...


def no_memory(agent: Any, envs: int) -> Memory:
    """The memory of an algorithm whose policy has none."""
    return ()
