"""What a language model writes after a prompt; the best of several, where something judges them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spinward.core import Key, Transition
from spinward.envs.prompts import Prompts, padded
from spinward.envs.text import PAD
from spinward.errors import NonFiniteError, SettingsError
from spinward.experience.generation import Sample, sample
from spinward.language import models as language
from spinward.language import rows as texts
from spinward.networks.language_policy import scores
from spinward.networks.sampling import Sampling
from spinward.run import assemble, device

TOGETHER = 64  # completions written side by side

Scorer = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of prompts and completions [n, tokens]


class Completion(NamedTuple):
    text: str
    tokens: int  # the end token included
    log_prob: float  # of all its tokens, under the distributions they were drawn from
    finished: bool  # by the end token; else it ran out of room
    score: float | None  # a reward model's, or the task's own


class Prompt(NamedTuple):
    text: str
    tokens: list[int]


class Answer(NamedTuple):
    prompt: str  # of a conversation, what was said last
    completions: list[Completion]  # the best first, where they have scores


def generate(
    model: str | Path,
    prompts: Any = (),
    tokens: int = 0,
    count: int = 1,
    sampling: Sampling = Sampling(),
    reward_model: str | Path = "",
    data: str | Path = "",
    seed: int = 0,
    older: bool = False,
) -> list[Answer]:
    """`count` completions of each prompt, of up to so many `tokens`; 0 for 64, or what fits.

    A `model` is the folder of a public checkpoint, a GGUF file, `smollm2`, or a run. A prompt is a
    text, or a conversation: a list of messages with a `role` and a `content`. `data` is a file of
    rows with a `prompt` each. A run on a task that has prompts of its own needs neither: it draws
    one. The task scores what is written, unless a `reward_model`, which is a run, does. An `older`
    checkpoint of a run may be used where the newest is damaged.

    Raises:
        SettingsError: a setting that cannot work, or a prompt that is longer than the context.
        NonFiniteError: a score that is not finite.
    """
    device.prepare()
    sampling.check()
    for name, value, least in (("tokens", tokens, 0), ("count", count, 1)):
        if value < least:
            raise SettingsError(f"{name}={value} must be at least {least}")
    found = assemble.model(str(model), older)
    given = [read(prompt, found.vocabulary) for prompt in prompts] + of_file(data, found)
    asked, judge = of_task(str(model), given, seed)
    tokens = length(asked, tokens, found.decoder.shape.context)
    if reward_model:
        judge = by_model(str(reward_model), found.decoder.shape.vocab, older)
    rows = padded([prompt.tokens for prompt in asked for _ in range(count)])
    written = write(found, sampling, rows, tokens, jax.random.key(seed))
    score = judge(rows, np.asarray(written.tokens)) if judge else None
    return answers(asked, count, written, score, found.vocabulary)


def answers(
    asked: list[Prompt], count: int, written: Sample, score: np.ndarray | None, vocabulary: Any
) -> list[Answer]:
    """The completions of each prompt as texts, the best first."""
    known: list[Any] = [None] * len(written.tokens) if score is None else score.tolist()
    if score is not None and not np.isfinite(score).all():
        raise NonFiniteError("the score of a completion is not finite")
    rows = zip(written.tokens, written.log_prob, known, strict=True)
    every = [completion(*row, vocabulary) for row in rows]
    groups = [every[i : i + count] for i in range(0, len(every), count)]
    return [
        Answer(prompt.text, sorted(group, key=lambda c: -(c.score or 0.0)))
        for prompt, group in zip(asked, groups, strict=True)
    ]


def write(
    found: language.Model, sampling: Sampling, prompt: np.ndarray, tokens: int, key: Key
) -> Sample:
    """A completion of each prompt [n, time], so many at once."""
    parts = np.split(prompt, range(TOGETHER, len(prompt), TOGETHER))
    written = [
        sample(found.decoder, sampling, jnp.asarray(part), tokens, found.vocabulary.end, k)
        for part, k in zip(parts, jax.random.split(key, len(parts)), strict=True)
    ]
    return jax.tree.map(lambda *x: np.concatenate(x), *written)


def completion(tokens: Any, log_prob: Any, score: float | None, vocabulary: Any) -> Completion:
    real = [int(i) for i in tokens if i != PAD]
    finished = real[-1] == vocabulary.end
    text = vocabulary.decode(real[:-1] if finished else real)
    return Completion(text, len(real), float(log_prob.sum()), finished, score)


def read(prompt: Any, vocabulary: Any) -> Prompt:
    """A text or a conversation to continue."""
    if not isinstance(prompt, str):
        if not hasattr(vocabulary, "chat"):
            raise SettingsError("the model has no chat template, which a conversation needs")
        return Prompt(prompt[-1]["content"], vocabulary.chat(list(prompt), True))
    tokens = getattr(vocabulary, "prompt", vocabulary.encode)(prompt)
    if not tokens:
        raise SettingsError("a prompt is empty: the model needs a token to begin with")
    return Prompt(prompt, tokens)


def of_file(data: str | Path, found: language.Model) -> list[Prompt]:
    rows = texts.rows_of(Path(data)) if data else ()
    tokens = [texts.prompt(where, row, found.vocabulary) for where, row in rows]
    return [Prompt(found.vocabulary.decode(row), row) for row in tokens]


def of_task(model: str, given: list[Prompt], seed: int) -> tuple[list[Prompt], Scorer | None]:
    """What is `given`, or else a prompt of the task that a run was trained on; and what that task
    says of a completion, where this does not depend on the prompt that was drawn."""
    is_run = (Path(model) / "shards").is_dir()
    task: Any = assemble.of_run(model)[1].env if is_run else None
    if task is None or isinstance(task, Prompts):
        if not given:
            raise SettingsError(f"{model} has no prompts of its own: give one with --prompt")
        return given, None
    state, drawn = task.reset(jax.random.key(seed))

    def score(prompts: np.ndarray, completions: np.ndarray) -> np.ndarray:
        return np.asarray(jax.vmap(lambda c: task.score(state, c))(jnp.asarray(completions)))

    if given:
        return given, None if jax.tree.leaves(state) else score
    tokens = [int(i) for i in drawn if i != PAD]
    return [Prompt(task.vocabulary.decode(tokens), tokens)], score


def by_model(run: str, vocab: int, older: bool) -> Scorer:
    """The scores of the reward model that a run trained."""
    judge, _ = assemble.of_run(run, older=older)
    if judge.head is None:
        raise SettingsError(f"{run} trained a policy; expected a reward model")
    if judge.decoder.shape.vocab != vocab:
        told = f"{judge.decoder.shape.vocab} tokens and the model has {vocab}"
        raise SettingsError(f"the reward model {run} has {told}: they do not fit")

    def score(prompts: np.ndarray, completions: np.ndarray) -> np.ndarray:
        whole: Any = np.concatenate([prompts, completions], 1).T
        names = ("action", "reward", "terminated", "truncated", "weight", "extras")
        unread: Any = dict.fromkeys(names, ())
        batch = Transition(obs=whole[:-1], next_obs=whole[1:], **unread)
        return np.asarray(scores(judge, batch))

    return score


def length(asked: list[Prompt], tokens: int, context: int) -> int:
    """How many tokens a completion may have."""
    size = max(len(prompt.tokens) for prompt in asked)
    tokens = tokens or max(1, min(64, context - size))
    if size + tokens > context:
        raise SettingsError(
            f"a prompt of {size} tokens and tokens={tokens} more are longer than the model's "
            f"context = {context}"
        )
    return tokens
