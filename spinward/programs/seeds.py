"""Functions of one seed made functions of all, and compiled; and what a program is."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Key, Metrics, TrainState

ROWS = 1024  # iterations that one call of a compiled program runs, at most


class Program(NamedTuple):
    """A system made to run: states are [seed, ...], metrics NumPy arrays [seed, iterations]."""

    start: Callable[[Key], TrainState]
    advance: Callable[[TrainState, int], tuple[TrainState, Metrics]]  # fewer if one breaks
    fresh: Callable[[Key], TrainState]  # like `start`; on a device its shapes alone
    reopen: Callable[[TrainState, TrainState], TrainState]  # one read from a file, a fresh one
    close: Callable[[], None]
    repeats: bool  # whether the same state gives the same bits again


def over_seeds(function: Callable[..., Any], stores: bool = False) -> Callable[..., Any]:
    """`function` of every seed, which all of its arguments have as a leading axis.

    One seed is no batch of one: on a CPU its matrix products would take a tenth longer. But one
    that `stores` in a ring that is handed over is: XLA would copy a ring whose shape changes.
    """
    if stores:
        return jax.vmap(function)

    def each(*args: Any) -> Any:
        if jax.tree.leaves(args)[0].shape[0] > 1:
            return jax.vmap(function)(*args)
        found = function(*jax.tree.map(lambda x: jax.lax.squeeze(x, (0,)), args))
        return jax.tree.map(lambda x: jnp.expand_dims(x, 0), found)

    return each


@functools.cache
def compiled(
    function: Callable[..., Any], level: int, static: tuple[str, ...] = (), donated: str = ""
) -> Any:
    """`function`, compiled on CPU at a `level` of LLVM's optimisation below its usual 3.

    The time of our programs goes to kernels of matrix products, which it does not touch: they run
    as fast, and compile in two thirds of the time, the start in one third.
    """
    options = {"xla_backend_optimization_level": level} if jax.default_backend() == "cpu" else {}
    return jax.jit(
        function,
        static_argnames=static,
        donate_argnames=donated or None,
        compiler_options=options,
    )


class Rows(NamedTuple):
    """Metrics of up to so many iterations, one row each: one array, for which a loop needs one
    kernel to write and not one for each metric."""

    shapes: Metrics  # of the metrics of one iteration, each [seed]
    most: int

    @classmethod
    def of(cls, step: Callable[..., Any], state: Any, most: int) -> "Rows":
        """For what `step(state)` gives beside the next state."""
        return cls(jax.eval_shape(step, state)[1], most)

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
    """`step`, which a program may ask for its shapes and then run, for one trace in Python."""
    return jax.jit(step, inline=True)


def healthy(agent: Any) -> np.ndarray:
    """Of each seed, whether all of its agent's numbers are finite."""
    leaves = [x for x in jax.tree.leaves(agent) if jnp.issubdtype(x.dtype, jnp.inexact)]
    good = [np.isfinite(np.asarray(x)).reshape(len(x), -1).all(1) for x in leaves]
    return np.logical_and.reduce(good)


def by_seed(rows: Metrics, count: int) -> Metrics:
    """The first `count` of metrics [iteration, seed] as NumPy arrays [seed, iteration]."""
    return {name: np.asarray(x)[:count].swapaxes(0, 1) for name, x in rows.items()}


def joined(pieces: list[Metrics]) -> Metrics:
    """Metrics [seed, iteration] one after another."""
    return {name: np.concatenate([p[name] for p in pieces], 1) for name in pieces[0]}
