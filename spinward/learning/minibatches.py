"""Epochs over shuffled minibatches, and means weighted by steps."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, Metrics
from spinward.errors import SettingsError

FEISTEL_ROUNDS = 6  # even, so that the halves of an odd number of bits change back


def run_epochs(
    step: Callable[[Any, Any], tuple[Any, Metrics]],
    state: Any,
    data: Any,
    key: Key,
    epochs: int,
    minibatches: int,
    sequential: bool = False,
    renew: Callable[[Any], Any] | None = None,
) -> tuple[Any, Metrics]:
    """Scans `step(state, part)` over shuffled parts of `data` [time, env, ...], `epochs` times.

    A part is a set of single steps [rows, ...], or with `sequential` a set of envs with time kept
    whole [time, rows, ...]. With `renew` the data of each epoch are `renew(state)`. Metrics are
    [parts], in the order of the steps.
    """
    axis = 1 if sequential else 0
    size = data_size(data, sequential)
    if size % minibatches:
        what = "envs" if sequential else "the steps of a batch"
        raise SettingsError(f"minibatches={minibatches} does not divide {what} = {size}")

    def one_epoch(data: Any, state: Any, rows: Array) -> tuple[Any, Metrics]:
        data = data if sequential else flatten(data)

        def one_part(state: Any, rows: Array) -> tuple[Any, Metrics]:
            return step(state, jax.tree.map(lambda x: jnp.take(x, rows, axis, mode="clip"), data))

        return jax.lax.scan(one_part, state, rows)

    rows = jax.vmap(lambda k: shuffled(k, size))(jax.random.split(key, epochs))
    if renew is None:
        return one_epoch(data, state, rows.reshape(epochs * minibatches, -1))
    rows = rows.reshape(epochs, minibatches, -1)
    state, metrics = jax.lax.scan(lambda s, rows: one_epoch(renew(s), s, rows), state, rows)
    return state, flatten(metrics)


def data_size(data: Any, sequential: bool) -> int:
    """The number of envs of `data` [time, env, ...] if `sequential`, else the number of steps."""
    time, envs = jax.tree.leaves(data)[0].shape[:2]
    return int(envs if sequential else time * envs)


def flatten(batch: Any) -> Any:
    """Merges the leading [time, env] axes of every leaf."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)


def mean(values: Array, weight: Array) -> Array:
    """The weighted mean of `values`."""
    return (weight * values).sum() / jnp.maximum(weight.sum(), 1.0)


def means(values: Metrics, weight: Array) -> Metrics:
    """The weighted mean of each of `values`, all in one product."""
    weight = weight.reshape(-1)
    rows = jnp.stack([jnp.broadcast_to(v.reshape(-1), weight.shape) for v in values.values()])
    products = rows @ weight / jnp.maximum(weight.sum(), 1.0)
    return dict(zip(values, products, strict=True))


def standardise(values: Array, weight: Array) -> Array:
    """`values` shifted and scaled to the weighted mean 0 and standard deviation 1."""
    centred = values - mean(values, weight)
    return centred * jax.lax.rsqrt(mean(jnp.square(centred), weight) + 1e-8)


def shuffled(key: Key, n: int) -> Array:
    """The numbers below `n` in random order.

    A keyed Feistel network over the next power of two, walked until inside [0, n) (Black and
    Rogaway, 2002). The network is a permutation by construction and needs no sort. The sort
    of `jax.random.permutation` takes fifty times longer on CPU: a fifth of PPO's time.
    """
    if n < 128:  # too few bits for good mixing, and a sort is cheap
        return jax.random.permutation(key, n)
    bits = (n - 1).bit_length()
    keys = jax.random.bits(key, (FEISTEL_ROUNDS,))

    def mix(x: Array) -> Array:
        wide, narrow = bits - bits // 2, bits // 2  # of the left and the right half
        for k in keys:
            left, right = x >> narrow, x & ((1 << narrow) - 1)
            noise = (right + k) * jnp.uint32(0x9E3779B1)
            noise = (noise ^ (noise >> 15)) * jnp.uint32(0x85EBCA77)
            x = (right << wide) | (left ^ (noise >> (32 - wide)))
            wide, narrow = narrow, wide
        return x

    def outside(x: Array) -> Array:
        return (x >= n).any()

    x = mix(jnp.arange(n, dtype=jnp.uint32))
    x = jax.lax.while_loop(outside, lambda x: jnp.where(x >= n, mix(x), x), x)
    return x.astype(jnp.int32)
