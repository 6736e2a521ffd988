"""How acting and learning share a host: what acting needs of an agent, and learning beside it."""

import functools
import operator
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

THREAD = ThreadPoolExecutor(1)  # which starts when it is first given something to do


def reading(act: Callable[..., Any], agent: Any, *args: Any) -> Callable[[Any], Any]:
    """`act` over seeds, closed over an agent and compiled for those of its leaves that it reads.

    What only learning needs, such as the state of an optimiser, would double the time of a call.
    """
    paths, tree = jax.tree_util.tree_flatten_with_path(agent)
    shapes = [shape for _, shape in paths]
    jaxpr = jax.make_jaxpr(act)(agent, *args).jaxpr
    read = {id(v) for equation in jaxpr.eqns for v in equation.invars} | set(map(id, jaxpr.outvars))
    index = [i for i, v in enumerate(jaxpr.invars[: len(shapes)]) if id(v) in read]

    def whole(leaves: list[Any], *args: Any) -> Any:
        zeros = [jnp.zeros(x.shape, x.dtype) for x in shapes]
        for i, leaf in zip(index, leaves, strict=True):
            zeros[i] = leaf
        return act(jax.tree.unflatten(tree, zeros), *args)

    compiled = jax.jit(over_seeds(whole))

    fetch = [getter(paths[i][0]) for i in index]
    return lambda agent: partial(compiled, [leaf(agent) for leaf in fetch])


def getter(path: tuple[Any, ...]) -> Callable[[Any], Any]:
    """What takes the leaf at `path` out of a tree: of a few leaves, a fifth of the time that it
    takes to flatten all."""
    steps = [
        operator.attrgetter(key.name)
        if isinstance(key, jax.tree_util.GetAttrKey)
        else operator.itemgetter(key.idx if isinstance(key, jax.tree_util.SequenceKey) else key.key)
        for key in path
    ]
    return lambda tree: functools.reduce(lambda part, step: step(part), steps, tree)


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


def beside(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Calls it in a thread of its own; the answer waits for the result."""
    return THREAD.submit(function, *args).result


def healthy(agent: Any) -> np.ndarray:
    """Of each seed, whether all of its agent's numbers are finite."""
    leaves = [x for x in jax.tree.leaves(agent) if jnp.issubdtype(x.dtype, jnp.inexact)]
    good = [np.isfinite(np.asarray(x)).reshape(len(x), -1).all(1) for x in leaves]
    return np.logical_and.reduce(good)
