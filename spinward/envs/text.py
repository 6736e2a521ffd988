"""Tasks of text: prompts to continue, and what a continuation is worth."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from jax import Array

from spinward.core import Key
from spinward.spaces import Box, Discrete, Spec

ROW = "row"  # in `extras`, the number of the row that a prompt stands in
PAD = -1  # where there is no token: before a short prompt, and after the end of a completion


@runtime_checkable
class Text(Protocol):
    """A task in JAX whose action is the next token. `experience/generation.py` runs it.

    `reset` draws a prompt [prompt], of token numbers with `PAD` in front where it is short; its
    last entry is a token. `score` scores one completion [tokens], in which nothing but `PAD`
    follows an `end`; one that has none was cut off. It is the environment's own reward.
    """

    @property
    def spec(self) -> Spec: ...  # `token_spec` of its vocabulary
    @property
    def prompt(self) -> int: ...  # entries of a prompt
    @property
    def end(self) -> int: ...  # the token that ends a completion
    @property
    def vocabulary(self) -> Any: ...  # what tokens stand for; None where they are numbers only
    def reset(self, key: Key) -> tuple[Any, Array]: ...
    def score(self, state: Any, completion: Array) -> Array: ...


@runtime_checkable
class Corpus(Protocol):
    """A task that writes texts to learn from itself."""

    def examples(self, kind: str, count: int) -> list[dict[str, str]]: ...  # completions, or pairs


@runtime_checkable
class Numbered(Protocol):
    """A task whose prompts are rows of a file, each with columns that a reward may need."""

    rows: Any  # the prompts [row, tokens]
    given: Callable[[int], dict[str, Any]] | None  # the row of a number, as its file has it

    def row(self, state: Any) -> Array: ...  # the number of the row that was drawn


def token_spec(vocab: int) -> Spec:
    """One token is seen, or `PAD`, and one is chosen."""
    return Spec(Box((), PAD, vocab - 1, "int32"), Discrete(vocab))
