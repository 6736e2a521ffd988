"""Networks that imitate logged actions or value their states: a normal policy of bounded mean, the
value of a state, and a generative model of actions."""

from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Box, Discrete, Key, Obs, Spec, static, struct
from spinward.networks.critic import ChoiceCritics, Critics, tower
from spinward.networks.distributions import Gaussian
from spinward.networks.heads import PolicyNetwork, width
from spinward.networks.layers import MLP
from spinward.networks.torso import Torso

LOG_STD = (-5.0, 2.0)  # bounds as in the code of Kostrikov et al.
LATENT_LOG_STD = (-4.0, 15.0)  # as in the code of Fujimoto et al.


@struct
class BoundedMean:
    """A normal policy whose mean lies within [-1, 1] and whose standard deviation is equal in every
    state."""

    torso: Torso
    layers: MLP
    log_std: Array  # of the shape of an action

    @classmethod
    def init(cls, key: Key, spec: Spec, hidden: tuple[int, ...], activation: str) -> "BoundedMean":
        torso, layers = tower(key, spec, hidden, activation, width(spec.action))
        return cls(torso, layers, jnp.zeros(cast(Box, spec.action).shape))

    def __call__(self, obs: Obs) -> Gaussian:
        x = jnp.tanh(self.layers(self.torso(obs)))
        mean = x.reshape(*x.shape[:-1], *self.log_std.shape)
        return Gaussian(mean, jnp.clip(self.log_std, *LOG_STD))


def policy(key: Key, spec: Spec, hidden: tuple[int, ...], activation: str) -> Any:
    """A policy over the actions of a space, for its likelihood: a normal one, or a choice."""
    kind = PolicyNetwork if isinstance(spec.action, Discrete) else BoundedMean
    return kind.init(key, spec, hidden, activation)


def critics(key: Key, spec: Spec, hidden: tuple[int, ...], activation: str) -> Any:
    """Two critics of the actions of a space."""
    kind = ChoiceCritics if isinstance(spec.action, Discrete) else Critics
    return kind.init(key, spec, hidden, activation)


@struct
class StateValue:
    """The value [...] of a state."""

    torso: Torso
    layers: MLP

    @classmethod
    def init(cls, key: Key, spec: Spec, hidden: tuple[int, ...], activation: str) -> "StateValue":
        k_torso, k_layers = jax.random.split(key)
        torso, size, _ = Torso.init(k_torso, spec.obs, (), activation, critic=True)
        return cls(torso, MLP.init(k_layers, (size, *hidden, 1), activation, 1.0))

    def __call__(self, obs: Obs) -> Array:
        return self.layers(self.torso(obs))[..., 0]


@struct
class ActionVAE:
    """A conditional variational autoencoder of actions (Kingma and Welling, 2014; Sohn et al.,
    2015): which actions the data have in a state."""

    torso: Torso
    encoder: MLP
    decoder: MLP
    action: tuple[int, ...] = static(())  # its shape

    @classmethod
    def init(cls, key: Key, spec: Spec, hidden: tuple[int, ...], activation: str) -> "ActionVAE":
        k_torso, k_encoder, k_decoder = jax.random.split(key, 3)
        torso, size, _ = Torso.init(k_torso, spec.obs, (), activation)
        action = width(spec.action)
        latent = 2 * action
        encoder = MLP.init(k_encoder, (size + action, *hidden, 2 * latent), activation, 1.0)
        decoder = MLP.init(k_decoder, (size + latent, *hidden, action), activation, 1.0)
        return cls(torso, encoder, decoder, cast(Box, spec.action).shape)

    @property
    def latent(self) -> int:
        """The number of latent numbers, twice an action's."""
        return self.encoder.layers[-1].b.shape[0] // 2

    def encode(self, obs: Obs, action: Array) -> tuple[Array, Array]:
        """The mean and the logarithm of the standard deviation of the latent numbers."""
        leading = action.shape[: action.ndim - len(self.action)]
        x = jnp.concatenate([self.torso(obs), action.reshape(*leading, -1)], -1)
        mean, log_std = jnp.split(self.encoder(x), 2, -1)
        return mean, jnp.clip(log_std, *LATENT_LOG_STD)

    def decode(self, obs: Obs, latent: Array) -> Array:
        """The action of latent numbers, within [-1, 1]."""
        x = jnp.tanh(self.decoder(jnp.concatenate([self.torso(obs), latent], -1)))
        return x.reshape(*x.shape[:-1], *self.action)

    def sample(self, obs: Obs, key: Key, bound: float) -> Array:
        """An action for each of `obs`, from standard normal latent numbers within the bound."""
        leading = self.torso(obs).shape[:-1]
        noise = jax.random.normal(key, (*leading, self.latent))
        return self.decode(obs, jnp.clip(noise, -bound, bound))


@struct
class Perturbation:
    """A change of an action within [-1, 1] times a limit, by state and action."""

    torso: Torso
    layers: MLP
    action: tuple[int, ...] = static(())  # its shape

    @classmethod
    def init(cls, key: Key, spec: Spec, hidden: tuple[int, ...], activation: str) -> "Perturbation":
        k_torso, k_layers = jax.random.split(key)
        torso, size, _ = Torso.init(k_torso, spec.obs, (), activation)
        action = width(spec.action)
        layers = MLP.init(k_layers, (size + action, *hidden, action), activation, 0.01)
        return cls(torso, layers, cast(Box, spec.action).shape)

    def __call__(self, obs: Obs, action: Array) -> Array:
        """The change, before it is scaled."""
        leading = action.shape[: action.ndim - len(self.action)]
        x = jnp.concatenate([self.torso(obs), action.reshape(*leading, -1)], -1)
        return jnp.tanh(self.layers(x)).reshape(action.shape)
