"""A Python function's score of each completion, as text: whether it is right, rhymes, passes a test
(Lambert et al., 2024, arXiv:2411.15124, call this reinforcement learning with verifiable rewards).

The compiled loop calls the function once for each batch, between generation and the update. This is
the only place where an iteration waits for Python, because a verifier may be any Python code.
"""

import copy
import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import ROLLOUT, Context, Key, Metrics, Reader, Spec, Transition, config, replace
from spinward.envs.ids import imported
from spinward.envs.text import PAD, ROW, Numbered
from spinward.errors import NonFiniteError, SettingsError
from spinward.networks.language_policy import texts

FAILED: dict[str, str] = {}  # the last failure of each function, as a message
NONE = -1  # the row number of a prompt that is not a row of a file

Rows = Callable[[int], dict[str, Any]] | None


@config
class Verifier:
    """`score(prompt, completion)` returns a number, which is the reward of the last token. Where
    prompts are rows of a file, further parameters are given the columns of the same name, and the
    prompt is passed as it stands in the row: a text, or a conversation."""

    function: str = ""  # module:function, or path.py:function
    scorer: Callable[..., Any] | None = None  # of tokens and weights; `opened` makes it

    def opened(self, reader: Reader) -> "Verifier":
        """These settings with the vocabulary and the rows of the prompts read."""
        words = reader.vocabulary(), reader.rows()
        return replace(self, scorer=functools.partial(score_texts, self.function, *words))

    def try_once(self, source: Any) -> None:
        """Scores an empty completion of one prompt, before training starts.

        Raises:
            SettingsError: there is no such function, or it fails, or it does not return a number.
            NonFiniteError: that number is not finite.
        """
        assert isinstance(self.scorer, functools.partial)
        FAILED.pop(self.function, None)  # the failure of an earlier run in the same process
        state, tokens = source.task.reset(jax.random.key(0))
        vocabulary, rows = self.scorer.args[1:]
        number = NONE
        if isinstance(source.task, Numbered) and rows is not None:
            number = int(source.task.row(state))
            check_columns(self.function, rows, len(source.task.rows))
        words = vocabulary.decode([int(i) for i in tokens if i != PAD])
        prompt, columns = asked(loaded(self.function), rows, number, words)
        try:
            score = loaded(self.function)(prompt, "", **columns)
        except Exception as error:
            if isinstance(error, SettingsError):
                raise
            raise SettingsError(
                f"reward {self.function} fails on an empty completion of {prompt!r}: {error!r}"
            ) from error
        try:
            finite = math.isfinite(score)
        except TypeError:
            raise SettingsError(
                f"reward {self.function} gives {score!r} for an empty completion of {prompt!r}; "
                "expected a number"
            ) from None
        if not finite:
            message = f"reward {self.function} gives {score} for an empty completion of {prompt!r}"
            raise NonFiniteError(message)

    def failure(self) -> str:
        """The message of the function's last failure, or nothing."""
        return FAILED.get(self.function, "")

    def init(self, key: Key, spec: Spec) -> tuple[()]:
        return ()

    def label(
        self, state: tuple[()], batch: Transition, key: Key, context: Context = ROLLOUT
    ) -> tuple[tuple[()], Transition, Metrics]:
        assert self.scorer is not None
        each = jax.ShapeDtypeStruct(batch.reward.shape[1:], jnp.float32)
        row = batch.extras.get(ROW, jnp.full_like(batch.obs, NONE))[-1]
        score: Array = jax.pure_callback(
            self.scorer, each, texts(batch), batch.weight, row, vmap_method="expand_dims"
        )
        reward = jnp.where(batch.done, score, 0.0)
        return state, replace(batch, reward=reward), {"score": score.mean()}


def score_texts(
    function: str, vocabulary: Any, rows: Rows, tokens: Any, weight: Any, row: Any
) -> np.ndarray:
    """The score [..., env] of texts, from their `tokens` [..., time + 1, env], the `weight`
    [..., time, env] of all but the first, which is 1 where the policy chose the token, and the
    numbers [..., env] of the rows of their prompts."""
    score, tokens, weight = loaded(function), np.asarray(tokens), np.asarray(weight)
    weight = np.broadcast_to(weight, (*tokens.shape[:-2], *weight.shape[-2:]))
    numbers = np.broadcast_to(row, (*tokens.shape[:-2], tokens.shape[-1])).reshape(-1)
    own = np.concatenate([np.zeros_like(weight[..., :1, :]), weight], -2) > 0
    columns, marks = (np.moveaxis(x, -2, -1).reshape(-1, x.shape[-2]) for x in (tokens, own))
    scores = []
    for column, mark, number in zip(columns, marks, numbers.tolist(), strict=True):
        words, completion = texts_of(column, mark, vocabulary)
        prompt, more = asked(score, rows, number, words)
        scores.append(scored(function, score, prompt, completion, more))
    return np.asarray(scores, np.float32).reshape(*tokens.shape[:-2], tokens.shape[-1])


def asked(
    score: Callable[..., Any], rows: Rows, number: int, words: str
) -> tuple[Any, dict[str, Any]]:
    """The prompt from its row, or else the `words` that the model read, and the columns of the row
    that the function takes."""
    row = {} if rows is None or number == NONE else copy.deepcopy(rows(number))
    names, _, whole = parameters(score)
    prompt = row.get("prompt", words)
    first = {"prompt", "completion", *names[:2]}
    return prompt, {k: v for k, v in row.items() if k not in first and (whole or k in names)}


def check_columns(function: str, rows: Callable[[int], dict[str, Any]], count: int) -> None:
    """Raises SettingsError where a row lacks a column that the function needs."""
    _, needed, _ = parameters(loaded(function))
    for number in range(count if needed else 0):
        row = rows(number)
        if missing := [name for name in needed if name not in row]:
            raise SettingsError(
                f"reward {function} takes {missing[0]!r}, which prompt {number + 1} lacks; "
                f"it has {', '.join(row)}"
            )


def parameters(score: Callable[..., Any]) -> tuple[list[str], list[str], bool]:
    """The names of a function's parameters, the required ones after the second, and whether the
    function takes any keyword. A function without a signature is given two texts."""
    try:
        listed = list(inspect.signature(score).parameters.values())
    except (TypeError, ValueError):
        return [], [], False
    whole = any(p.kind is p.VAR_KEYWORD for p in listed)
    named = [p for p in listed if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    needed = [p.name for p in named[2:] if p.default is p.empty]
    return [p.name for p in named], needed, whole


def scored(
    function: str, score: Callable[..., Any], prompt: Any, completion: str, more: dict[str, Any]
) -> float:
    """The score, or NaN where the function fails: no exception may leave a compiled program."""
    try:
        return float(score(prompt, completion, **more))
    except Exception as error:
        FAILED[function] = f"reward {function} failed on {completion!r} after {prompt!r}: {error!r}"
        return math.nan


def texts_of(tokens: np.ndarray, own: np.ndarray, vocabulary: Any) -> tuple[str, str]:
    """The prompt, and the completion without its end token."""
    prompt, completion = tokens[~own & (tokens >= 0)], tokens[own]
    completion = completion[completion != vocabulary.end]
    return vocabulary.decode(prompt.tolist()), vocabulary.decode(completion.tolist())


@functools.cache
def loaded(place: str) -> Callable[..., Any]:
    """The function at a place; its module runs once in a process.

    Raises:
        SettingsError: there is none.
    """
    value = imported(place)
    if not callable(value):
        raise SettingsError(f"reward {place} is a {type(value).__name__}; expected a function")
    return value
