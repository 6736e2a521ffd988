"""Distributions over actions; the last axis is the choice, and log-probabilities are summed."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Key, static, struct

LOG_2PI = float(np.log(2 * np.pi))
LOG_2 = float(np.log(2))


@struct
class Categorical:
    """One of n choices, from logits [..., n]. A forbidden choice has the logit of `forbid`."""

    logits: Array

    def sample(self, key: Key) -> Array:
        return jax.random.categorical(key, self.logits)

    def at(self, normal: Array) -> Array:
        """The choice for standard normal numbers [..., n], distributed as by `sample`: the largest
        logit plus Gumbel noise of the same quantiles (Gumbel, 1954)."""
        gumbel = -jnp.log(-jax.scipy.special.log_ndtr(normal))
        return (self.logits + gumbel).argmax(-1).astype(jnp.int32)

    def mode(self) -> Array:
        return self.logits.argmax(-1).astype(jnp.int32)

    def log_probs(self) -> Array:
        return jax.nn.log_softmax(self.logits)

    def log_prob(self, action: Array) -> Array:
        return pick(self.log_probs(), action)

    def entropy(self) -> Array:
        log_probs = self.log_probs()
        return -(jnp.exp(log_probs) * log_probs).sum(-1)

    def kl_from(self, old: "Categorical") -> Array:
        """KL(old || self)."""
        log_probs = old.log_probs()
        return (jnp.exp(log_probs) * (log_probs - self.log_probs())).sum(-1)


@struct
class MultiCategorical:
    """Several independent choices, from their logits side by side [..., sum(sizes)]."""

    logits: Array
    sizes: tuple[int, ...] = static()

    @property
    def parts(self) -> list[Categorical]:
        cuts = np.cumsum(self.sizes)[:-1]
        return [Categorical(x) for x in jnp.split(self.logits, cuts, -1)]

    def sample(self, key: Key) -> Array:
        keys = jax.random.split(key, len(self.sizes))
        return jnp.stack([p.sample(k) for p, k in zip(self.parts, keys, strict=True)], -1)

    def mode(self) -> Array:
        return jnp.stack([p.mode() for p in self.parts], -1)

    def log_prob(self, action: Array) -> Array:
        return sum(p.log_prob(action[..., i]) for i, p in enumerate(self.parts))  # type: ignore[return-value]

    def entropy(self) -> Array:
        return sum(p.entropy() for p in self.parts)  # type: ignore[return-value]

    def kl_from(self, old: "MultiCategorical") -> Array:
        """KL(old || self)."""
        return sum(p.kl_from(q) for p, q in zip(self.parts, old.parts, strict=True))  # type: ignore[return-value]


@struct
class Gaussian:
    """Independent normals. Actions are not squashed: sources clip them to the bounds of the
    space."""

    mean: Array
    log_std: Array

    def sample(self, key: Key) -> Array:
        return self.mean + jnp.exp(self.log_std) * jax.random.normal(key, self.mean.shape)

    def mode(self) -> Array:
        return self.mean

    def log_prob(self, action: Array) -> Array:
        z = (action - self.mean) * jnp.exp(-self.log_std)
        return -(0.5 * jnp.square(z) + self.log_std + 0.5 * LOG_2PI).sum(self.axes)

    def entropy(self) -> Array:
        entropy = self.log_std + 0.5 * (LOG_2PI + 1.0)
        return jnp.broadcast_to(entropy, self.mean.shape).sum(self.axes)

    def kl_from(self, old: "Gaussian") -> Array:
        """KL(old || self). `old` may be the result of `of_each_step`."""
        change = old.log_std - self.log_std
        distance = jnp.square((old.mean - self.mean) * jnp.exp(-self.log_std))
        return (0.5 * (jnp.expm1(2.0 * change) + distance) - change).sum(self.axes)

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of one action."""
        return tuple(range(-self.log_std.ndim, 0))


@struct
class SquashedGaussian:
    """Independent normals under tanh, so that actions lie in [-1, 1] (Haarnoja et al., 2018,
    arXiv:1812.05905, appendix C); an action is the last `axes` axes."""

    mean: Array  # before tanh
    log_std: Array
    axes: int = static(1)

    def at(self, noise: Array) -> tuple[Array, Array]:
        """The action for standard normal `noise`, and the log-density of the action."""
        before = self.mean + jnp.exp(self.log_std) * noise
        # log(1 - tanh(x)^2), in a form that does not underflow.
        size = jnp.abs(before)
        log_derivative = 2.0 * (LOG_2 - size - jnp.log(1.0 + jnp.exp(-2.0 * size)))
        log_prob = -(0.5 * jnp.square(noise) + self.log_std + 0.5 * LOG_2PI + log_derivative)
        return jnp.tanh(before), log_prob.sum(tuple(range(-self.axes, 0)))

    def draw(self, key: Key) -> tuple[Array, Array]:
        """An action and its log-density, both with a gradient to the parameters."""
        return self.at(jax.random.normal(key, self.mean.shape))

    def sample(self, key: Key) -> Array:
        return self.draw(key)[0]

    def mode(self) -> Array:
        """The action of the median. The mode of the density differs: a wide one is at the
        bounds."""
        return jnp.tanh(self.mean)

    def log_prob(self, action: Array) -> Array:
        """The log-density of an action. An action so close to a bound that tanh cannot be inverted
        in float32 is moved away from the bound."""
        before = jnp.arctanh(jnp.clip(action, -1.0 + 1e-6, 1.0 - 1e-6))
        return self.at((before - self.mean) * jnp.exp(-self.log_std))[1]


@struct
class Joint:
    """Independent choices and numbers, as one vector: the choices first (see `spaces.Hybrid`)."""

    choices: MultiCategorical
    numbers: Gaussian

    def sample(self, key: Key) -> Array:
        k_choices, k_numbers = jax.random.split(key)
        return side_by_side(self.choices.sample(k_choices), self.numbers.sample(k_numbers))

    def mode(self) -> Array:
        return side_by_side(self.choices.mode(), self.numbers.mode())

    def log_prob(self, action: Array) -> Array:
        choices, numbers = jnp.split(action, [len(self.choices.sizes)], -1)
        return self.choices.log_prob(choices.astype(jnp.int32)) + self.numbers.log_prob(numbers)

    def entropy(self) -> Array:
        return self.choices.entropy() + self.numbers.entropy()

    def kl_from(self, old: "Joint") -> Array:
        """KL(old || self)."""
        return self.choices.kl_from(old.choices) + self.numbers.kl_from(old.numbers)


def side_by_side(choices: Array, numbers: Array) -> Array:
    return jnp.concatenate([choices.astype(numbers.dtype), numbers], -1)


Distribution = Categorical | MultiCategorical | Gaussian | Joint


def of_each_step(policy: Distribution) -> Distribution:
    """`policy` with the leading axes of its steps on every parameter, so that minibatches can be
    indexed; it serves as the `old` of `kl_from`."""
    if isinstance(policy, Gaussian):
        return Gaussian(policy.mean, jnp.broadcast_to(policy.log_std, policy.mean.shape))
    if isinstance(policy, Joint):
        return Joint(policy.choices, of_each_step(policy.numbers))  # type: ignore[arg-type]
    return policy


def pick(values: Array, index: Array) -> Array:
    """`values[..., index]`. A comparison, because a gather's gradient is a slow scatter on CPU."""
    selected = index[..., None] == jnp.arange(values.shape[-1])
    return jnp.where(selected, values, 0.0).sum(-1)


def forbid(values: Array, mask: Array | None) -> Array:
    """`values` [..., actions] with a very low number where `mask` is 0.

    Not minus infinity: its product with a probability of 0 in the entropy is NaN.
    """
    return values if mask is None else jnp.where(mask != 0, values, -1e9)
