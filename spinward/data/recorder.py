"""Keeps what a run collects as a data set, while it learns.

Each seed has a folder. Every checkpoint is the end of a chunk, so a resumed run removes what it
will collect again, and writes no step twice.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from spinward.core import Box, Spec, TrainState, replace
from spinward.data import card, chunks
from spinward.data.card import Card
from spinward.data.layout import layout_of
from spinward.data.statistics import measured
from spinward.data.store import is_store, opened
from spinward.data.writer import CHUNK, Writer, ends
from spinward.errors import DamagedFileError, SettingsError
from spinward.experience import stored
from spinward.experience.layouts import StepLayout
from spinward.experience.replay import Replay
from spinward.programs.seeds import compiled
from spinward.store import files

RING = 32 * 2**20  # bytes kept of what an algorithm that replays nothing collects


def recorded(source: Any, log_every: int) -> Any:
    """`source` with a ring for the steps between two log points, if `source` has no ring.

    Raises:
        SettingsError: observations that a data set cannot have.
    """
    spec: Spec = source.spec
    if not isinstance(spec.obs, Box):
        raise SettingsError("log_data=True needs observations of one array; these are a dict")
    if isinstance(source, Replay):
        if not isinstance(source.layout, StepLayout):
            raise SettingsError("log_data=True cannot keep the steps of an algorithm on sequences")
        return source
    steps = source.stride // spec.envs
    row = spec.envs * (2 * spec.zeros(1).nbytes + 4 * int(np.prod(spec.action.shape)) + 10)
    fits = [n for n in range(1, log_every + 1) if log_every % n == 0 and n * steps * row <= RING]
    layout = StepLayout(steps * max(fits, default=1), steps, updates=0, batch=0)
    return Replay(source, layout, 0, passes_on=True)


def data_log(
    folder: Path, source: Any, state: TrainState, experiment: Any, resumed: bool
) -> "DataLog | None":
    """The writer of a shard's steps, if its experiment has `log_data` set."""
    if not experiment.log_data:
        return None
    return DataLog(folder, source, state, resumed, experiment.seed, experiment.about)


class DataLog:
    """The data sets of a running shard: rows are held in memory until there are enough for a
    chunk."""

    def __init__(
        self, folder: Path, source: Any, state: TrainState, resumed: bool, seed: int, about: Any
    ):
        """Removes rows that were written after `state`, the state of a checkpoint if `resumed`.
        `about` are fields of the cards."""
        self.stack = source.layout.stack
        self.folder, self.steps = folder, source.source.stride // source.spec.envs
        self.first = self.taken = stored.rows_written(state.source) if resumed else 0
        self.held: list[dict[str, np.ndarray]] = []
        self.bytes = 0
        files.inside(folder.parent, folder)
        seeds = seed, len(np.asarray(state.source.rows))
        self.writers = [
            self.writer(f"seed-{seed + i}", source.spec, seeds, about) for i in range(seeds[1])
        ]
        self.take(state)

    def writer(self, name: str, spec: Spec, seeds: tuple[int, int], about: Any) -> Writer:
        """The writer of a seed's folder, cut after the rows that the checkpoint knows."""
        folder = files.inside(self.folder, self.folder / name)
        folder.mkdir(parents=True, exist_ok=True)
        layout = layout_of(spec, {}, self.stack)
        if (folder / chunks.FILE).exists():
            raise SettingsError(
                f"{folder} has steps in an older format, to which no more are added; move it away"
            )
        if is_store(folder) and self.first:
            return Writer.reopened(folder, layout, seeds, self.first)
        if self.first:
            raise DamagedFileError(f"{folder} is missing: expected rows up to {self.first}")
        for path in folder.iterdir():
            files.discard(path)
        card.write(folder, Card(spec.obs, spec.action, **about))
        return Writer(folder, layout, seeds)

    def room(self, state: TrainState) -> int:
        """How many iterations can run before they overwrite a row that is not yet taken."""
        waiting = stored.rows_written(state.source) - self.taken
        return (stored.capacity(state.source) - waiting) // self.steps

    def due(self, state: TrainState) -> bool:
        """Whether the next iteration would overwrite rows that are not yet taken."""
        return self.room(state) < 1

    def take(self, state: TrainState) -> None:
        """Copies the new rows."""
        count = stored.rows_written(state.source) - self.taken
        if count:
            ring = replace(state.source, source=())
            self.held.append(span(ring, self.taken, count, self.stack))
            self.taken += count
            self.bytes += sum(value.nbytes for value in self.held[-1].values())
        if self.bytes > CHUNK:
            self.write()

    def write(self) -> None:
        """Writes the held rows: to the folder of each seed, those of env 0, then env 1, ..."""
        if not self.held:
            return
        envs = self.held[0]["reward"].shape[1]
        for seed, writer in enumerate(self.writers):
            fields = {
                name: np.concatenate(
                    [part[name][seed, env] for env in range(envs) for part in self.held]
                )
                for name in self.held[0]
            }
            length = self.taken - self.first
            env = np.repeat(np.arange(envs, dtype=np.int32), length)
            time = np.tile(np.arange(self.first, self.taken), envs)
            took_place = fields.pop("weight") > 0  # a lost environment takes none
            if not took_place.all():
                fields = {name: value[took_place] for name, value in fields.items()}
                env, time = env[took_place], time[took_place]
            if len(time):
                last = ends(fields, other_recording(env, time))
                start = np.concatenate([[0], last[:-1] + 1])
                writer.add(fields, last, env[start], time[start], self.taken)
            else:
                writer.mark(self.taken)
        self.first, self.held, self.bytes = self.taken, [], 0

    def finish(self) -> None:
        """Completes the cards of a run that is at its end."""
        for writer in self.writers:
            if writer.rows:
                data = opened(writer.folder)
                card.write(writer.folder, replace(data.card, statistics=measured(data)))


def other_recording(env: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Whether the next row is of another environment, or not of the next time."""
    last = np.ones(len(env), bool)
    last[:-1] = (env[:-1] != env[1:]) | (time[:-1] + 1 != time[1:])
    return last


def span(state: Any, first: int, count: int, stack: int) -> dict[str, np.ndarray]:
    """Each field of so many rows from the `first` ever written [seed, env, count, ...]."""
    start, size = first % stored.capacity(state), stored.capacity(state)
    names = (*chunks.FIELDS, "weight")
    if stack > 1 or start + count > size or jax.default_backend() != "cpu":
        logged = compiled(stored.scattered(count, stack), 0)(state, np.int32(first))
        rows = {name: np.asarray(getattr(logged, name)) for name in names}
    else:  # views of XLA's own memory, which take a tenth of the time
        views = ((name, np.from_dlpack(getattr(state.data, name))) for name in names)
        rows = {name: x[:, start : start + count] for name, x in views}
    # Always a copy, because the ring is overwritten.
    return {name: x.swapaxes(1, 2).copy() for name, x in rows.items()}
