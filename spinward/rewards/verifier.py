"""A Python function's score of each completion, as text: whether it is right, rhymes, passes a test
(Lambert et al., 2024, arXiv:2411.15124, call this reinforcement learning with verifiable rewards).

It is called from within the compiled loop, once for each batch, between writing and learning: the
one place where a step of the loop waits for Python, because a verifier is code of anybody's.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import ROLLOUT, Context, Key, Metrics, Reader, Spec, Transition, config, replace
from spinward.envs.ids import imported
from spinward.envs.text import PAD
from spinward.errors import NonFiniteError, SettingsError
from spinward.networks.language_policy import texts

FAILED: dict[str, str] = {}  # what the functions last failed on, in words


@config
class Verifier:
    """`score(prompt, completion)`, two texts, is a number: the reward of the last token."""

    function: str = ""  # module:function, or path.py:function
    judge: Callable[..., Any] | None = None  # of tokens and weights; what `opened` makes of it

    def opened(self, reader: Reader) -> "Verifier":
        """With the words that tokens stand for."""
        return replace(self, judge=functools.partial(judged, self.function, reader.vocabulary()))

    def rehearse(self, source: Any) -> None:
        """Judges an empty completion of one prompt, before anything is learned.

        Raises:
            SettingsError: there is no such function, or it fails, or what it gives is no number.
            NonFiniteError: that number is not finite.
        """
        assert isinstance(self.judge, functools.partial)
        FAILED.pop(self.function, None)  # of a run before this one in the same process
        _, prompt = source.task.reset(jax.random.key(0))
        prompt = self.judge.args[1].decode([int(i) for i in prompt if i != PAD])
        try:
            found = loaded(self.function)(prompt, "")
        except Exception as error:
            if isinstance(error, SettingsError):
                raise
            raise SettingsError(
                f"reward {self.function} fails on an empty completion of {prompt!r}: {error!r}"
            ) from error
        try:
            finite = math.isfinite(found)
        except TypeError:
            raise SettingsError(
                f"reward {self.function} gives {found!r} for an empty completion of {prompt!r}; "
                "expected a number"
            ) from None
        if not finite:
            told = f"reward {self.function} gives {found} for an empty completion of {prompt!r}"
            raise NonFiniteError(told)

    def failure(self) -> str:
        """Why a reward is no number, if the function failed."""
        return FAILED.get(self.function, "")

    def init(self, key: Key, spec: Spec) -> tuple[()]:
        return ()

    def label(
        self, state: tuple[()], batch: Transition, key: Key, context: Context = ROLLOUT
    ) -> tuple[tuple[()], Transition, Metrics]:
        assert self.judge is not None
        each = jax.ShapeDtypeStruct(batch.reward.shape[1:], jnp.float32)
        found: Array = jax.pure_callback(
            self.judge, each, texts(batch), batch.weight, vmap_method="expand_dims"
        )
        reward = jnp.where(batch.done, found, 0.0)
        return state, replace(batch, reward=reward), {"judged": found.mean()}


def judged(function: str, vocabulary: Any, tokens: Any, weight: Any) -> np.ndarray:
    """The score [..., env] of texts, from their tokens [..., time + 1, env] and the weight
    [..., time, env] of all but the first, which is 1 where a token was chosen."""
    score, tokens, weight = loaded(function), np.asarray(tokens), np.asarray(weight)
    weight = np.broadcast_to(weight, (*tokens.shape[:-2], *weight.shape[-2:]))
    chosen = np.concatenate([np.zeros_like(weight[..., :1, :]), weight], -2) > 0
    rows, written = (np.moveaxis(x, -2, -1).reshape(-1, x.shape[-2]) for x in (tokens, chosen))
    pairs = (texts_of(*pair, vocabulary) for pair in zip(rows, written, strict=True))
    found = [scored(function, score, *pair) for pair in pairs]
    return np.asarray(found, np.float32).reshape(*tokens.shape[:-2], tokens.shape[-1])


def scored(function: str, score: Callable[..., Any], prompt: str, completion: str) -> float:
    """A number, or NaN where the function fails: a program cannot be left by an exception."""
    try:
        return float(score(prompt, completion))
    except Exception as error:
        FAILED[function] = f"reward {function} failed on {completion!r} after {prompt!r}: {error!r}"
        return math.nan


def texts_of(tokens: np.ndarray, chosen: np.ndarray, vocabulary: Any) -> tuple[str, str]:
    """The prompt, and what was written after it without its end token."""
    prompt, written = tokens[~chosen & (tokens >= 0)], tokens[chosen]
    written = written[written != vocabulary.end]
    return vocabulary.decode(prompt.tolist()), vocabulary.decode(written.tolist())


@functools.cache
def loaded(place: str) -> Callable[[str, str], Any]:
    """The function at a place; its module runs once in a process.

    Raises:
        SettingsError: there is none.
    """
    found = imported(place)
    if not callable(found):
        raise SettingsError(f"reward {place} is a {type(found).__name__}; expected a function")
    return found
