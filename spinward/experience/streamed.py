"""Logged experience that stays on the disk: batches are read ahead while the agent learns.

Steps are drawn in a random order that is a function of the seed and the iteration, so a resumed run
draws what an undisturbed run would. Each step is drawn once before any is drawn again.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Key, Memory, Metrics, Policy, Spec, Transition, replace, struct
from spinward.experience.shuffle import shuffled

PIECES, PIECE = 64, 1024  # of data that stay on the disk, read for their statistics


class StepReader(Protocol):
    """Steps that are read by their row numbers. One episode follows another."""

    @property
    def rows(self) -> int: ...
    @property
    def extras(self) -> tuple[str, ...]: ...
    def steps(self, rows: np.ndarray, keep: tuple[str, ...]) -> Transition: ...


@struct
class StreamState:
    iteration: Array  # [seed]
    key: Array  # [seed, 2]: which random order


def same(key: Key) -> Any:
    return key


class StreamedSteps:
    """Batches [seed, updates, window, batch] of a reader: a `HostSource` without environments."""

    def __init__(
        self,
        reader: StepReader,
        spec: Spec,
        updates: int,
        batch: int,
        window: int = 1,
        keep: tuple[str, ...] = (),
    ):
        self.reader, self.spec, self.keep = reader, spec, keep
        self.shape = updates, window, batch
        self.stride = updates
        self.keys = same
        self.thread: ThreadPoolExecutor | None = None
        self.ahead: tuple[Any, Future[Transition]] | None = None  # what was asked for, and it

    def init(self, key: Key, memory: Memory) -> StreamState:
        """The state of all seeds, from their keys [seed, 2]."""
        words = np.asarray(key)
        return StreamState(jnp.zeros(len(words), jnp.int32), jnp.asarray(words))

    def reopen(self, saved: StreamState, fresh: StreamState) -> StreamState:
        return saved

    def collect(
        self, state: StreamState, policy: Policy, key: Key
    ) -> tuple[StreamState, Transition, Metrics]:
        """The next batch. The one after it is read in the background."""
        wanted = int(state.iteration[0]), tuple(map(tuple, np.asarray(state.key).tolist()))
        self.thread = self.thread or ThreadPoolExecutor(1)
        ready = self.ahead is not None and self.ahead[0] == wanted
        batch = self.ahead[1].result() if ready and self.ahead else self.read(*wanted)
        after = wanted[0] + 1, wanted[1]
        self.ahead = after, self.thread.submit(self.read, *after)
        return replace(state, iteration=state.iteration + 1), batch, {}

    def pieces(self) -> Transition:
        """Steps [rows, 1, ...] in pieces from all parts of the data, for statistics: the last step
        of each piece counts as truncated."""
        count = min(PIECES, max(1, self.reader.rows // PIECE))
        first = np.linspace(0, max(self.reader.rows - PIECE, 0), count).astype(np.int64)
        length = min(PIECE, self.reader.rows)
        rows = (first[:, None] + np.arange(length)).reshape(-1)
        steps = jax.tree.map(np.array, self.reader.steps(rows, ()))
        last = np.arange(len(rows)) % length == length - 1
        steps = replace(steps, truncated=steps.truncated | (last & ~steps.terminated))
        whole: Transition = jax.tree.map(lambda x: jnp.asarray(x)[:, None], steps)
        return whole

    def read(self, iteration: int, keys: tuple[tuple[int, int], ...]) -> Transition:
        """The batch of an iteration, for the keys [seed]."""
        updates, window, batch = self.shape
        count = updates * batch
        starts = self.reader.rows - (window - 1)
        position = iteration * count + np.arange(count)
        first = np.stack([shuffled(position, starts, key) for key in keys])
        rows = first.reshape(len(keys), updates, 1, batch) + np.arange(window)[:, None]
        order = np.argsort(rows, axis=None, kind="stable")  # pages of a file are read in order
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        steps = self.reader.steps(rows.reshape(-1)[order], self.keep)
        return in_shape(steps, back.reshape(rows.shape))

    def close(self) -> None:
        if self.thread:
            self.thread.shutdown(cancel_futures=True)
        self.thread = self.ahead = None


def in_shape(steps: Transition, at: np.ndarray) -> Transition:
    """The steps with the numbers `at`, in its shape."""
    shaped: Transition = jax.tree.map(lambda x: np.take(x, at, 0), steps)
    return shaped
