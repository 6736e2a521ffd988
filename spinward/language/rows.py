"""Files of texts, a JSON object in each line, as arrays of tokens to learn from.

Rows are what others use (language.md of TRL's data formats): `prompt` and `completion`, or `text`;
`prompt`, `chosen` and `rejected`, or the last two with the prompt that they have in common. In
place of a text there may be a conversation, a list of `role` and `content`.
"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spinward.core import Transition
from spinward.envs.text import PAD
from spinward.errors import DamagedFileError, SettingsError


class Written(NamedTuple):
    """A prompt and what follows it, best first, as token numbers."""

    prompt: list[int]
    completions: list[list[int]]
    said: list[bool] | None = None  # which tokens of the only completion are learned; None: all


def rows_of(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row of a file, and the words that say where it is.

    Raises:
        SettingsError: there is no such file, or nothing in it.
        DamagedFileError: a line that is no JSON object, or a file that is no UTF-8.
    """
    if not path.is_file():
        raise SettingsError(f"there is no file {path}")
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DamagedFileError(
            f"{path} is no UTF-8 text: {error.reason}, byte {error.start}"
        ) from None
    empty = True
    for number, line in enumerate(lines, 1):
        where = f"{path}, row {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            raise DamagedFileError(f"{where} is no JSON: {line[:40]!r}") from None
        if not isinstance(row, dict):
            raise DamagedFileError(f"{where} is no JSON object: {line[:40]!r}")
        empty = False
        yield where, row
    if empty:
        raise SettingsError(f"{path} has no rows")


def completion(where: str, row: dict[str, Any], vocabulary: Any) -> Written:
    """What `sft` learns from: in a conversation, all that the assistant says."""
    if "text" in row:
        return Written([], [ended(worded(where, row, "text", vocabulary), vocabulary)])
    if "messages" in row:
        messages = conversation(where, row["messages"])
        tokens, said = told(where, able(where, vocabulary).answers, messages)
        return Written([], [tokens], said)
    return Written(
        prompt(where, row, vocabulary), [following(where, row, "completion", vocabulary)]
    )


def pair(where: str, row: dict[str, Any], vocabulary: Any) -> Written:
    """What `reward-model` and `dpo` learn from."""
    if "summaries" in row and "choice" in row:  # Stiennon et al., 2020
        first, second = (s["text"] for s in row["summaries"])
        chosen, rejected = (second, first) if row["choice"] else (first, second)
        row = {"prompt": row["info"]["post"], "chosen": chosen, "rejected": rejected}
    chosen, rejected = (needed(where, row, name) for name in ("chosen", "rejected"))
    if "prompt" not in row:
        size = shared(chosen, rejected)
        row = {"prompt": chosen[:size], "chosen": chosen[size:], "rejected": rejected[size:]}
        if not size:
            raise SettingsError(f"{where} has no prompt, and its two texts begin differently")
    if row["chosen"] == row["rejected"]:
        raise SettingsError(f"{where}: chosen and rejected are the same text")
    both = [following(where, row, name, vocabulary) for name in ("chosen", "rejected")]
    if both[0] == both[1]:
        raise SettingsError(f"{where}: chosen and rejected are the same tokens to the model")
    return Written(prompt(where, row, vocabulary), both)


def shared(one: Any, other: Any) -> int:
    """How much two texts, in whole words, or two conversations have in common at first."""
    same = itertools.takewhile(lambda x: x[0] == x[1], zip(one, other, strict=False))
    size = sum(1 for _ in same)
    return one.rfind(" ", 0, size) + 1 if isinstance(one, str) else size


def prompt(where: str, row: dict[str, Any], vocabulary: Any) -> list[int]:
    """What `ppo-tokens` and `grpo` write after."""
    found = needed(where, row, "prompt")
    if isinstance(found, list):
        messages = conversation(where, found)
        return told(where, able(where, vocabulary).chat, messages, True)
    if not isinstance(found, str):
        kind = type(found).__name__
        raise SettingsError(f"{where}: the prompt is a {kind}; expected a text or a conversation")
    tokens = told(where, getattr(vocabulary, "prompt", vocabulary.encode), found)
    if not tokens:
        raise SettingsError(f"{where}: the prompt is empty: the model needs a token to begin with")
    return tokens


def following(where: str, row: dict[str, Any], name: str, vocabulary: Any) -> list[int]:
    """Token numbers of what comes after the prompt of a row."""
    if not isinstance(row["prompt"], list):
        return ended(worded(where, row, name, vocabulary), vocabulary)
    said = needed(where, row, name)
    said = [{"role": "assistant", "content": said}] if isinstance(said, str) else said
    parts = conversation(where, row["prompt"]), conversation(where, said)
    return ended(told(where, able(where, vocabulary).answer, *parts), vocabulary)


def worded(where: str, row: dict[str, Any], name: str, vocabulary: Any) -> list[int]:
    text = needed(where, row, name)
    if not isinstance(text, str):
        raise SettingsError(f"{where}: {name} is a {type(text).__name__}; expected a text")
    return told(where, vocabulary.encode, text)


def needed(where: str, row: dict[str, Any], name: str) -> Any:
    if name not in row:
        raise SettingsError(f"{where} lacks {name!r}; it has {', '.join(row) or 'nothing'}")
    return row[name]


def conversation(where: str, messages: Any) -> list[dict[str, Any]]:
    fine = isinstance(messages, list) and bool(messages)
    if not fine or not all(
        isinstance(m, dict) and {"role", "content"} <= m.keys() for m in messages
    ):
        raise SettingsError(f"{where}: expected a text, or a list of role and content")
    return messages


def able(where: str, vocabulary: Any) -> Any:
    """A vocabulary that has a template for conversations."""
    if not hasattr(vocabulary, "chat"):
        raise SettingsError(f"{where}: a conversation needs a model with a chat template")
    return vocabulary


def told(where: str, encode: Any, *words: Any) -> Any:
    """Token numbers; an error says in which row it was."""
    try:
        return encode(*words)
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from None


def ended(tokens: list[int], vocabulary: Any) -> list[int]:
    """With the end token after it, so that it is learned too."""
    tokens, end = list(tokens), vocabulary.end
    return tokens if tokens and tokens[-1] == end else [*tokens, end]


def laid_out(rows: list[tuple[str, Written]], context: int) -> Transition:
    """Texts as steps [rows, ranked, time]; weight is 1 where a token of a completion is chosen.

    Raises:
        SettingsError: a text that is longer than the model's context.
    """
    longest = 0
    for where, (before, completions, _) in rows:
        size = len(before) + max(map(len, completions))
        if size > context:
            raise SettingsError(
                f"{where}: {size} tokens, of which {len(before)} are the prompt, are more than "
                f"the model's context = {context}"
            )
        if size < 2:
            raise SettingsError(f"{where}: there is nothing to learn in it")
        longest = max(longest, size)
    ranked = len(rows[0][1].completions)
    tokens = np.full((len(rows), ranked, longest), PAD, np.int32)
    weight = np.zeros(tokens.shape, np.float32)
    for i, (_, (before, completions, said)) in enumerate(rows):
        for j, written in enumerate(completions):
            whole, first = [*before, *written], len(before)
            tokens[i, j, : len(whole)] = whole
            weight[i, j, first : len(whole)] = 1.0 if said is None else said
    return steps(tokens, weight[..., 1:])


def steps(tokens: np.ndarray, weight: np.ndarray) -> Transition:
    """Steps [..., time] through `tokens` [..., time + 1]."""
    obs, following = tokens[..., :-1], tokens[..., 1:]
    after = np.concatenate([following[..., 1:], np.full_like(following[..., :1], PAD)], -1)
    ends = (weight > 0) & (after == PAD)
    nothing: Any = np.zeros(obs.shape, np.float32)
    fields: dict[str, Any] = {
        "obs": obs,
        "action": np.maximum(following, 0),
        "reward": nothing,
        "terminated": ends,
        "truncated": np.zeros(obs.shape, bool),
        "next_obs": following,
        "weight": weight,
    }
    return Transition(**fields, extras={})
