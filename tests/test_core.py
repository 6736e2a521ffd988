"""The two decorators that make classes PyTrees."""

import jax
import jax.numpy as jnp
import pytest

from spinward.core import config, static, struct


def twins(kind):
    """Two classes with the same fields, and an instance of each."""

    @kind
    class One:
        size: float = 2.0
        count: int = 3

    @kind
    class Other:
        size: float = 2.0
        count: int = 3

    return One(), Other()


@pytest.mark.parametrize("kind", [struct, config])
def test_classes_with_equal_fields_have_different_structures(kind):
    one, other = twins(kind)
    assert jax.tree.structure(one) == jax.tree.structure(type(one)())
    assert jax.tree.structure(one) != jax.tree.structure(other)  # else jit may confuse them


def test_what_is_static_is_part_of_the_structure_and_the_rest_are_leaves():
    @struct
    class State:
        x: jax.Array
        kind: str = static("a")

    state = State(jnp.arange(3), "b")
    assert jax.tree.structure(state) != jax.tree.structure(State(jnp.arange(3)))
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    assert paths == [".x"]
    doubled = jax.tree.map(lambda x: 2 * x, state)
    assert doubled.kind == "b" and doubled.x.tolist() == [0, 2, 4]

    one, _ = twins(config)
    assert jax.tree.leaves(one) == [2.0]
    assert jax.jit(lambda c: c.size * c.count)(one) == 6.0
