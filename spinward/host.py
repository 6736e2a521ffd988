"""How acting and learning share a host: what acting needs of an agent, and learning beside it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

LARGE = 100_000  # numbers in an agent, from which learning is worth a thread of its own
THREAD = ThreadPoolExecutor(1)  # which starts when it is first given something to do


def reading(act: Callable[..., Any], agent: Any, *args: Any) -> Callable[[Any], Any]:
    """`act` over seeds, closed over an agent and compiled for those of its leaves that it reads.

    What only learning needs, such as the state of an optimiser, would double the time of a call.
    """
    shapes, tree = jax.tree.flatten(agent)
    jaxpr = jax.make_jaxpr(act)(agent, *args).jaxpr
    read = {id(v) for equation in jaxpr.eqns for v in equation.invars} | set(map(id, jaxpr.outvars))
    index = [i for i, v in enumerate(jaxpr.invars[: len(shapes)]) if id(v) in read]

    def whole(leaves: list[Any], *args: Any) -> Any:
        zeros = [jnp.zeros(x.shape, x.dtype) for x in shapes]
        for i, leaf in zip(index, leaves, strict=True):
            zeros[i] = leaf
        return act(jax.tree.unflatten(tree, zeros), *args)

    compiled = jax.jit(jax.vmap(whole))

    def closed(agent: Any) -> Any:
        leaves = jax.tree.leaves(agent)
        return partial(compiled, [leaves[i] for i in index])

    return closed


def is_large(agent: Any) -> bool:
    """Whether learning is worth a thread of its own while environments are stepped. For a small
    agent waking it up costs more than its update."""
    return sum(leaf.size for leaf in jax.tree.leaves(agent)) >= LARGE


def in_thread(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Calls it there; the answer waits for the result."""
    return THREAD.submit(function, *args).result
