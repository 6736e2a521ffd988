"""A run as one compiled program, for experience that is computed on the agent's device."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from spinward.core import Key, Metrics, TrainState
from spinward.experience.replay import Replay
from spinward.loop import Parts, system
from spinward.programs.seeds import (
    ROWS,
    Program,
    Rows,
    by_seed,
    compiled,
    joined,
    over_seeds,
    traced_once,
)
from spinward.trees import finite


def program(parts: Parts) -> Program:
    fresh = partial(jax.eval_shape, partial(start_all, parts))
    run = partial(start, parts), partial(advance, parts), fresh
    return Program(*run, lambda saved, fresh: jax.device_put(saved), lambda: None, True)


def start(parts: Parts, key: Key) -> TrainState:
    """The states of all seeds, from their keys [seed]."""
    state: TrainState = compiled(start_all, 0)(parts, key)
    return state


def start_all(parts: Parts, key: Key) -> TrainState:
    state: TrainState = over_seeds(lambda k: system(parts).init(k))(key)
    return state


def advance(parts: Parts, state: TrainState, iterations: int) -> tuple[TrainState, Metrics]:
    """All seeds after so many iterations, or up to the first that is not finite. `state` is
    donated. The compiled program, and the bits of its results, do not depend on the number of
    iterations."""
    pieces: list[Metrics] = []
    left, good = iterations, True
    run = compiled(chunk, 1, donated="state")
    while left and good:
        more = min(ROWS, left)
        state, rows, count = run(parts, state, more)
        pieces.append(by_seed(rows, int(count)))
        left -= more
        good = int(count) == more and bool(pieces[-1]["finite"][:, -1].all())
    return state, joined(pieces)


def chunk(parts: Parts, state: TrainState, iterations: Any) -> tuple[TrainState, Metrics, Any]:
    """All seeds after at most so many iterations, the metrics of `ROWS` iterations [iteration,
    seed], and the number of iterations."""
    step = traced_once(over_seeds(system(parts).step, isinstance(parts.source, Replay)))
    table = Rows.of(step, state, ROWS)

    def body(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        i, _, state, rows = carry
        state, metrics = step(state)
        return i + 1, metrics["finite"].all(), state, table.put(rows, i, metrics)

    count, _, state, numbers = jax.lax.while_loop(
        lambda carry: (carry[0] < iterations) & carry[1],
        body,
        (jnp.int32(0), jnp.bool_(True), state, table.empty()),
    )
    rows = table.read(numbers)
    # A bad parameter makes the next loss bad, but the last iteration has no next loss.
    healthy = over_seeds(finite)(state.agent)
    rows["finite"] = rows["finite"].at[count - 1].set(rows["finite"][count - 1] & healthy)
    return state, rows, count
