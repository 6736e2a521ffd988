"""A system made to run: `start` and `advance` it for many seeds.

On a device that is one compiled program. With host environments it is one that calls them, or for a
large agent a Python loop, in which stepping and learning overlap.
"""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spinward.core import (
    HostSource,
    Key,
    Metrics,
    Replayed,
    System,
    TrainState,
    replace,
)
from spinward.errors import NonFiniteError
from spinward.experience import calls
from spinward.experience.called import Called, Host
from spinward.experience.rollout import finite
from spinward.experience.vector import Vector
from spinward.host import healthy, over_seeds
from spinward.loop import Parts, begin, system

LARGE = 1_000_000  # numbers in an agent, of which learning takes much longer than waking a thread
STRETCH = 256  # iterations of a program that calls its environments, at most


class Program(NamedTuple):
    """A system made to run: states are [seed, ...], metrics NumPy arrays [seed, iterations]."""

    start: Callable[[Key], TrainState]
    advance: Callable[[TrainState, int], tuple[TrainState, Metrics]]
    fresh: Callable[[Key], TrainState]  # like `start`; on device its shapes alone
    reopen: Callable[[TrainState, TrainState], TrainState]  # one read from a file, a fresh one
    close: Callable[[], None]


def program(parts: Parts) -> Program:
    """Compiled for a device, or a Python loop on a host, by where the experience comes from."""
    if inmost := called(parts):
        return calling(*inmost)
    closed = system(parts)
    if closed.on_device:
        fresh = partial(jax.eval_shape, partial(start_all, parts))
        run = partial(start, parts), partial(advance, parts), fresh
        return Program(*run, lambda saved, fresh: jax.device_put(saved), lambda: None)
    source = parts.source
    assert isinstance(source, HostSource)
    forward = partial(advance_on_host, closed, [])
    return Program(closed.init, forward, closed.init, closed.reopen, source.close)


def called(parts: Parts) -> tuple[Parts, Host] | None:
    """`parts` with host environments that are called, and these; None where a loop in Python is
    better, because learning takes long enough to be overlapped, or where they cannot be called."""
    inmost: Any = parts.source
    while hasattr(inmost, "source"):
        inmost = inmost.source
    if not isinstance(inmost, Vector) or hasattr(parts.algorithm, "system") or not calls.work():
        return None
    spec = inmost.spec
    agent = jax.eval_shape(partial(begin, parts.algorithm, parts.reward, spec), jax.random.key(0))
    if sum(leaf.size for leaf in jax.tree.leaves(agent[0])) >= LARGE:
        return None

    def replaced(source: Any) -> Any:
        if source is inmost:
            return Called(spec, inmost.steps)
        return replace(source, source=replaced(source.source))

    return parts._replace(source=replaced(parts.source)), Host(inmost.env)


def calling(parts: Parts, host: Host) -> Program:
    """A program that calls the environments of `host`."""
    source: Any = parts.source

    def begun(key: Key) -> TrainState:
        host.open(len(key) * parts.source.spec.envs)
        return host.checked(compiled(start_all, 0), parts, key)

    def reopen(saved: TrainState, fresh: TrainState) -> TrainState:
        return replace(saved, source=source.reopen(saved.source, fresh.source))

    return Program(begun, partial(advance_calling, parts, host), begun, reopen, host.close)


def start(parts: Parts, key: Key) -> TrainState:
    """The states of all seeds, from their keys [seed]."""
    return compiled(start_all, 0)(parts, key)


def advance(parts: Parts, state: TrainState, iterations: int) -> tuple[TrainState, Metrics]:
    """All seeds after so many iterations, which are one scan; `state` is used up."""
    return compiled(advance_all, 1)(parts, state, iterations=iterations)


@functools.cache
def compiled(function: Callable[..., Any], level: int) -> Any:
    """`function`, compiled on CPU at a `level` of LLVM's optimisation below its usual 3.

    The time of our programs goes to kernels of matrix products, which it does not touch: they run
    as fast, and compile in two thirds of the time, the start in one third.
    """
    options = {"xla_backend_optimization_level": level} if jax.default_backend() == "cpu" else {}
    if level == 0:
        return jax.jit(function, compiler_options=options)
    static = "iterations" if function is advance_all else ()
    return jax.jit(
        function, static_argnames=static, donate_argnames="state", compiler_options=options
    )


def start_all(parts: Parts, key: Key) -> TrainState:
    return over_seeds(lambda k: system(parts).init(k))(key)


def advance_all(parts: Parts, state: TrainState, iterations: int) -> tuple[TrainState, Metrics]:
    def scan(state: TrainState) -> tuple[TrainState, Metrics]:
        return jax.lax.scan(lambda s, _: system(parts).step(s), state, length=iterations)

    return over_seeds(scan, isinstance(parts.source, Replayed))(state)


def advance_calling(
    parts: Parts, host: Host, state: TrainState, iterations: int
) -> tuple[TrainState, Metrics]:
    """All seeds after so many iterations, or before the first that is not finite.

    Raises:
        NonFiniteError: an environment's numbers are not; it has `reached`.
    """
    pieces: list[Metrics] = []
    done, good = 0, True
    while done < iterations and good:
        more = min(STRETCH, iterations - done)
        before, state, rows, count = host.run(compiled(stretch, 1), parts, state, more)
        metrics = {name: np.asarray(x)[: int(count)] for name, x in rows.items()}
        done += int(count)
        good = not host.error and metrics["finite"][-1].all()
        if not good:
            state = replace(before, source=state.source)
        if host.error:
            if isinstance(host.error, NonFiniteError):
                host.error.reached = state, done - 1
            raise host.error
        pieces.append(metrics)
    return state, {k: np.concatenate([p[k] for p in pieces]).swapaxes(0, 1) for k in pieces[0]}


def stretch(
    parts: Parts, state: TrainState, iterations: int
) -> tuple[TrainState, TrainState, Metrics, Any]:
    """All seeds before the last and after so many iterations, of which there are fewer if one is
    not finite; the metrics of `STRETCH` of them [iteration, seed], and how many there were.

    The state before has no source, whose memory is handed over from one to the next.
    """
    step = over_seeds(system(parts).step, isinstance(parts.source, Replayed))

    def body(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        i, _, _, state, rows = carry
        after, metrics = step(state)
        metrics["finite"] &= over_seeds(finite)(after.agent)
        rows = {name: rows[name].at[i].set(metrics[name]) for name in rows}
        return i + 1, metrics["finite"].all(), replace(state, source=()), after, rows

    shapes = jax.eval_shape(step, state)[1]
    rows = {name: jnp.zeros((STRETCH, *x.shape), x.dtype) for name, x in shapes.items()}
    begun = jnp.int32(0), jnp.bool_(True), replace(state, source=()), state, rows
    count, _, before, state, rows = jax.lax.while_loop(
        lambda carry: (carry[0] < iterations) & carry[1], body, begun
    )
    return before, state, rows, count


def advance_on_host(
    closed: System, spares: list[Any], state: TrainState, iterations: int
) -> tuple[TrainState, Metrics]:
    """All seeds after so many iterations, or before the first that is not finite; `state` is used
    up. `spares` are agents that nobody needs, whose memory the next ones take.

    Parameters are looked at where an iteration broke and after the last, not after each: a bad one
    makes the next loss bad, so that what broke it is at most one update further back.

    Raises:
        NonFiniteError: an environment's numbers are not; it has `reached`.
    """
    history: list[Metrics] = []
    before = newest = state
    for _ in range(iterations):
        spare = spares.pop() if spares else jax.tree.map(jnp.copy, state.agent)
        try:
            newest, metrics = closed.step(state, spare)
        except NonFiniteError as error:
            if not history or healthy(state.agent).all():
                error.reached = state, len(history)
                raise
            break  # a bad parameter chose the action that the environment could not bear
        history.append(metrics)
        if not metrics["finite"].all():
            if len(history) > 1 and not healthy(state.agent).all():
                history.pop()
            break
        if before is not state:
            spares.append(before.agent)
        before, state = state, newest
    if not (good := healthy(state.agent)).all():
        history[-1] = {**history[-1], "finite": history[-1]["finite"] * good}
        state = before
    elif before is not state:
        spares.append(before.agent)
    state = replace(state, source=newest.source)  # a replay's memory was handed over
    return state, {k: np.array([m[k] for m in history]).swapaxes(0, 1) for k in history[0]}
