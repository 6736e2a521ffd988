"""The kinds of experience that algorithms want, as values; `material.py` builds a source for each.

An algorithm says what experience it wants, not where the experience comes from. `Samples` are
replayed steps if a run has an environment, and logged steps if a run has data.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from spinward.core import Source, config, replace


@config
class Rollouts:
    """Steps of the current policy, each used in one update: batches are [steps, envs]."""

    envs: int  # environments stepped side by side
    steps: int  # of each between updates
    corrects_lag: bool = False  # whether steps of an older policy may be learned from


@config
class SelfPlay:
    """Games for two that the policy plays against itself: batches are [plies, games]."""

    envs: int  # games played side by side
    steps: int  # plies of each between updates
    search_bytes: int = 0  # RAM that the search takes besides


LOGGED = "logged"  # in extras: 1 for a step of the data, 0 for one of the environment


@config
class Samples:
    """Stored steps, sampled at random: batches are [updates, window, batch]."""

    envs: int  # environments stepped side by side
    steps: int  # of each between updates
    updates: int  # gradient steps after them
    batch: int  # windows in each gradient step
    capacity: int  # env steps kept
    warmup: int  # env steps of random actions before the first update
    window: int = 1  # consecutive steps of one environment in each sample
    stack: int = 1  # newest images in an observation's last axis: each is stored once
    prioritised: bool = False  # draw by priorities, not uniformly
    alpha: float = 0.6  # exponent of a priority in the odds of being drawn
    beta: float = 0.4  # exponent of the weight that makes up for those odds
    keep: tuple[str, ...] = ()  # extras of `act` that are stored with each step
    needs_data: bool = False  # a run needs logged steps, alone or beside an environment's
    marks: bool = False  # extras say of each step whether it is logged; see `LOGGED`


@config
class Sequences:
    """Stored sequences with the memory before their first step: batches are
    [updates, window, batch]."""

    envs: int  # environments stepped side by side
    steps: int  # of each between updates; sequences begin so many steps apart
    updates: int  # gradient steps after them
    batch: int  # sequences in each gradient step
    window: int  # steps in each sequence
    capacity: int  # env steps kept
    warmup: int  # env steps of `act` before the first update
    act: Callable[..., Any]  # (spec, obs, memory, key) -> action, memory, extras
    prioritised: bool = False  # draw by priorities, not uniformly
    alpha: float = 0.6  # exponent of a priority in the odds of being drawn
    beta: float = 0.4  # exponent of the weight that makes up for those odds
    extras: int = 0  # numbers that `act` stores with each step; counted in the replay's bytes
    memory: int = 0  # numbers of the memory before a sequence; counted in the replay's bytes


@config
class Logged:
    """Rows of logged data alone: batches are [updates, window, batch]."""

    updates: int  # gradient steps in an iteration
    batch: int  # windows in each gradient step
    window: int = 1  # consecutive steps of one episode in each sample
    best: float = 1.0  # share of the steps that is kept: of the episodes with the highest returns
    returns: bool = False  # whether steps have their time in the episode and their return to go
    gamma: float = 1.0  # discount per step of that return


@config
class Texts:
    """Texts in random order: batches are [updates, time, batch * ranked]."""

    kind: str  # of row: completions, or pairs
    updates: int  # gradient steps in an iteration
    batch: int  # rows of each gradient step
    context: int  # tokens that the model can read


@config
class Prompts:
    """Completions that the policy writes after prompts: batches are [time, envs]."""

    envs: int  # completions between updates
    steps: int  # tokens of each at most
    group: int = 1  # completions of each prompt
    context: int = 0  # tokens that the model can read; 0: any number


@config
class Population:
    """Rollouts of many agents, each in a task of its own: batches are [life, steps, envs]."""

    envs: int  # environments of each agent
    steps: int  # of each environment between updates
    agents: int
    updates: int  # of an agent in each iteration


@runtime_checkable
class OwnSource(Protocol):
    """Experience of another kind: a want that makes the source itself, from the environment and the
    logged data of the run, of which either may be None."""

    @property
    def envs(self) -> int: ...  # environments stepped side by side
    def source(self, env: Any, data: Any) -> Source: ...


class Stored(Protocol):
    """An algorithm's settings of storing and sampling."""

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


def samples(settings: Stored, window: int = 1, stack: int = 1) -> Samples:
    """The `Samples` that the settings of an algorithm ask for."""
    sizes = settings.envs, settings.rollout, settings.updates, settings.batch
    return Samples(*sizes, settings.capacity, settings.warmup, window, stack)


def logged_samples(settings: Stored, window: int = 1, stack: int = 1) -> Samples:
    """The same, of which at least a share is logged."""
    return replace(samples(settings, window, stack), needs_data=True)


Want = Rollouts | SelfPlay | Samples | Sequences | Logged | Texts | Prompts | Population | OwnSource


def rows(want: Samples | Sequences, steps: int) -> int:
    """The rows for `steps` env steps, rounded up to whole iterations."""
    return -(-steps // (want.envs * want.steps)) * want.steps
