"""Heads on a torso: a policy with its value, a policy alone, and values of actions."""

from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import (
    Box,
    Discrete,
    Hybrid,
    Key,
    Memory,
    MultiDiscrete,
    Obs,
    Spec,
    Transition,
    replace,
    static,
    struct,
)
from spinward.networks.distributions import (
    Categorical,
    Distribution,
    Gaussian,
    Joint,
    MultiCategorical,
    forbid,
    pick,
)
from spinward.networks.layers import MLP
from spinward.networks.torso import Torso, mask
from spinward.spaces import ActionSpace

T = TypeVar("T")


@struct
class Actor:
    """From features to a distribution over the actions of a space."""

    layers: MLP
    log_std: Array  # of a Gaussian, equal in every state; empty for other spaces
    action: ActionSpace = static()

    @classmethod
    def init(
        cls,
        key: Key,
        features: int,
        action: ActionSpace,
        hidden: tuple[int, ...],
        activation: str,
    ) -> "Actor":
        sizes = (features, *hidden, width(action))
        numbers = action.box if isinstance(action, Hybrid) else action
        log_std = jnp.zeros(numbers.shape if isinstance(numbers, Box) else (0,))
        return cls(MLP.init(key, sizes, activation, 0.01), log_std, action)

    def __call__(self, features: Array, allowed: Array | None) -> Distribution:
        x = self.layers(features)
        if isinstance(self.action, Box):
            return Gaussian(x.reshape(*x.shape[:-1], *self.action.shape), self.log_std)
        if isinstance(self.action, Hybrid):
            logits, mean = jnp.split(x, [sum(self.action.sizes)], -1)
            choices = MultiCategorical(forbid(logits, allowed), self.action.sizes)
            return Joint(choices, Gaussian(mean, self.log_std))
        logits = forbid(x, allowed)
        if isinstance(self.action, MultiDiscrete):
            return MultiCategorical(logits, self.action.sizes)
        return Categorical(logits)


def spread(model: T, log_std: float | Array) -> T:
    """`model` with `log_std` added to that of its Gaussian policy, which starts at 0."""

    def more(part: Any) -> Any:
        return replace(part, log_std=part.log_std + log_std) if isinstance(part, Actor) else part

    return jax.tree.map(more, model, is_leaf=lambda part: isinstance(part, Actor))


def with_log_std(model: T, log_std: float | Array) -> T:
    """`model` whose Gaussian policy has this `log_std`."""

    def reset(part: Any) -> Any:
        if not isinstance(part, Actor):
            return part
        return replace(part, log_std=jnp.full_like(part.log_std, log_std))

    return jax.tree.map(reset, model, is_leaf=lambda part: isinstance(part, Actor))


@struct
class ActorCritic:
    """A policy and its value: two towers for vectors, one trunk with two heads for images."""

    torso: Torso
    actor: Actor
    critic: MLP
    sequential: ClassVar[bool] = False

    @classmethod
    def init(cls, key: Key, spec: Spec, hidden: tuple[int, ...], activation: str) -> "ActorCritic":
        k_torso, k_actor, k_critic = jax.random.split(key, 3)
        torso, size, left = Torso.init(k_torso, spec.obs, hidden, activation)
        actor = Actor.init(k_actor, size, spec.action, left, activation)
        return cls(torso, actor, MLP.init(k_critic, (size, *left, 1), activation, 1.0))

    def memory(self, envs: int) -> Memory:
        return ()

    def step(self, obs: Obs, memory: Memory) -> tuple[Distribution, Memory, dict[str, Array]]:
        return self.actor(self.torso(obs), mask(obs)), memory, {}

    def value(self, obs: Obs) -> Array:
        return self.critic(self.torso(obs))[..., 0]

    def unroll(self, batch: Transition) -> tuple[Distribution, Array, Array]:
        features = self.torso(batch.obs)
        policy = self.actor(features, mask(batch.obs))
        return policy, self.critic(features)[..., 0], self.value(batch.next_obs)


@struct
class PolicyNetwork:
    """A policy without a value."""

    torso: Torso
    actor: Actor

    @classmethod
    def init(
        cls, key: Key, spec: Spec, hidden: tuple[int, ...], activation: str
    ) -> "PolicyNetwork":
        k_torso, k_actor = jax.random.split(key)
        torso, size, left = Torso.init(k_torso, spec.obs, hidden, activation)
        return cls(torso, Actor.init(k_actor, size, spec.action, left, activation))

    def __call__(self, obs: Obs) -> Distribution:
        return self.actor(self.torso(obs), mask(obs))


@struct
class Q:
    """The value of each action [..., actions]; forbidden actions get a very low one."""

    torso: Torso
    layers: MLP

    @classmethod
    def init(cls, key: Key, spec: Spec, hidden: tuple[int, ...], activation: str) -> "Q":
        k_torso, k_layers = jax.random.split(key)
        torso, size, left = Torso.init(k_torso, spec.obs, hidden, activation)
        sizes = (size, *left, width(spec.action))
        return cls(torso, MLP.init(k_layers, sizes, activation, 1.0))

    def __call__(self, obs: Obs) -> Array:
        return forbid(self.layers(self.torso(obs)), mask(obs))


@struct
class Duelling:
    """The value of each action [..., actions], as that of the state and an advantage over it.

    Q = V + A - mean A (Wang et al., 2016, arXiv:1511.06581, (9)).
    """

    torso: Torso
    value: MLP
    layers: MLP  # of the advantages

    @classmethod
    def init(cls, key: Key, spec: Spec, hidden: tuple[int, ...], activation: str) -> "Duelling":
        k_torso, k_value, k_layers = jax.random.split(key, 3)
        # The streams share the convolutions of images; the layers after them are separate.
        torso, size, _ = Torso.init(k_torso, spec.obs, (), activation)
        value = MLP.init(k_value, (size, *hidden, 1), activation, 1.0)
        return cls(
            torso, value, MLP.init(k_layers, (size, *hidden, width(spec.action)), activation, 1.0)
        )

    def __call__(self, obs: Obs) -> Array:
        features = self.torso(obs)
        advantage = self.layers(features)
        q = self.value(features) + advantage - advantage.mean(-1, keepdims=True)
        return forbid(q, mask(obs))


@struct
class Heads:
    """Several outputs for each action [..., actions, heads]: logits, quantiles, or values.
    Forbidden actions are not masked here, because the mask depends on the meaning of the
    outputs."""

    torso: Torso
    layers: MLP
    heads: int = static()

    @classmethod
    def init(
        cls, key: Key, spec: Spec, hidden: tuple[int, ...], activation: str, heads: int
    ) -> "Heads":
        k_torso, k_layers = jax.random.split(key)
        torso, size, left = Torso.init(k_torso, spec.obs, hidden, activation)
        sizes = (size, *left, width(spec.action) * heads)
        return cls(torso, MLP.init(k_layers, sizes, activation, 1.0), heads)

    def __call__(self, obs: Obs) -> Array:
        x = self.layers(self.torso(obs))
        return x.reshape(*x.shape[:-1], -1, self.heads)


def of_action(x: Array, action: Array) -> Array:
    """The outputs [..., heads] for one `action` [...], from `x` [..., actions, heads]."""
    return pick(jnp.swapaxes(x, -1, -2), action[..., None])


def width(action: ActionSpace) -> int:
    """The number of outputs of a head for the space `action`."""
    if isinstance(action, Box):
        return action.size
    if isinstance(action, Hybrid):
        return sum(action.sizes) + action.box.size
    return action.n if isinstance(action, Discrete) else sum(action.sizes)
