"""Experience from a language model: completions of prompts, one column each, one row a token.

Row t sees token t (`obs`) and chooses token t + 1 (`action`). Rows of the prompt and rows after the
end have weight 0: there nothing was chosen. A completion that reaches the end token is terminated
there; one that runs out of steps is truncated in the last row.
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


class Written(NamedTuple):
    """What a policy made of prompts; rows [steps, env] begin at the last token of each prompt."""

    obs: Array  # the token read; PAD after the end
    action: Array  # the token chosen
    ended: Array  # whether it had ended before this row
    extras: dict[str, Any]

    @property
    def completion(self) -> Array:
        """The tokens chosen, the end token included, and PAD after it."""
        return jnp.where(self.ended, PAD, self.action)


@config
class Generation:
    """Draws `envs // group` prompts in each iteration, and `group` completions of each, side by
    side, of up to `steps` tokens, in the one compiled program.

    The policy's `act` reads tokens [env], or prompts [time, prompt], each once for all of its
    group, in which case it chooses what follows the last; `PAD` is no token. Its memory needs room
    for `task.prompt + steps`.
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
        """Nothing lasts from one iteration to the next."""
        return ()

    def collect(
        self, state: tuple[()], policy: Policy, key: Key
    ) -> tuple[tuple[()], Transition, Metrics]:
        k_prompt, k_write = jax.random.split(key)
        drawn = jax.vmap(self.task.reset)(jax.random.split(k_prompt, self.envs // self.group))
        written = write(policy, drawn[1].T, self.envs, self.steps, self.task.end, k_write)
        task, prompt = jax.tree.map(lambda x: jnp.repeat(x, self.group, 0), drawn)
        score = jax.vmap(self.task.score)(task, written.completion.T)
        batch = transitions(prompt.T, written, self.task.end, score)
        if isinstance(self.task, Numbered):
            row = jnp.broadcast_to(self.task.row(task), batch.weight.shape)
            batch = replace(batch, extras={**batch.extras, ROW: row})
        fine = {"finite": finite((score, written.extras))}
        return state, batch, {**summary(batch, score), **fine}


def write(policy: Policy, prompt: Array, envs: int, steps: int, end: int, key: Key) -> Written:
    """So many tokens `envs` times, with as many of them side by side after each prompt
    [time, prompt]: all are drawn, whether or not one has ended, so that every iteration takes as
    long."""

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
    return Written(*jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, rest))


def transitions(prompt: Array, written: Written, end: int, score: Array) -> Transition:
    """Steps [time, env], of the prompt [time, env] first; the score comes with the last token."""
    before = len(prompt) - 1

    def joined(later: Array, first: Array | float = 0) -> Array:
        shape = (before, *later.shape[1:])
        return jnp.concatenate([jnp.broadcast_to(first, shape).astype(later.dtype), later])

    chosen = ~written.ended
    terminated = chosen & (written.action == end)
    last = jnp.arange(len(chosen))[:, None] == len(chosen) - 1
    truncated = chosen & last & ~terminated
    return Transition(
        obs=joined(written.obs, prompt[:-1]),
        action=joined(written.action, jnp.maximum(prompt[1:], 0)),
        reward=joined(jnp.where(terminated | truncated, score, 0.0)),
        terminated=joined(terminated),
        truncated=joined(truncated),
        next_obs=joined(written.completion, prompt[1:]),
        weight=joined(chosen.astype(jnp.float32)),
        extras=jax.tree.map(joined, written.extras),
    )


def without_prompts(batch: Transition, steps: int) -> Transition:
    """The last rows of `batch`, as many as `steps`, but for `obs`, which keeps the prompts."""
    return replace(jax.tree.map(lambda x: x[-steps:], batch), obs=batch.obs)


def summary(batch: Transition, score: Array) -> Metrics:
    """How many completions there were, their mean score and length, and how many were finished."""
    return {
        "episodes": jnp.int32(score.size),
        "episode_return": score.mean(),
        "episode_length": batch.weight.sum(0).mean(),
        "finished": batch.terminated.any(0).mean(),
    }


class Sample(NamedTuple):
    """Completions [batch, steps] of prompts, with `PAD` after the end."""

    tokens: Array
    log_prob: Array  # under the distribution it was drawn from; 0 after the end


@partial(jax.jit, static_argnums=(3, 4))
def sample(
    decoder: Decoder, sampling: Sampling, prompt: Array, steps: int, end: int, key: Key
) -> Sample:
    """Up to so many tokens after each prompt [batch, time], until all have ended: for reading,
    where `Generation` is for learning."""

    def goes_on(state: tuple[Any, ...]) -> Array:
        at, _, ended, *_ = state
        return (at < steps) & ~ended.all()

    def step(state: tuple[Any, ...]) -> tuple[Any, ...]:
        at, hidden, ended, cache, found = state
        choice = sampling(decoder.logits(hidden))
        token = choice.sample(jax.random.fold_in(key, at))
        log_prob = jnp.where(ended, 0.0, choice.log_prob(token))
        token = jnp.where(ended, PAD, token)
        tokens, log_probs = (
            found.tokens.at[:, at].set(token),
            found.log_prob.at[:, at].set(log_prob),
        )
        hidden, cache = decoder.extend(token[:, None], token[:, None] != PAD, cache)
        ended = ended | (token == end)
        return at + 1, hidden[:, 0], ended, cache, Sample(tokens, log_probs)

    batch, time = prompt.shape
    hidden, cache = decoder.extend(prompt, prompt != PAD, decoder.cache(batch, time + steps))
    found = Sample(jnp.full((batch, steps), PAD), jnp.zeros((batch, steps)))
    start = jnp.int32(0), hidden[:, -1], jnp.zeros(batch, bool), cache, found
    return jax.lax.while_loop(goes_on, step, start)[-1]
