"""Trials of settings that differ only in numbers that are leaves, as one compiled program.

A lane is one seed of one trial. Lanes do not influence each other: one that is no longer finite
goes on beside the others, and its metrics say since when.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spinward.core import Key, Metrics, TrainState
from spinward.loop import Parts, has_schedules, stepped, system
from spinward.programs.seeds import ROWS, Rows, by_seed, compiled, joined, traced_once
from spinward.trees import finite


class Lanes(NamedTuple):
    """The parts of all lanes; the settings of the algorithm are [lane]."""

    parts: Parts
    lanes: int

    @classmethod
    def of(cls, parts: Parts, algorithms: list[Any], seeds: int) -> "Lanes":
        """`seeds` lanes of each algorithm, next to each other."""
        stacked = jax.tree.map(
            lambda *x: jnp.repeat(jnp.stack([jnp.asarray(v) for v in x]), seeds, 0), *algorithms
        )
        return cls(parts._replace(algorithm=stacked), seeds * len(algorithms))

    def start(self, keys: Key) -> TrainState:
        """The states of all lanes from the keys of the seeds."""
        repeated = jnp.tile(keys, (self.lanes // len(keys), 1))
        state: TrainState = compiled(start, 0)(self.parts, repeated)
        return state

    def advance(
        self, state: TrainState, iterations: int, first: int = 0
    ) -> tuple[TrainState, Metrics]:
        """The lanes after so many iterations, of which the first has a number, and their metrics
        [lane, iteration]. `state` is donated."""
        pieces: list[Metrics] = []
        for done in range(0, iterations, ROWS):
            more = min(ROWS, iterations - done)
            begins = (first + done,) if has_schedules(self.parts) else ()
            state, rows = compiled(chunk, 1, donated="state")(self.parts, state, more, *begins)
            pieces.append(by_seed(rows, more))
        return state, joined(pieces)


def start(parts: Parts, keys: Key) -> TrainState:
    def one(algorithm: Any, key: Key) -> TrainState:
        return system(parts._replace(algorithm=algorithm)).init(key)

    states: TrainState = jax.vmap(one)(parts.algorithm, keys)
    return states


def chunk(
    parts: Parts, state: TrainState, iterations: Any, first: Any = 0
) -> tuple[TrainState, Metrics]:
    def one(algorithm: Any, state: TrainState, iteration: Any) -> tuple[TrainState, Metrics]:
        state, metrics = stepped(parts._replace(algorithm=algorithm), state, iteration)
        return state, {**metrics, "finite": metrics["finite"] & finite(state.agent)}

    def all_lanes(state: TrainState, iteration: Any) -> tuple[TrainState, Metrics]:
        return jax.vmap(one, (0, 0, None))(parts.algorithm, state, iteration)

    step = traced_once(all_lanes)
    table = Rows.of(step, state, ROWS)

    def body(i: Any, carry: tuple[TrainState, Any]) -> tuple[TrainState, Any]:
        state, rows = carry
        state, metrics = step(state, first + i)
        return state, table.put(rows, i, metrics)

    state, rows = jax.lax.fori_loop(0, iterations, body, (state, table.empty()))
    return state, table.read(rows)


def lanes_of(states: Any, trial: int, seeds: int) -> Any:
    """The states [seed] of one trial."""
    mine = slice(trial * seeds, (trial + 1) * seeds)
    return jax.tree.map(lambda x: np.asarray(x)[mine], states)
