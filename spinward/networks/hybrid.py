"""A policy of choices and numbers at once, and critics that value every choice beside the
numbers."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Hybrid, Key, Obs, Spec, static, struct
from spinward.networks.critic import LOG_STD, ensemble, one_of, together, tower
from spinward.networks.distributions import (
    MultiCategorical,
    SquashedGaussian,
    forbid,
    side_by_side,
)
from spinward.networks.layers import MLP
from spinward.networks.torso import Torso, mask


@struct
class SquashedJoint:
    """Independent choices, and numbers within [-1, 1], as one vector (see `spaces.Hybrid`)."""

    choices: MultiCategorical
    numbers: SquashedGaussian

    def sample(self, key: Key) -> Array:
        k_choices, k_numbers = jax.random.split(key)
        return side_by_side(self.choices.sample(k_choices), self.numbers.sample(k_numbers))

    def mode(self) -> Array:
        return side_by_side(self.choices.mode(), self.numbers.mode())

    def log_probs(self) -> Array:
        """The log-probability of every combination of choices [..., combinations]; the last choice
        runs fastest."""
        first, *others = (part.log_probs() for part in self.choices.parts)
        for each in others:
            pairs = first[..., :, None] + each[..., None, :]
            first = pairs.reshape(*pairs.shape[:-2], -1)
        return first

    def largest_entropy(self) -> Array:
        """Of the choices, where all that are allowed are as likely."""
        counts = [(part.logits > -1e8).sum(-1) for part in self.choices.parts]
        return jnp.log(jnp.stack(counts)).sum(0)


@struct
class HybridActor:
    """A policy whose choices and numbers are independent in each state."""

    torso: Torso
    layers: MLP
    action: Hybrid = static()

    @classmethod
    def init(cls, key: Key, spec: Spec, hidden: tuple[int, ...], activation: str) -> "HybridActor":
        space = spec.action
        assert isinstance(space, Hybrid)
        outputs = sum(space.sizes) + 2 * space.box.size
        return cls(*tower(key, spec, hidden, activation, outputs), space)

    def __call__(self, obs: Obs) -> SquashedJoint:
        x, logits = self.layers(self.torso(obs)), sum(self.action.sizes)
        choices = MultiCategorical(forbid(x[..., :logits], mask(obs)), self.action.sizes)
        mean, log_std = jnp.split(x[..., logits:], 2, -1)
        return SquashedJoint(choices, SquashedGaussian(mean, jnp.clip(log_std, *LOG_STD), 1))


@struct
class HybridCritics:
    """The values [critics, ..., combinations] of all combinations of choices beside the same
    numbers, by several critics that share a torso."""

    torso: Torso
    members: MLP  # every leaf is [critics, ...]

    @classmethod
    def init(
        cls, key: Key, spec: Spec, hidden: tuple[int, ...], activation: str, critics: int = 2
    ) -> "HybridCritics":
        space = spec.action
        assert isinstance(space, Hybrid)
        sizes = space.box.size, math.prod(space.sizes)
        return cls(*ensemble(key, spec, hidden, activation, critics, *sizes))

    def __call__(self, obs: Obs, numbers: Array) -> Array:
        return together(self.members, self.read(obs, numbers))

    def read(self, obs: Obs, numbers: Array) -> Array:
        """The input of the critics' layers."""
        return jnp.concatenate([self.torso(obs), numbers], -1)

    def features(self, obs: Obs, numbers: Array) -> Array:
        """The input of the first critic's last layer."""
        return one_of(self.members).features(self.read(obs, numbers))


def combination(choices: Array, sizes: tuple[int, ...]) -> Array:
    """The number of a combination of choices [..., choices]; the last choice runs fastest."""
    number = choices[..., 0]
    for i, size in enumerate(sizes[1:], 1):
        number = number * size + choices[..., i]
    return number
