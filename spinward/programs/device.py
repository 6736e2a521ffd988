"""A run as one compiled program, for experience that is computed on the agent's device."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from spinward.core import Key, Metrics, TrainState
from spinward.experience.replay import Replay
from spinward.loop import Parts, has_schedules, stepped, system
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


def advance(
    parts: Parts, state: TrainState, iterations: int, first: int = 0
) -> tuple[TrainState, Metrics]:
    """All seeds after so many iterations, or up to the first that is not finite. `state` is
    donated. The compiled program, and the bits of its results, do not depend on the number of
    iterations. `first` is the number of the first of them, for settings that are schedules."""
    pieces: list[Metrics] = []
    left, good = iterations, True
    run = compiled(chunk, 1, donated="state")
    while left and good:
        more = min(ROWS, left)
        begins = (first + iterations - left,) if has_schedules(parts) else ()
        state, rows, count = run(parts, state, more, *begins)
        pieces.append(by_seed(rows, int(count)))
        left -= more
        good = int(count) == more and bool(pieces[-1]["finite"][:, -1].all())
    return state, joined(pieces)


def all_seeds(parts: Parts) -> Any:
    """A step of all seeds, in the iteration of a number."""
    stores = isinstance(parts.source, Replay)

    def step(state: TrainState, iteration: Any) -> tuple[TrainState, Metrics]:
        return over_seeds(partial(stepped, parts, iteration=iteration), stores)(state)

    return traced_once(step)


def chunk(
    parts: Parts, state: TrainState, iterations: Any, first: Any = 0
) -> tuple[TrainState, Metrics, Any]:
    """All seeds after at most so many iterations, the metrics of `ROWS` iterations [iteration,
    seed], and the number of iterations."""
    step = all_seeds(parts)
    table = Rows.of(step, state, ROWS)

    def body(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        i, _, state, rows = carry
        state, metrics = step(state, first + i)
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
