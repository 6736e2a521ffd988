"""Experience from a language model: a column is a completion of a prompt, a row is a token.

In row t, the policy reads token t (`obs`) and chooses token t + 1 (`action`). Rows of the prompt
and rows after the end have weight 0, because the policy chose nothing there. A completion is
terminated at the end token. A completion without an end token is truncated in the last row.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, Memory, Metrics, Policy, Spec, Transition, config, replace
from spinward.envs.text import PAD, ROW, Numbered
from spinward.errors import SettingsError
from spinward.networks.decoder import Decoder
from spinward.networks.sampling import Sampling
from spinward.trees import finite


class Completions(NamedTuple):
    """The policy's completions; rows [steps, env] start at the last token of each prompt."""

    obs: Array  # the token read; PAD after the end
    action: Array  # the token chosen
    ended: Array  # whether the completion had ended before this row
    extras: dict[str, Any]

    @property
    def completion(self) -> Array:
        """The tokens chosen, with the end token, and PAD after the end token."""
        return jnp.where(self.ended, PAD, self.action)


@config
class Generation:
    """Samples `envs // group` prompts in each iteration, and `group` completions of each prompt, in
    adjacent columns, of up to `steps` tokens, inside the one compiled program.

    The policy's `act` reads tokens [env] or prompts [time, prompt]. A prompt is read once for its
    whole group, and `act` chooses the token after the last. `PAD` is not a token. The policy's
    memory needs room for `task.prompt + steps` tokens.
    """

    task: Any  # a Text
    envs: int
    steps: int
    group: int = 1

    @property
    def spec(self) -> Spec:
        return replace(self.task.spec, envs=self.envs)

    @property
    def stride(self) -> int:
        return self.envs * self.steps

    def check(self) -> None:
        """Raises SettingsError where the groups do not fit."""
        if self.envs % self.group:
            raise SettingsError(f"group={self.group} does not divide envs={self.envs}")

    def init(self, key: Key, memory: Memory) -> tuple[()]:
        """Empty: nothing is kept between iterations."""
        return ()

    def collect(
        self, state: tuple[()], policy: Policy, key: Key
    ) -> tuple[tuple[()], Transition, Metrics]:
        k_prompt, k_write = jax.random.split(key)
        sampled = jax.vmap(self.task.reset)(jax.random.split(k_prompt, self.envs // self.group))
        completions = generate(policy, sampled[1].T, self.envs, self.steps, self.task.end, k_write)
        task, prompt = jax.tree.map(lambda x: jnp.repeat(x, self.group, 0), sampled)
        score = jax.vmap(self.task.score)(task, completions.completion.T)
        batch = transitions(prompt.T, completions, self.task.end, score)
        if isinstance(self.task, Numbered):
            row = jnp.broadcast_to(self.task.row(task), batch.weight.shape)
            batch = replace(batch, extras={**batch.extras, ROW: row})
        ok = finite((score, completions.extras))
        return state, batch, {**summary(batch, score), "finite": ok}


def generate(
    policy: Policy, prompt: Array, envs: int, steps: int, end: int, key: Key
) -> Completions:
    """`envs` completions of `steps` tokens after the prompts [time, prompt]; each prompt has the
    same number of completions, in adjacent columns. Tokens are sampled after the end too, so that
    every iteration takes the same time."""

    def step(carry: tuple[Array, Memory, Array], key: Key) -> tuple[Any, Any]:
        obs, memory, ended = carry
        action, memory, extras = policy.act(obs, memory, key)
        ended_after = ended | (action == end)
        row = (obs, action, ended, extras)
        return (jnp.where(ended_after, PAD, action), memory, ended_after), row

    k_first, k_rest = jax.random.split(key)
    action, memory, extras = policy.act(prompt, policy.memory(envs), k_first)
    ended = action == end
    last = jnp.repeat(prompt[-1], envs // prompt.shape[1])
    first = last, action, jnp.zeros_like(ended), extras
    carry = jnp.where(ended, PAD, action), memory, ended
    _, rest = jax.lax.scan(step, carry, jax.random.split(k_rest, steps - 1))
    return Completions(*jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, rest))


def transitions(prompt: Array, completions: Completions, end: int, score: Array) -> Transition:
    """The steps [time, env] of prompts [time, env] and completions. The last token has the
    score."""
    before = len(prompt) - 1

    def joined(later: Array, first: Array | float = 0) -> Array:
        shape = (before, *later.shape[1:])
        return jnp.concatenate([jnp.broadcast_to(first, shape).astype(later.dtype), later])

    acted = ~completions.ended
    terminated = acted & (completions.action == end)
    last = jnp.arange(len(acted))[:, None] == len(acted) - 1
    truncated = acted & last & ~terminated
    return Transition(
        obs=joined(completions.obs, prompt[:-1]),
        action=joined(completions.action, jnp.maximum(prompt[1:], 0)),
        reward=joined(jnp.where(terminated | truncated, score, 0.0)),
        terminated=joined(terminated),
        truncated=joined(truncated),
        next_obs=joined(completions.completion, prompt[1:]),
        weight=joined(acted.astype(jnp.float32)),
        extras=jax.tree.map(joined, completions.extras),
    )


def without_prompts(batch: Transition, steps: int) -> Transition:
    """The last `steps` rows of `batch`; `obs` keeps the prompts too."""
    return replace(jax.tree.map(lambda x: x[-steps:], batch), obs=batch.obs)


def summary(batch: Transition, score: Array) -> Metrics:
    """The number of completions, their mean score and length, and the share that has ended."""
    return {
        "episodes": jnp.int32(score.size),
        "episode_return": score.mean(),
        "episode_length": batch.weight.sum(0).mean(),
        "finished": batch.terminated.any(0).mean(),
    }


class Sample(NamedTuple):
    """Completions [batch, steps] of prompts, with `PAD` after the end."""

    tokens: Array
    log_prob: Array  # of each token when it was sampled; 0 after the end


@partial(jax.jit, static_argnums=(3, 4))
def sample(
    decoder: Decoder, sampling: Sampling, prompt: Array, steps: int, end: int, key: Key
) -> Sample:
    """Up to `steps` tokens after each prompt [batch, time], until all completions have ended. This
    is for people to read; `Generation` is for learning."""

    def unfinished(state: tuple[Any, ...]) -> Array:
        position, _, ended, *_ = state
        return (position < steps) & ~ended.all()

    def step(state: tuple[Any, ...]) -> tuple[Any, ...]:
        position, hidden, ended, cache, samples = state
        choice = sampling(decoder.logits(hidden))
        token = choice.sample(jax.random.fold_in(key, position))
        log_prob = jnp.where(ended, 0.0, choice.log_prob(token))
        token = jnp.where(ended, PAD, token)
        tokens, log_probs = (
            samples.tokens.at[:, position].set(token),
            samples.log_prob.at[:, position].set(log_prob),
        )
        hidden, cache = decoder.extend(token[:, None], token[:, None] != PAD, cache)
        ended = ended | (token == end)
        return position + 1, hidden[:, 0], ended, cache, Sample(tokens, log_probs)

    batch, time = prompt.shape
    hidden, cache = decoder.extend(prompt, prompt != PAD, decoder.cache(batch, time + steps))
    samples = Sample(jnp.full((batch, steps), PAD), jnp.zeros((batch, steps)))
    start = jnp.int32(0), hidden[:, -1], jnp.zeros(batch, bool), cache, samples
    return jax.lax.while_loop(unfinished, step, start)[-1]
