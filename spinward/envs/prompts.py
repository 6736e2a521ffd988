"""Prompts of a file, as a task whose completions a reward scores."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Key, Spec, config
from spinward.envs.text import PAD, token_spec

NAMES = {"text": "FilePrompts"}


@config
class FilePrompts:
    """One of `rows` at random. A completion has no score of its own: it is 0."""

    rows: Any = None  # [prompts, tokens], with `PAD` in front
    vocab: int = 2  # number of tokens
    end: int = 1  # the token that ends a completion
    vocabulary: object = None  # no array, so that it is no part of what is compiled
    given: Callable[[int], dict[str, Any]] | None = None  # the row of a number, as its file has it
    notes: tuple[str, ...] = ()  # what was left out of the file, in words

    @property
    def spec(self) -> Spec:
        return token_spec(self.vocab)

    @property
    def prompt(self) -> int:
        return 1 if self.rows is None else self.rows.shape[1]

    def reset(self, key: Key) -> tuple[Array, Array]:
        """The number of a row, and its prompt."""
        rows = jnp.asarray(self.rows)
        number = jax.random.randint(key, (), 0, len(rows))
        return number, rows[number]

    def row(self, state: Array) -> Array:
        return state

    def score(self, state: Any, completion: Array) -> Array:
        return jnp.float32(0.0)


def padded(prompts: list[list[int]]) -> np.ndarray:
    """Token numbers [prompts, tokens], with `PAD` in front of the short ones."""
    longest = max(map(len, prompts))
    rows = np.full((len(prompts), longest), PAD, np.int32)
    for row, prompt in zip(rows, prompts, strict=True):
        row[longest - len(prompt) :] = prompt
    return rows
