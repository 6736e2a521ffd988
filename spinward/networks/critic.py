"""Actors for bounded actions, and critics: several of equal shape, side by side in one product."""

from typing import cast

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Box, Key, Obs, Spec, static, struct
from spinward.networks.distributions import SquashedGaussian, forbid
from spinward.networks.heads import width
from spinward.networks.layers import MLP
from spinward.networks.torso import Torso, mask

LOG_STD = (-20.0, 2.0)  # bounds as in the code of Haarnoja et al.


@struct
class Critics:
    """The values [critics, ...] of an action by several critics, which share a torso."""

    torso: Torso
    members: MLP  # every leaf is [critics, ...]
    action: tuple[int, ...] = static(())  # its shape

    @classmethod
    def init(
        cls, key: Key, spec: Spec, hidden: tuple[int, ...], activation: str, critics: int = 2
    ) -> "Critics":
        shape = cast(Box, spec.action).shape
        inputs, outputs = width(spec.action), 1
        return cls(*ensemble(key, spec, hidden, activation, critics, inputs, outputs), shape)

    def __call__(self, obs: Obs, action: Array) -> Array:
        return together(self.members, self.read(obs, action))[..., 0]

    def read(self, obs: Obs, action: Array) -> Array:
        """The input of the critics' layers."""
        leading = action.shape[: action.ndim - len(self.action)]
        return jnp.concatenate([self.torso(obs), action.reshape(*leading, -1)], -1)

    def first(self) -> "Critics":
        """The first critic alone."""
        return Critics(self.torso, jax.tree.map(lambda x: x[:1], self.members), self.action)

    def features(self, obs: Obs, action: Array) -> Array:
        """The input of the first critic's last layer."""
        return one_of(self.members).features(self.read(obs, action))


@struct
class ChoiceCritics:
    """The values [critics, ..., actions] of all actions by several critics, which share a torso."""

    torso: Torso
    members: MLP  # every leaf is [critics, ...]

    @classmethod
    def init(
        cls, key: Key, spec: Spec, hidden: tuple[int, ...], activation: str, critics: int = 2
    ) -> "ChoiceCritics":
        return cls(*ensemble(key, spec, hidden, activation, critics, 0, width(spec.action)))

    def __call__(self, obs: Obs) -> Array:
        return forbid(together(self.members, self.torso(obs)), mask(obs))

    def features(self, obs: Obs) -> Array:
        """The input of the first critic's last layer."""
        return one_of(self.members).features(self.torso(obs))


def one_of(members: MLP) -> MLP:
    """The first of `members`."""
    return jax.tree.map(lambda x: x[0], members)


def ensemble(
    key: Key,
    spec: Spec,
    hidden: tuple[int, ...],
    activation: str,
    members: int,
    inputs: int,
    outputs: int,
) -> tuple[Torso, MLP]:
    """A torso, and so many networks that read its features and `inputs` further numbers."""
    k_torso, k_members = jax.random.split(key)
    torso, size, _ = Torso.init(k_torso, spec.obs, (), activation, critic=True)
    sizes = (size + inputs, *hidden, outputs)
    keys = jax.random.split(k_members, members)
    return torso, jax.vmap(lambda k: MLP.init(k, sizes, activation, 1.0))(keys)


def together(members: MLP, x: Array) -> Array:
    """The outputs [members, ...] of `members` for the same input `x`."""
    # A copy of x for each member: the result of one wide product would have to be transposed.
    size = jax.tree.leaves(members)[0].shape[0]
    return jax.vmap(MLP.__call__)(members, jnp.broadcast_to(x, (size, *x.shape)))


@struct
class DeterministicActor:
    """A deterministic policy: an action within [-1, 1]."""

    torso: Torso
    layers: MLP
    action: tuple[int, ...] = static(())  # its shape

    @classmethod
    def init(
        cls, key: Key, spec: Spec, hidden: tuple[int, ...], activation: str
    ) -> "DeterministicActor":
        torso, layers = tower(key, spec, hidden, activation, width(spec.action))
        return cls(torso, layers, cast(Box, spec.action).shape)

    def __call__(self, obs: Obs) -> Array:
        x = jnp.tanh(self.layers(self.torso(obs)))
        return x.reshape(*x.shape[:-1], *self.action)


@struct
class GaussianActor:
    """A squashed normal policy, whose mean and standard deviation depend on the observation."""

    torso: Torso
    layers: MLP
    action: tuple[int, ...] = static(())  # its shape

    @classmethod
    def init(
        cls, key: Key, spec: Spec, hidden: tuple[int, ...], activation: str
    ) -> "GaussianActor":
        torso, layers = tower(key, spec, hidden, activation, 2 * width(spec.action))
        return cls(torso, layers, cast(Box, spec.action).shape)

    def __call__(self, obs: Obs) -> SquashedGaussian:
        x = self.layers(self.torso(obs))
        x = x.reshape(*x.shape[:-1], 2, *self.action)
        mean, log_std = jnp.moveaxis(x, -1 - len(self.action), 0)
        return SquashedGaussian(mean, jnp.clip(log_std, *LOG_STD), len(self.action))


def tower(
    key: Key, spec: Spec, hidden: tuple[int, ...], activation: str, outputs: int
) -> tuple[Torso, MLP]:
    """A torso and the layers on it; their outputs are near 0 at first."""
    k_torso, k_layers = jax.random.split(key)
    torso, size, _ = Torso.init(k_torso, spec.obs, (), activation)
    return torso, MLP.init(k_layers, (size, *hidden, outputs), activation, 0.01)
