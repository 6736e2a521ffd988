"""Ensembles of networks that share no parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, Obs, struct
from spinward.networks.distributions import forbid
from spinward.networks.torso import mask


@struct
class Ensemble:
    """The values [..., actions, members] of actions by several networks of one head each."""

    members: Any  # every leaf [members, ...]

    @classmethod
    def init(cls, key: Key, members: int, make: Callable[[Key], Any]) -> "Ensemble":
        return cls(jax.vmap(make)(jax.random.split(key, members)))

    def __call__(self, obs: Obs) -> Array:
        each = jax.vmap(lambda member: member(obs)[..., 0])(self.members)
        return jnp.moveaxis(each, 0, -1)

    @property
    def first(self) -> Any:
        return jax.tree.map(lambda x: x[0], self.members)

    @property
    def torso(self) -> Any:
        """The first member's torso, which diagnostics read."""
        return self.first.torso

    @property
    def layers(self) -> Any:
        return self.first.layers


def several(
    make: Callable[..., Any], key: Key, sizes: tuple[Any, ...], heads: int, separate: bool
) -> Any:
    """One network `make(key, *sizes, heads)` of so many heads, or as many networks of one head."""
    if not separate:
        return make(key, *sizes, heads)
    return Ensemble.init(key, heads, lambda k: make(k, *sizes, 1))


def each_head(model: Any, obs: Obs) -> Array:
    """The values [heads, ..., actions] of actions by every head of `several`."""
    return forbid(jnp.moveaxis(model(obs), -1, 0), mask(obs))
