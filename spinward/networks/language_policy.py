"""A language model as a policy over tokens, with a value or a score of the text so far.

Texts are columns [time, env] of token numbers; `PAD` and every number below 0 are padding.
"""

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, Memory, Transition, static, struct
from spinward.networks.decoder import Decoder, cast
from spinward.networks.distributions import Categorical, pick
from spinward.networks.layers import Linear
from spinward.networks.lora import Lora


@struct
class Direction:
    """`x @ w`: a score without a bias, which no comparison could determine."""

    w: Array  # [width, 1]

    def __call__(self, x: Array) -> Array:
        return x @ self.w


Head = Linear | Direction


@struct
class Trained:
    """The trained parameters: a decoder, or a low-rank change of one, and a head on it."""

    decoder: Any
    head: Head | None


@struct
class TokenPolicy:
    """A distribution over the next token, and by its head the value of the text so far.

    `step` reads one token [env], or whole prompts [time, prompt], for which it starts a new memory
    with room for `room` further tokens. A prompt is shared by `env // prompt` consecutive texts.
    """

    decoder: Decoder
    head: Head | None
    temperature: Array | float  # by which logits are divided
    room: int = static(0)
    remat: bool = static(False)  # recompute activations for the gradient, to save memory
    sequential: ClassVar[bool] = True

    def memory(self, envs: int) -> Memory:
        """A placeholder that holds the number of texts; reading prompts starts the cache."""
        return jnp.zeros((envs, 0))

    def step(self, obs: Array, memory: Memory) -> tuple[Categorical, Memory, dict[str, Any]]:
        if obs.ndim == 1:
            hidden, memory = self.decoder.extend(obs[:, None], obs[:, None] >= 0, memory)
            return self.distribution(hidden[:, 0]), memory, {}
        time, prompts = obs.shape
        group = len(memory) // prompts
        cache = self.decoder.cache(prompts, time + self.room)
        hidden, cache = self.decoder.extend(obs.T, obs.T >= 0, cache)
        return self.distribution(jnp.repeat(hidden[:, -1], group, 0)), cache.repeated(group), {}

    def unroll(self, batch: Transition, group: int = 1) -> tuple[Categorical, Array, Array]:
        """Of steps [time, env]: the distribution of the next token, the value of the text up to
        there, and the value one token later, which is 0 after the end of a text.

        There may be more rows of `obs` than of steps. The first rows are then a prompt, which
        `group` consecutive texts share.
        """
        hidden = read_after(self.decoder, batch.obs, len(batch.action), group, self.remat)
        value = jnp.zeros(batch.done.shape) if self.head is None else of_head(self.head, hidden)
        later = jnp.concatenate([value[1:], jnp.zeros_like(value[:1])])
        return self.distribution(hidden), value, jnp.where(batch.done, 0.0, later)

    def distribution(self, hidden: Array) -> Categorical:
        return Categorical(self.decoder.logits(hidden / self.temperature))


def sample_token(policy: Categorical, key: Key) -> Array:
    """A token [...], by inverting the cumulative distribution at one uniform number: first the
    block of tokens, then the place within the block.

    `Categorical.sample` needs a random number for each token of the vocabulary. With 256 tokens it
    takes seven times as long, a third of the time of generation.
    """
    mass = jnp.exp(policy.logits - policy.logits.max(-1, keepdims=True))
    size = math.isqrt(mass.shape[-1])
    rest = -mass.shape[-1] % size
    blocks = jnp.pad(mass, [(0, 0)] * (mass.ndim - 1) + [(0, rest)])
    blocks = blocks.reshape(*mass.shape[:-1], -1, size)
    total = blocks.sum(-1)
    share = 1.0 - jax.random.uniform(key, (*mass.shape[:-1], 1))  # in (0, 1]
    block, left = locate(total, share * total.sum(-1, keepdims=True))
    within = jnp.take_along_axis(blocks, block[..., None], -2)[..., 0, :]
    place, _ = locate(within, left)
    return (block * size + place)[..., 0]


def locate(mass: Array, point: Array) -> tuple[Array, Array]:
    """The index of the interval that a `point` [..., 1] above 0 lies in, where intervals of lengths
    `mass` [..., n] follow one another, and its distance from the interval's start. An interval of
    length 0 is never returned."""
    reached = jnp.cumsum(mass, -1)
    point = jnp.minimum(point, reached[..., -1:])  # sums are rounded
    passed = reached < point
    before = jnp.where(passed, reached, 0.0).max(-1, keepdims=True)
    return passed.sum(-1, keepdims=True, dtype=jnp.int32), point - before


def log_prob_and_entropy(policy: Categorical, action: Array) -> tuple[Array, Array]:
    """The log-probabilities of actions, and the entropy without a gradient. The log-probabilities
    of the other tokens are not computed."""
    shifted = policy.logits - jax.lax.stop_gradient(policy.logits.max(-1, keepdims=True))
    mass = jnp.exp(shifted)
    total = mass.sum(-1)
    entropy = jnp.log(total) - (mass * shifted).sum(-1) / total
    return pick(shifted, action) - jnp.log(total), jax.lax.stop_gradient(entropy)


def read(decoder: Decoder, tokens: Array, remat: bool = False) -> Array:
    """The decoder's outputs [time, env, width] for `tokens` [time, env]."""
    return decoder.hidden(tokens.T, tokens.T >= 0, remat).swapaxes(0, 1)


def read_after(decoder: Decoder, tokens: Array, steps: int, group: int, remat: bool) -> Array:
    """The decoder's outputs [steps, env, width] for the last `steps` of `tokens` [time, env]. The
    tokens before them are a prompt, which `group` consecutive texts share."""
    before = len(tokens) - steps
    if not before:
        return read(decoder, tokens, remat)
    prompt, tokens = tokens[:before, ::group].T, tokens[before:].T
    mask = prompt >= 0, tokens >= 0
    return decoder.after(prompt, tokens, mask, remat).swapaxes(0, 1)


def of_head(head: Head, hidden: Array) -> Array:
    return head(hidden.astype(jnp.float32))[..., 0]


def scores(model: TokenPolicy | Trained, batch: Transition) -> Array:
    """The score [env] of each text, from its last token (Stiennon et al., 2020,
    arXiv:2009.01325, section 3.4)."""
    assert model.head is not None
    tokens = texts(batch)
    at = jnp.arange(len(tokens))[:, None]
    last = jnp.where(tokens >= 0, at, 0).max(0)
    hidden = (read(model.decoder, tokens) * (at == last)[..., None]).sum(0)
    return of_head(model.head, hidden)


def texts(batch: Transition) -> Array:
    """All tokens [time + 1, env] of steps [time, env], the last action included."""
    return jnp.concatenate([batch.obs[:1], batch.next_obs])


def value_head(width: int) -> Linear:
    """A head whose values are 0 at first (Ziegler et al., 2019, arXiv:1909.08593)."""
    return Linear(jnp.zeros((width, 1)), jnp.zeros(1))


def score_head(key: Key, width: int) -> Direction:
    """A head of small random scores (Stiennon et al., 2020, arXiv:2009.01325, appendix B.1)."""
    return Direction(jax.random.normal(key, (width, 1)) * (width + 1) ** -0.5)


def log_probs(policy: TokenPolicy, batch: Transition, group: int = 1) -> Array:
    """Log-probabilities [time, env] of the actions; 0 where the weight is 0."""
    distribution, _, _ = policy.unroll(batch, group)
    log_prob, _ = log_prob_and_entropy(distribution, batch.action)
    return jnp.where(batch.weight > 0, log_prob, 0.0)


def trained(key: Key, start: Decoder, rank: int, head: Head | None = None) -> Trained:
    """The parameters to train: all of `start`, or a low-rank change of `start` of this `rank`."""
    if not rank:
        return Trained(start, head)
    return Trained(Lora.init(key, start, rank), head)


def whole(settings: Any, model: Trained) -> Decoder:
    """The trained decoder, with its low-rank change attached where there is one."""
    if isinstance(model.decoder, Decoder):
        return model.decoder
    return model.decoder.attached(settings.start)


def policy(settings: Any, model: Trained, temperature: Any = None) -> TokenPolicy:
    """The policy with which an algorithm of these `settings` generates and evaluates texts."""
    decoder = whole(settings, model)
    decoder = cast(decoder, jnp.bfloat16) if settings.bfloat16 else decoder
    temperature = settings.temperature if temperature is None else temperature
    return TokenPolicy(decoder, model.head, temperature, settings.rollout, settings.remat)


def reference(settings: Any, batch: Transition, temperature: Any = None, group: int = 1) -> Array:
    """Log-probabilities [time, env] of the actions under the reference policy, which is the model
    at the start of training, without a gradient."""
    start = policy(settings, Trained(settings.start, None), temperature)
    return jax.lax.stop_gradient(log_probs(start, batch, group))
