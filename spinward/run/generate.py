"""Completions of prompts by a language model; with scores, the best completion comes first."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spinward.core import Key, Transition
from spinward.envs.prompts import FilePrompts, padded
from spinward.envs.text import PAD
from spinward.errors import NonFiniteError, SettingsError
from spinward.experience.generation import Sample, sample
from spinward.language import models as language
from spinward.language import rows as texts
from spinward.language.row_files import rows_of
from spinward.language.rows import Talks
from spinward.networks.language_policy import scores
from spinward.networks.sampling import Sampling
from spinward.run import assemble, device

BATCH = 64  # completions sampled at once

Scorer = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of prompts and completions [n, tokens]


class Completion(NamedTuple):
    text: str
    tokens: int  # the end token included
    log_prob: float  # the sum over its tokens, when they were sampled
    finished: bool  # whether it ended with the end token
    score: float | None  # a reward model's, or the task's own


class Prompt(NamedTuple):
    text: str
    tokens: list[int]


class Answer(NamedTuple):
    prompt: str  # of a conversation, the last message
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
    language_model = assemble.model(str(model), older)
    given = [read(prompt, language_model.vocabulary) for prompt in prompts] + of_file(
        data, language_model
    )
    all_prompts, score_of = of_task(str(model), given, seed, older)
    tokens = length(all_prompts, tokens, language_model.decoder.shape.context)
    if reward_model:
        score_of = by_model(str(reward_model), language_model.decoder.shape.vocab, older)
    rows = padded([prompt.tokens for prompt in all_prompts for _ in range(count)])
    samples = write(language_model, sampling, rows, tokens, jax.random.key(seed))
    score = score_of(rows, np.asarray(samples.tokens)) if score_of else None
    return answers(all_prompts, count, samples, score, language_model.vocabulary)


def answers(
    prompts: list[Prompt], count: int, samples: Sample, score: np.ndarray | None, vocabulary: Any
) -> list[Answer]:
    """The completions of each prompt as texts, the best one first."""
    scores: list[Any] = [None] * len(samples.tokens) if score is None else score.tolist()
    if score is not None and not np.isfinite(score).all():
        raise NonFiniteError("the score of a completion is not finite")
    rows = zip(samples.tokens, samples.log_prob, scores, strict=True)
    every = [completion(*row, vocabulary) for row in rows]
    groups = [every[i : i + count] for i in range(0, len(every), count)]
    return [
        Answer(prompt.text, sorted(group, key=lambda c: -(c.score or 0.0)))
        for prompt, group in zip(prompts, groups, strict=True)
    ]


def write(
    model: language.Model, sampling: Sampling, prompt: np.ndarray, tokens: int, key: Key
) -> Sample:
    """A completion of each prompt [n, time], sampled in batches."""
    parts = np.split(prompt, range(BATCH, len(prompt), BATCH))
    samples = [
        sample(model.decoder, sampling, jnp.asarray(part), tokens, model.vocabulary.end, k)
        for part, k in zip(parts, jax.random.split(key, len(parts)), strict=True)
    ]
    return jax.tree.map(lambda *x: np.concatenate(x), *samples)


def completion(tokens: Any, log_prob: Any, score: float | None, vocabulary: Any) -> Completion:
    real = [int(i) for i in tokens if i != PAD]
    finished = real[-1] == vocabulary.end
    text = vocabulary.decode(real[:-1] if finished else real)
    return Completion(text, len(real), float(log_prob.sum()), finished, score)


def read(prompt: Any, vocabulary: Any) -> Prompt:
    """A text or a conversation to continue."""
    if not isinstance(prompt, str):
        if not isinstance(vocabulary, Talks) or not vocabulary.talks:
            raise SettingsError("the model has no chat template, which a conversation needs")
        return Prompt(prompt[-1]["content"], vocabulary.chat(list(prompt), True))
    tokens = texts.opening("the prompt", prompt, vocabulary)
    if not tokens:
        raise SettingsError("a prompt is empty: the model needs a token to begin with")
    return Prompt(prompt, tokens)


def of_file(data: str | Path, model: language.Model) -> list[Prompt]:
    rows = rows_of(Path(data)) if data else ()
    tokens = [texts.prompt(where, row, model.vocabulary).prompt for where, row in rows]
    return [Prompt(model.vocabulary.decode(row), row) for row in tokens]


def of_task(
    model: str, given: list[Prompt], seed: int, older: bool = False
) -> tuple[list[Prompt], Scorer | None]:
    """The prompts that are `given`, or otherwise one of the task of a run; and the task's score of
    a completion, unless the score depends on the prompt."""
    is_run = (Path(model) / "shards").is_dir()
    task: Any = assemble.of_run(model, older=older)[1].env if is_run else None
    if task is None or isinstance(task, FilePrompts):
        if not given:
            raise SettingsError(f"{model} has no prompts of its own: give one with --prompt")
        return given, None
    state, tokens_drawn = task.reset(jax.random.key(seed))

    def score(prompts: np.ndarray, completions: np.ndarray) -> np.ndarray:
        return np.asarray(jax.vmap(lambda c: task.score(state, c))(jnp.asarray(completions)))

    if given:
        return given, None if jax.tree.leaves(state) else score
    tokens = [int(i) for i in tokens_drawn if i != PAD]
    return [Prompt(task.vocabulary.decode(tokens), tokens)], score


def by_model(run: str, vocab: int, older: bool) -> Scorer:
    """The scores of the reward model that a run trained."""
    reward_model = assemble.scorer(run, older)
    if reward_model.head is None:
        raise SettingsError(f"{run} trained a policy; expected a reward model")
    if reward_model.decoder.shape.vocab != vocab:
        sizes = f"{reward_model.decoder.shape.vocab} tokens and the model has {vocab}"
        raise SettingsError(f"the reward model {run} has {sizes}: they do not fit")

    def score(prompts: np.ndarray, completions: np.ndarray) -> np.ndarray:
        whole: Any = np.concatenate([prompts, completions], 1).T
        names = ("action", "reward", "terminated", "truncated", "weight", "extras")
        unread: Any = dict.fromkeys(names, ())
        batch = Transition(obs=whole[:-1], next_obs=whole[1:], **unread)
        return np.asarray(scores(reward_model, batch))

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
