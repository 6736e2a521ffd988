"""Logged experience: a ring without writes, without an environment and without a policy."""

from typing import Any

import jax
import jax.numpy as jnp

from spinward.core import Key, Memory, Metrics, Policy, Spec, Transition, config, replace, struct
from spinward.experience.layouts import ReplayState
from spinward.experience.wanted import LOGGED


@struct
class LoggedState:
    priorities: Any  # of windows, if windows are sampled by priority


@config
class LoggedSteps:
    """Batches [updates, window, batch] of logged steps, sampled like replayed steps.

    The rows belong to the source, not to the state of a run: no checkpoint holds them.
    """

    ring: Any  # a ReplayState of [rows, 1, ...] without priorities
    layout: Any  # a StepLayout with steps=0
    spec: Spec
    held_out: Any = ()  # a ring of other episodes, to measure with; () without any
    marks: bool = False  # steps have `LOGGED` in their extras

    @property
    def stride(self) -> int:
        return self.layout.updates  # type: ignore[no-any-return]

    def init(self, key: Key, memory: Memory) -> LoggedState:
        return LoggedState(self.layout.first_priorities(self.ring))

    def collect(
        self, state: LoggedState, policy: Policy, key: Key
    ) -> tuple[LoggedState, Transition, Metrics]:
        return state, self.marked(self.layout.sample(self.stored(state), key)), {}

    def sample(self, key: Key) -> Transition:
        """A batch, sampled uniformly."""
        return self.marked(self.layout.sample(self.ring, key))

    def marked(self, batch: Transition) -> Transition:
        return mark(batch, 1.0) if self.marks else batch

    def stored(self, state: LoggedState) -> ReplayState:
        """The ring with the priorities of a run."""
        return replace(self.ring, priorities=state.priorities)

    def update_priorities(
        self, state: LoggedState, batch: Transition, priority: jax.Array
    ) -> LoggedState:
        """The state with the `priority` [updates, batch] of the sampled windows."""
        ring = self.layout.update_priorities(self.stored(state), batch, priority)
        return LoggedState(ring.priorities)


def mark(batch: Transition, logged: float) -> Transition:
    """`batch` with the extra that says whether its steps are logged."""
    return replace(batch, extras={**batch.extras, LOGGED: jnp.full_like(batch.reward, logged)})


def logged_ring(steps: Transition, frames: Any = ()) -> ReplayState:
    """The ring of logged steps [rows], handed to the device once. With `frames`, the observations
    are the numbers of their newest images.

    One episode follows another; where a recording was cut, its last step is truncated.
    """
    rows = steps.reward.shape[0]
    data = jax.tree.map(lambda x: jnp.asarray(x)[:, None], steps)
    return ReplayState((), data, jnp.int32(rows), jax.tree.map(jnp.asarray, frames))
