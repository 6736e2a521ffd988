"""Functions compiled for the leaves of an agent that they read."""

import functools
import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from spinward.programs.seeds import over_seeds


def reading(act: Callable[..., Any], agent: Any, *args: Any) -> Callable[[Any], Any]:
    """`act` over seeds, closed over an agent and compiled for the leaves that `act` reads.

    The leaves that only learning needs, such as an optimiser's state, would double a call's time.
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
    """A function that returns the leaf at `path` of a tree. For a few leaves, this takes a fifth of
    the time of flattening the tree."""
    steps = [
        operator.attrgetter(key.name)
        if isinstance(key, jax.tree_util.GetAttrKey)
        else operator.itemgetter(key.idx if isinstance(key, jax.tree_util.SequenceKey) else key.key)
        for key in path
    ]
    return lambda tree: functools.reduce(lambda part, step: step(part), steps, tree)
