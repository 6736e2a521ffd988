"""Functions of one seed made into compiled functions of all seeds; and the type of a program."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Key, Metrics, TrainState

ROWS = 1024  # at most so many iterations in one call of a compiled program


class Program(NamedTuple):
    """A system that is ready to run: states are [seed, ...], metrics are NumPy [seed,
    iterations]."""

    start: Callable[[Key], TrainState]
    # From a state, for so many iterations, of which the first has a number (0 if it is not given);
    # fewer if one is not finite.
    advance: Callable[..., tuple[TrainState, Metrics]]
    fresh: Callable[[Key], TrainState]  # like `start`; on a device only the shapes
    reopen: Callable[[TrainState, TrainState], TrainState]  # from a saved state and a fresh one
    close: Callable[[], None]
    repeats: bool  # whether the same state gives the same bits again


def over_seeds(function: Callable[..., Any], stores: bool = False) -> Callable[..., Any]:
    """`function` of every seed. All arguments have a leading axis of seeds.

    A single seed is not run as a batch of one, because on a CPU the matrix products of a batch take
    a tenth longer. The exception is a function that `stores` in a donated ring: XLA would copy a
    ring whose shape changes.
    """
    if stores:
        return jax.vmap(function)

    def each(*args: Any) -> Any:
        if jax.tree.leaves(args)[0].shape[0] > 1:
            return jax.vmap(function)(*args)
        result = function(*jax.tree.map(lambda x: jax.lax.squeeze(x, (0,)), args))
        return jax.tree.map(lambda x: jnp.expand_dims(x, 0), result)

    return each


UNFUSED = {"xla_cpu_use_fusion_emitters": False}


@functools.cache
def knows_unfused() -> bool:
    """Whether this version of XLA can be told not to fuse kernels; newer ones cannot."""
    try:
        jax.jit(lambda: 0, compiler_options=UNFUSED)()
    except jax.errors.JaxRuntimeError:
        return False
    return True


@functools.cache
def compiled(
    function: Callable[..., Any], level: int, static: tuple[str, ...] = (), donated: str = ""
) -> Any:
    """`function`, compiled on CPU at a `level` of LLVM's optimisation below the usual 3.

    Our programs spend their time in matrix products, which the level does not affect. So programs
    run as fast, and compile in two thirds of the time. A program that runs once is compiled at
    level 0 and without fused kernels, which would double the compilation's time.
    """
    options: dict[str, Any] = {}
    if jax.default_backend() == "cpu":
        options = {"xla_backend_optimization_level": level}
        options |= UNFUSED if level == 0 and knows_unfused() else {}
    return jax.jit(
        function,
        static_argnames=static,
        donate_argnames=donated or None,
        compiler_options=options,
    )


class Rows(NamedTuple):
    """The metrics of up to `most` iterations in one array, with a row for each iteration. A loop
    writes a row with one kernel; separate arrays would need one kernel for each metric."""

    shapes: Metrics  # of the metrics of one iteration, each [seed]
    most: int

    @classmethod
    def of(cls, step: Callable[..., Any], state: Any, most: int) -> "Rows":
        """The rows for the metrics of `step(state, iteration)`."""
        number = jax.ShapeDtypeStruct((), jnp.int32)  # as in the loop, or `step` is traced again
        return cls(jax.eval_shape(step, state, number)[1], most)

    def empty(self) -> Array:
        """[iteration, metric, seed]."""
        seeds = next(iter(self.shapes.values())).shape[0]
        return jnp.zeros((self.most, len(self.shapes), seeds))

    def put(self, rows: Array, i: Array, metrics: Metrics) -> Array:
        row = jnp.stack([metrics[name].astype(jnp.float32) for name in self.shapes])
        return rows.at[i].set(row)

    def read(self, rows: Array) -> Metrics:
        """Metrics [iteration, seed] in their own types."""
        pairs = enumerate(self.shapes.items())
        return {name: rows[:, k].astype(shape.dtype) for k, (name, shape) in pairs}


def traced_once(step: Callable[..., Any]) -> Any:
    """`step`, traced only once by Python, although a program first reads its shapes."""
    return jax.jit(step, inline=True)


def healthy(agent: Any) -> np.ndarray:
    """For each seed, whether all of its agent's numbers are finite."""
    leaves = [x for x in jax.tree.leaves(agent) if jnp.issubdtype(x.dtype, jnp.inexact)]
    good = [np.isfinite(np.asarray(x)).reshape(len(x), -1).all(1) for x in leaves]
    return np.logical_and.reduce(good)


def by_seed(rows: Metrics, count: int) -> Metrics:
    """The first `count` of metrics [iteration, seed] as NumPy arrays [seed, iteration]."""
    return {name: np.asarray(x)[:count].swapaxes(0, 1) for name, x in rows.items()}


def joined(pieces: list[Metrics]) -> Metrics:
    """The pieces of metrics [seed, iteration], concatenated along iterations."""
    return {name: np.concatenate([p[name] for p in pieces], 1) for name in pieces[0]}
