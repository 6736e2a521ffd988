"""A compiled program that calls environments on a host. Each step of all seeds is one call."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from spinward.core import Key, Metrics, TrainState, replace
from spinward.errors import NonFiniteError
from spinward.experience.callback_source import Host
from spinward.experience.vector import VectorState
from spinward.loop import Parts, has_schedules
from spinward.programs.device import all_seeds, start_all
from spinward.programs.seeds import (
    Program,
    Rows,
    by_seed,
    compiled,
    joined,
    over_seeds,
)
from spinward.trees import finite

ROWS = 256  # at most so many iterations in one call


def program(parts: Parts, host: Host) -> Program:
    """A program that calls the environments of `host`."""

    def start(key: Key) -> TrainState:
        host.open(len(key) * parts.source.spec.envs)
        state: TrainState = host.checked(compiled(start_all, 0), parts, key)
        return state

    return Program(start, partial(advance, parts, host), start, reopen, host.close, False)


def reopen(saved: TrainState, fresh: TrainState) -> TrainState:
    """The saved state with fresh environments: a host environment cannot resume an episode."""
    return replace(saved, source=with_fresh(saved.source, fresh.source))


def with_fresh(saved: Any, fresh: Any) -> Any:
    if isinstance(saved, VectorState):
        return fresh
    return replace(saved, source=with_fresh(saved.source, fresh.source))


def advance(
    parts: Parts, host: Host, state: TrainState, iterations: int, first: int = 0
) -> tuple[TrainState, Metrics]:
    """All seeds after so many iterations, or before the first iteration that is not finite.

    Raises:
        NonFiniteError: an environment returned a value that is not finite; `reached` is set.
    """
    pieces: list[Metrics] = []
    done, good = 0, True
    run = compiled(chunk, 1, donated="state")
    while done < iterations and good:
        more = min(ROWS, iterations - done)
        begins = (first + done,) if has_schedules(parts) else ()
        before, state, rows, count = host.run(run, parts, state, more, *begins)
        metrics = by_seed(rows, int(count))
        done += int(count)
        good = not host.error and bool(metrics["finite"][:, -1].all())
        if not good:
            state = replace(before, source=state.source)
        if host.error:
            if isinstance(host.error, NonFiniteError):
                host.error.reached = state, done - 1
            raise host.error
        pieces.append(metrics)
    return state, joined(pieces)


def chunk(
    parts: Parts, state: TrainState, iterations: Any, first: Any = 0
) -> tuple[TrainState, TrainState, Metrics, Any]:
    """All seeds before and after the last of so many iterations; the metrics of `ROWS` iterations
    [iteration, seed]; and the number of iterations, which is smaller if one was not finite.

    The state before has no source, because each iteration reuses the source's buffers.
    """
    step = all_seeds(parts)
    table = Rows.of(step, state, ROWS)

    def body(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        i, _, _, state, rows = carry
        after, metrics = step(state, first + i)
        metrics["finite"] &= over_seeds(finite)(after.agent)
        rows = table.put(rows, i, metrics)
        return i + 1, metrics["finite"].all(), replace(state, source=()), after, rows

    initial = jnp.int32(0), jnp.bool_(True), replace(state, source=()), state, table.empty()
    count, _, before, state, rows = jax.lax.while_loop(
        lambda carry: (carry[0] < iterations) & carry[1], body, initial
    )
    return before, state, table.read(rows), count
