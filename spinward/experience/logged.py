"""Logged experience: a ring that nobody writes to, with no environment and no policy."""

from typing import Any

import jax
import jax.numpy as jnp

from spinward.core import Key, Memory, Metrics, Policy, Spec, Transition, config, replace, struct
from spinward.experience.layouts import ReplayState


@struct
class LoggedState:
    priorities: Any  # of windows, where they are drawn by them


@config
class LoggedSteps:
    """Batches are [updates, window, batch] of logged steps, drawn as replayed ones are.

    The rows belong to the source, not to the state of a run: no checkpoint holds them.
    """

    ring: Any  # a ReplayState of [rows, 1, ...] without priorities
    layout: Any  # a StepLayout that nobody writes to
    spec: Spec

    @property
    def stride(self) -> int:
        return self.layout.updates  # type: ignore[no-any-return]

    def init(self, key: Key, memory: Memory) -> LoggedState:
        return LoggedState(self.layout.first_priorities(self.ring))

    def collect(
        self, state: LoggedState, policy: Policy, key: Key
    ) -> tuple[LoggedState, Transition, Metrics]:
        return state, self.layout.sample(self.stored(state), key), {}

    def sample(self, key: Key) -> Transition:
        """A batch drawn uniformly."""
        batch: Transition = self.layout.sample(self.ring, key)
        return batch

    def stored(self, state: LoggedState) -> ReplayState:
        """The ring with the priorities of a run."""
        return replace(self.ring, priorities=state.priorities)

    def update_priorities(
        self, state: LoggedState, batch: Transition, priority: jax.Array
    ) -> LoggedState:
        """With the `priority` [updates, batch] of what was drawn."""
        ring = self.layout.update_priorities(self.stored(state), batch, priority)
        return LoggedState(ring.priorities)


def logged_ring(steps: Transition) -> ReplayState:
    """The ring of logged steps [rows], handed to the device once.

    One episode follows another; where a recording was cut, its last step is truncated.
    """
    rows = steps.reward.shape[0]
    data = jax.tree.map(lambda x: jnp.asarray(x)[:, None], steps)
    return ReplayState((), data, jnp.int32(rows))
