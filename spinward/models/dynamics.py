"""Predictions of the next state and the reward by an ensemble of probabilistic networks (Chua et
al., 2018, arXiv:1805.12114; the clamp as in their code).

Networks read and say normalised numbers; what they say of the state is its change.
"""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, replace, static, struct
from spinward.networks.layers import MLP, Linear

BOUNDS = (-10.0, 0.5)  # of the log-variance, at first
SMALLEST = 1e-6  # a smaller standard deviation counts as constant, and is not scaled


@struct
class VectorScale:
    """The mean and standard deviation of vectors."""

    mean: Array
    std: Array

    @classmethod
    def init(cls, size: int) -> "VectorScale":
        return cls(jnp.zeros(size), jnp.ones(size))

    @classmethod
    def of(cls, rows: Array, weight: Array) -> "VectorScale":
        """Of the rows [row, dim] whose `weight` [row] is 1."""
        count = jnp.maximum(weight.sum(), 1.0)
        mean = (weight[:, None] * rows).sum(0) / count
        std = jnp.sqrt((weight[:, None] * jnp.square(rows - mean)).sum(0) / count)
        return cls(mean, jnp.where(std < SMALLEST, 1.0, std))

    def nearer(self, other: "VectorScale", rate: Array) -> "VectorScale":
        """The scale moved towards another one, by this share of the way."""
        mean = self.mean + rate * (other.mean - self.mean)
        return VectorScale(mean, self.std + rate * (other.std - self.std))

    def __call__(self, x: Array) -> Array:
        return (x - self.mean) / self.std

    def undone(self, x: Array) -> Array:
        return x * self.std + self.mean


@struct
class Member:
    """One network: mean and log-variance of normalised targets, from normalised inputs."""

    layers: MLP
    least: Array  # [outputs] soft bounds of the log-variance
    most: Array

    @classmethod
    def init(cls, key: Key, inputs: int, outputs: int, hidden: tuple[int, ...]) -> "Member":
        sizes = (inputs, *hidden, 2 * outputs)
        keys = jax.random.split(key, len(sizes) - 1)
        layers = tuple(map(narrow, keys, sizes, sizes[1:]))
        return cls(
            MLP(layers, "swish", False),
            *(jnp.full(outputs, bound, jnp.float32) for bound in BOUNDS),
        )

    def __call__(self, x: Array) -> tuple[Array, Array]:
        mean, log_var = jnp.split(self.layers(x), 2, -1)
        log_var = self.most - jax.nn.softplus(self.most - log_var)
        return mean, self.least + jax.nn.softplus(log_var - self.least)


def narrow(key: Key, inputs: int, outputs: int) -> Linear:
    """Truncated normal weights of standard deviation 1 / (2 sqrt(inputs)), as Chua et al.'s code
    has."""
    w = jax.random.truncated_normal(key, -2.0, 2.0, (inputs, outputs))
    return Linear(w / (2.0 * inputs**0.5), jnp.zeros(outputs))


@struct
class Dynamics:
    """An ensemble, or one member of it, in the environment's units."""

    members: Member  # of an ensemble every leaf is [members, ...]
    inputs: VectorScale  # of observation and action
    targets: VectorScale  # of reward and change
    sampled: bool = static(True)  # whether predictions are sampled; otherwise they are means

    @classmethod
    def init(
        cls, key: Key, members: int, obs: int, action: int, hidden: tuple[int, ...]
    ) -> "Dynamics":
        keys = jax.random.split(key, members)
        made = jax.vmap(lambda k: Member.init(k, obs + action, 1 + obs, hidden))(keys)
        return cls(made, VectorScale.init(obs + action), VectorScale.init(1 + obs), True)

    def member(self, i: int | Array) -> "Dynamics":
        return replace(self, members=jax.tree.map(lambda x: x[i], self.members))

    def __call__(self, obs: Array, action: Array, key: Key) -> tuple[Array, Array]:
        """The next observation [..., dim] and the reward [...], by one member."""
        mean, log_var = self.members(self.inputs(jnp.concatenate([obs, action], -1)))
        noise = jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape) if self.sampled else 0.0
        target = self.targets.undone(mean + noise)
        return obs + target[..., 1:], target[..., 0]


@runtime_checkable
class LearnsModel(Protocol):
    """An algorithm whose agent has learned models of the environment, which reports show."""

    def dynamics(self, agent: Any) -> Dynamics: ...


def inputs_of(obs: Array, action: Array) -> Array:
    return jnp.concatenate([obs, action], -1)


def targets_of(obs: Array, reward: Array, next_obs: Array) -> Array:
    """The reward and the change of the state [..., 1 + dim]."""
    return jnp.concatenate([reward[..., None], next_obs - obs], -1)
