"""A language model as a policy over tokens, with a value or a score of what has been written.

Texts are columns [time, env] of token numbers; `PAD` and all below 0 is no token.
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
    """`x @ w`: a score without a bias, which no comparison could tell."""

    w: Array  # [width, 1]

    def __call__(self, x: Array) -> Array:
        return x @ self.w


Head = Linear | Direction


@struct
class Trained:
    """What learning changes: a decoder, or a low-rank change of one, and a head on it."""

    decoder: Any
    head: Head | None


@struct
class TokenPolicy:
    """A distribution over the next token, and by its head the value of what has been written.

    `step` reads whole prompts [time, prompt], for which it begins a new memory with room for `room`
    tokens more, or one token [env]. A prompt is that of `env // prompt` texts side by side.
    """

    decoder: Decoder
    head: Head | None
    temperature: Array | float  # which logits are divided by
    room: int = static(0)
    remat: bool = static(False)  # compute activations again for the gradient, in place of memory
    sequential: ClassVar[bool] = True

    def memory(self, envs: int) -> Memory:
        """Nothing but how many texts there are: reading prompts begins one."""
        return jnp.zeros((envs, 0))

    def step(self, obs: Array, memory: Memory) -> tuple[Categorical, Memory, dict[str, Any]]:
        if obs.ndim == 1:
            hidden, memory = self.decoder.extend(obs[:, None], obs[:, None] >= 0, memory)
            return self.chosen(hidden[:, 0]), memory, {}
        time, prompts = obs.shape
        group = len(memory) // prompts
        cache = self.decoder.cache(prompts, time + self.room)
        hidden, cache = self.decoder.extend(obs.T, obs.T >= 0, cache)
        return self.chosen(jnp.repeat(hidden[:, -1], group, 0)), cache.repeated(group), {}

    def unroll(self, batch: Transition, group: int = 1) -> tuple[Categorical, Array, Array]:
        """Of steps [time, env]: what the next token is drawn from, the value of what is read up to
        there, and that of what is read one token later. After the end of a text there is none.

        There may be more rows of `obs` than of steps. What comes first is a prompt then, which
        `group` texts side by side have in common.
        """
        hidden = read_after(self.decoder, batch.obs, len(batch.action), group, self.remat)
        value = jnp.zeros(batch.done.shape) if self.head is None else of_head(self.head, hidden)
        later = jnp.concatenate([value[1:], jnp.zeros_like(value[:1])])
        return self.chosen(hidden), value, jnp.where(batch.done, 0.0, later)

    def chosen(self, hidden: Array) -> Categorical:
        return Categorical(self.decoder.logits(hidden / self.temperature))


def drawn(chosen: Categorical, key: Key) -> Array:
    """A token [...], by where one uniform number falls among the probabilities laid end to end:
    first in which block of tokens, then in which place of it.

    `Categorical.sample` needs a number for each token of the vocabulary, which with 256 of them
    takes seven times as long and was a third of the time of writing.
    """
    mass = jnp.exp(chosen.logits - chosen.logits.max(-1, keepdims=True))
    size = math.isqrt(mass.shape[-1])
    rest = -mass.shape[-1] % size
    blocks = jnp.pad(mass, [(0, 0)] * (mass.ndim - 1) + [(0, rest)])
    blocks = blocks.reshape(*mass.shape[:-1], -1, size)
    total = blocks.sum(-1)
    share = 1.0 - jax.random.uniform(key, (*mass.shape[:-1], 1))  # in (0, 1]
    block, left = fallen(total, share * total.sum(-1, keepdims=True))
    within = jnp.take_along_axis(blocks, block[..., None], -2)[..., 0, :]
    place, _ = fallen(within, left)
    return (block * size + place)[..., 0]


def fallen(mass: Array, point: Array) -> tuple[Array, Array]:
    """Where a `point` [..., 1] above 0 lies among masses laid end to end [..., n], never in one of
    0, and how far it lies behind the beginning of that."""
    reached = jnp.cumsum(mass, -1)
    point = jnp.minimum(point, reached[..., -1:])  # sums are rounded
    passed = reached < point
    before = jnp.where(passed, reached, 0.0).max(-1, keepdims=True)
    return passed.sum(-1, keepdims=True, dtype=jnp.int32), point - before


def told(chosen: Categorical, action: Array) -> tuple[Array, Array]:
    """The log-probabilities of actions, and the entropy, to which no gradient flows: without
    making the log-probabilities of all other tokens."""
    least = chosen.logits - jax.lax.stop_gradient(chosen.logits.max(-1, keepdims=True))
    mass = jnp.exp(least)
    total = mass.sum(-1)
    entropy = jnp.log(total) - (mass * least).sum(-1) / total
    return pick(least, action) - jnp.log(total), jax.lax.stop_gradient(entropy)


def read(decoder: Decoder, tokens: Array, remat: bool = False) -> Array:
    """What the decoder makes of each of `tokens` [time, env]: [time, env, width]."""
    return decoder.hidden(tokens.T, tokens.T >= 0, remat).swapaxes(0, 1)


def read_after(decoder: Decoder, tokens: Array, steps: int, group: int, remat: bool) -> Array:
    """What the decoder makes of the last `steps` of `tokens` [time, env]: [steps, env, width]. What
    comes before them is a prompt, the same for `group` texts side by side."""
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
    """All tokens [time + 1, env] of steps [time, env], the last one chosen included."""
    return jnp.concatenate([batch.obs[:1], batch.next_obs])


def value_head(width: int) -> Linear:
    """Values of 0 (Ziegler et al., 2019, arXiv:1909.08593)."""
    return Linear(jnp.zeros((width, 1)), jnp.zeros(1))


def score_head(key: Key, width: int) -> Direction:
    """Small random scores (Stiennon et al., 2020, arXiv:2009.01325, appendix B.1)."""
    return Direction(jax.random.normal(key, (width, 1)) * (width + 1) ** -0.5)


def log_probs(policy: TokenPolicy, batch: Transition, group: int = 1) -> Array:
    """Those of the tokens chosen [time, env]; 0 where none was."""
    chosen, _, _ = policy.unroll(batch, group)
    return jnp.where(batch.weight > 0, told(chosen, batch.action)[0], 0.0)


def trained(key: Key, start: Decoder, rank: int, head: Head | None = None) -> Trained:
    """What learns: all of `start`, or a change of it of so low a `rank`."""
    if not rank:
        return Trained(start, head)
    return Trained(Lora.init(key, start, rank), head)


def whole(settings: Any, model: Trained) -> Decoder:
    """The decoder that learning has made of the one it started from."""
    if isinstance(model.decoder, Decoder):
        return model.decoder
    return model.decoder.attached(settings.start)


def policy(settings: Any, model: Trained, temperature: Any = None) -> TokenPolicy:
    """How an algorithm with such `settings` writes, and reads what was written."""
    decoder = whole(settings, model)
    decoder = cast(decoder, jnp.bfloat16) if settings.bfloat16 else decoder
    heat = settings.temperature if temperature is None else temperature
    return TokenPolicy(decoder, model.head, heat, settings.rollout, settings.remat)


def reference(settings: Any, batch: Transition, temperature: Any = None, group: int = 1) -> Array:
    """Log-probabilities [time, env] of the tokens chosen, under the model that learning started
    from; no gradient flows to it."""
    start = policy(settings, Trained(settings.start, None), temperature)
    return jax.lax.stop_gradient(log_probs(start, batch, group))
