"""A policy and its value as two separate networks, or as two heads of one network."""

from typing import Any, ClassVar

import jax
from jax import Array

from spinward.core import Key, Memory, Obs, Spec, Transition, replace, struct
from spinward.networks.distributions import Distribution
from spinward.networks.heads import Actor, ActorCritic, PolicyNetwork
from spinward.networks.layers import MLP
from spinward.networks.torso import Torso, privileged


@struct
class Value:
    """The value of a state."""

    torso: Torso
    layers: MLP

    @classmethod
    def init(cls, key: Key, spec: Spec, hidden: tuple[int, ...], activation: str) -> "Value":
        k_torso, k_layers = jax.random.split(key)
        torso, size, left = Torso.init(k_torso, spec.obs, hidden, activation, critic=True)
        return cls(torso, MLP.init(k_layers, (size, *left, 1), activation, 1.0))

    def __call__(self, obs: Obs) -> Array:
        return self.layers(self.torso(obs))[..., 0]


@struct
class Separate:
    """A policy and its value without shared parameters, convolutions included."""

    policy: PolicyNetwork
    critic: Value
    sequential: ClassVar[bool] = False

    @classmethod
    def init(cls, key: Key, spec: Spec, hidden: tuple[int, ...], activation: str) -> "Separate":
        k_policy, k_critic = jax.random.split(key)
        policy = PolicyNetwork.init(k_policy, spec, hidden, activation)
        return cls(policy, Value.init(k_critic, spec, hidden, activation))

    def memory(self, envs: int) -> Memory:
        return ()

    def step(self, obs: Obs, memory: Memory) -> tuple[Distribution, Memory, dict[str, Array]]:
        return self.policy(obs), memory, {}

    def value(self, obs: Obs) -> Array:
        return self.critic(obs)

    def unroll(self, batch: Transition) -> tuple[Distribution, Array, Array]:
        return self.policy(batch.obs), self.critic(batch.obs), self.critic(batch.next_obs)


def actor_critic(
    key: Key, spec: Spec, hidden: tuple[int, ...], activation: str
) -> ActorCritic | Separate:
    """A policy and its value: two towers for vectors, one trunk with two heads for images, and
    separate networks where the critic reads privileged observations."""
    make = Separate.init if privileged(spec) else ActorCritic.init
    return make(key, spec, hidden, activation)


def one_trunk(
    key: Key, spec: Spec, hidden: tuple[int, ...], activation: str
) -> ActorCritic | Separate:
    """A policy and its value with shared hidden layers, for vectors and images; separate networks
    where the critic reads privileged observations."""
    if privileged(spec):
        return Separate.init(key, spec, hidden, activation)
    k_torso, k_trunk, k_actor, k_critic = jax.random.split(key, 4)
    torso, size, left = Torso.init(k_torso, spec.obs, hidden, activation)
    if left:
        trunk = MLP.init(k_trunk, (size, *left), activation, 2**0.5, ends_active=True)
        torso, size = replace(torso, trunk=trunk), left[-1]
    actor = Actor.init(k_actor, size, spec.action, (), activation)
    return ActorCritic(torso, actor, MLP.init(k_critic, (size, 1), activation, 1.0))


def parted(model: Any) -> tuple[Any, Any]:
    """A network without its critic, and the critic alone. Shared parts stay with the first."""
    return replace(model, critic=()), model.critic


def joined(policy: Any, critic: Any) -> Any:
    """The network that was `parted`."""
    return replace(policy, critic=critic)
