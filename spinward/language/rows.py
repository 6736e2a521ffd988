"""Rows of texts as arrays of tokens, to learn from or to complete.

Which layouts are read is in layouts.py, which files in rows.py; what becomes of rows that cannot be
used, or are too long, in reading.py.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from spinward.core import Transition
from spinward.envs.text import PAD
from spinward.errors import SettingsError
from spinward.language import row_layouts as layouts

Where = str  # the file and the row, in words


@runtime_checkable
class Begins(Protocol):
    """A vocabulary that knows how a text begins."""

    def prompt(self, text: str) -> list[int]: ...


@runtime_checkable
class Talks(Protocol):
    """A vocabulary that may have a template for conversations; the last argument is tools."""

    @property
    def talks(self) -> bool: ...  # whether it has one
    def chat(self, messages: Any, continues: bool = False, tools: Any = None) -> list[int]: ...
    def answer(self, before: Any, said: Any, tools: Any = None) -> list[int]: ...
    def answers(self, messages: Any, tools: Any = None) -> tuple[list[int], list[bool]]: ...


class TokenRow(NamedTuple):
    """A prompt and what follows it, best first, as token numbers."""

    prompt: list[int]
    completions: list[list[int]]
    said: list[bool] | None = None  # which tokens of the only completion are learned; None: all

    @property
    def size(self) -> int:
        return len(self.prompt) + max(map(len, self.completions))


def completion(where: Where, row: dict[str, Any], vocabulary: Any) -> TokenRow:
    """A row for `sft`: of a conversation, all answers of the assistant are learned."""
    row = layouts.answered(where, row, talks(vocabulary))
    if "text" in row:
        words = layouts.text(where, row, "text")
        tokens = ended(opening(where, words, vocabulary), vocabulary)
        if not words.strip() or len(tokens) < 2:
            raise SettingsError(f"{where}: there is nothing to learn in it: {words[:40]!r}")
        return TokenRow([], [tokens])
    if "messages" in row:
        return talk(where, row, vocabulary)
    token_row = TokenRow(
        prompt(where, row, vocabulary).prompt,
        [completion_tokens(where, row, "completion", vocabulary)],
    )
    if token_row.completions[0] == [vocabulary.end]:
        raise SettingsError(f"{where}: the completion is empty; there is nothing to learn in it")
    return token_row


def talk(where: Where, row: dict[str, Any], vocabulary: Any) -> TokenRow:
    """A conversation, of which the assistant's answers are learned."""
    answers = [m for m in row["messages"] if m["role"] == "assistant"]
    if not any(m["content"].strip() or m.get("tool_calls") for m in answers):
        raise SettingsError(f"{where}: the assistant says nothing; there is nothing to learn in it")
    more = tools(where, row)
    tokens, said = tokens_of(where, able(where, vocabulary).answers, row["messages"], *more)
    if not any(said[1:]):
        raise SettingsError(f"{where}: the chat template leaves out what the assistant says")
    return TokenRow([], [tokens], said)


def pair(where: Where, row: dict[str, Any], vocabulary: Any) -> TokenRow:
    """A row for `reward-model` and `dpo`."""
    row = layouts.compared(where, row, talks(vocabulary))
    if row["chosen"] == row["rejected"]:
        raise SettingsError(f"{where}: chosen and rejected are the same text")
    both = [completion_tokens(where, row, name, vocabulary) for name in ("chosen", "rejected")]
    if both[0] == both[1]:
        raise SettingsError(f"{where}: chosen and rejected are the same tokens to the model")
    return TokenRow(prompt(where, row, vocabulary).prompt, both)


def prompt(where: Where, row: dict[str, Any], vocabulary: Any) -> TokenRow:
    """A row for `ppo-tokens` and `grpo`: a prompt."""
    row = layouts.asked(where, row, talks(vocabulary))
    given = needed(where, row, "prompt")
    if isinstance(given, list):
        messages, more = layouts.conversation(where, given), tools(where, row)
        tokens = tokens_of(where, able(where, vocabulary).chat, messages, True, *more)
    elif isinstance(given, str):
        tokens = opening(where, given, vocabulary)
    else:
        kind = type(given).__name__
        raise SettingsError(f"{where}: the prompt is a {kind}; expected a text or a conversation")
    if not tokens:
        raise SettingsError(f"{where}: the prompt is empty: the model needs a token to begin with")
    return TokenRow(tokens, [[]])


def completion_tokens(where: Where, row: dict[str, Any], name: str, vocabulary: Any) -> list[int]:
    """The token numbers after the prompt of a row."""
    if not isinstance(row["prompt"], list):
        needed(where, row, name)
        words = layouts.text(where, row, name)
        return ended(tokens_of(where, vocabulary.encode, words), vocabulary)
    said = needed(where, row, name)
    said = [layouts.message("assistant", said)] if isinstance(said, str) else said
    parts = layouts.conversation(where, row["prompt"]), layouts.conversation(where, said)
    more = tools(where, row)
    return ended(tokens_of(where, able(where, vocabulary).answer, *parts, *more), vocabulary)


def opening(where: Where, words: str, vocabulary: Any) -> list[int]:
    """Token numbers of a text, after the token that begins one where the model knows such."""
    begins = isinstance(vocabulary, Begins)
    return tokens_of(where, vocabulary.prompt if begins else vocabulary.encode, words)


def tools(where: Where, row: dict[str, Any]) -> list[Any]:
    """The tools of a row, as the last argument for rendering its conversation; empty without
    tools."""
    listed = layouts.tools_of(where, row)
    return [listed] if listed else []


def needed(where: Where, row: dict[str, Any], name: str) -> Any:
    if name not in row:
        raise SettingsError(f"{where} lacks {name!r}; it has {', '.join(row) or 'nothing'}")
    return row[name]


def talks(vocabulary: Any) -> bool:
    """Whether a model has a template for conversations."""
    return isinstance(vocabulary, Talks) and vocabulary.talks


def able(where: Where, vocabulary: Any) -> Any:
    """A vocabulary that has a template for conversations."""
    if not talks(vocabulary):
        raise SettingsError(f"{where}: a conversation needs a model with a chat template")
    return vocabulary


def tokens_of(where: Where, encode: Any, *words: Any) -> Any:
    """The token numbers of `words`; an error names the row."""
    try:
        return encode(*words)
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from None


def ended(tokens: list[int], vocabulary: Any) -> list[int]:
    """The tokens with the end token, so that the end is learned too."""
    tokens, end = list(tokens), vocabulary.end
    return tokens if tokens and tokens[-1] == end else [*tokens, end]


def laid_out(rows: list[TokenRow]) -> Transition:
    """Texts as steps [rows, ranked, time]; weight is 1 where a token of a completion is chosen."""
    longest, ranked = max(row.size for row in rows), len(rows[0].completions)
    tokens = np.full((len(rows), ranked, longest), PAD, np.int32)
    weight = np.zeros(tokens.shape, np.float32)
    for i, (before, completions, said) in enumerate(rows):
        for j, completion in enumerate(completions):
            whole, first = [*before, *completion], len(before)
            tokens[i, j, : len(whole)] = whole
            weight[i, j, first : len(whole)] = 1.0 if said is None else said
    return steps(tokens, weight[..., 1:])


def steps(tokens: np.ndarray, weight: np.ndarray) -> Transition:
    """Steps [..., time] through `tokens` [..., time + 1]."""
    obs, next_tokens = tokens[..., :-1], tokens[..., 1:]
    after = np.concatenate([next_tokens[..., 1:], np.full_like(next_tokens[..., :1], PAD)], -1)
    ends = (weight > 0) & (after == PAD)
    nothing: Any = np.zeros(obs.shape, np.float32)
    fields: dict[str, Any] = {
        "obs": obs,
        "action": np.maximum(next_tokens, 0),
        "reward": nothing,
        "terminated": ends,
        "truncated": np.zeros(obs.shape, bool),
        "next_obs": next_tokens,
        "weight": weight,
    }
    return Transition(**fields, extras={})
