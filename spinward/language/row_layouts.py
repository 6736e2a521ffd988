"""Converts the layouts of published rows to Spinward's layouts.

Ours are those of TRL: `text`; `messages`; `prompt` and `completion`; `prompt`, `chosen` and
`rejected`. A text may be a conversation: a list of messages, each with a `role` and a `content`.
"""

import itertools
import json
from typing import Any

from spinward.errors import SettingsError

Row = dict[str, Any]
ANSWERED = (  # names of a prompt and of what follows it
    ("prompt", "completion"), ("prompt", "response"), ("prompt", "output"),
    ("instruction", "output"), ("instruction", "response"), ("question", "answer"),
    ("query", "response"), ("input", "output"),
)  # fmt: skip
ASKED = ("prompt", "question", "query", "instruction", "input")
TALKS = ("messages", "conversations", "conversation")
ROLES = {  # of ShareGPT
    "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant",
    "assistant": "assistant", "model": "assistant", "system": "system", "tool": "tool",
    "observation": "tool",
}  # fmt: skip
POST = "SUBREDDIT: r/{subreddit}\n\nTITLE: {title}\n\nPOST: {post}\n\nTL;DR:"
ARTICLE = "Article:\n\n{article}\n\nTL;DR:"  # both of Stiennon et al. (2020, arXiv:2009.01325)
ALPACA = (  # Taori et al. (2023), without and with an input
    "Below is an instruction that describes a task{}. Write a response that appropriately "
    "completes the request.\n\n### Instruction:\n{}\n\n{}### Response:"
)
PAIRED = ", paired with an input that provides further context"


def answered(where: str, row: Row, talks: bool = True) -> Row:
    """A row with a `text`, with `messages`, or with a `prompt` and a `completion`."""
    if "text" in row:
        return row
    if name := next((name for name in TALKS if name in row), ""):
        return {**row, "messages": conversation(where, row[name], row.get("system"))}
    if {"post", "summary"} <= row.keys():
        return {"prompt": summarised(where, row), "completion": " " + text(where, row, "summary")}
    for ask, answer in ANSWERED:
        if ask in row and answer in row:
            return {**asked(where, row, talks, ask), "completion": row[answer]}
    return row


def asked(where: str, row: Row, talks: bool = True, name: str = "") -> Row:
    """A row with its `prompt`, in whichever layout. An instruction is what a user says to a model
    that `talks`, as its template has it, and for others stands in Alpaca's prompt."""
    name = name or next((name for name in ASKED if name in row), "")
    if not name and (talk := next((name for name in TALKS if name in row), "")):
        messages = conversation(where, row[talk], row.get("system"))
        answers = itertools.takewhile(lambda m: m["role"] == "assistant", reversed(messages))
        before = messages[: len(messages) - len(list(answers))]
        if not before:
            raise SettingsError(f"{where}: only the assistant speaks; expected what was asked")
        return {**row, "prompt": before}
    if not name and ("info" in row or "post" in row):
        return {**row, "prompt": summarised(where, row.get("info", row))}
    if name == "instruction":
        return {**row, "prompt": instructed(where, row, talks)}
    if name and isinstance(row[name], str) and (system := row.get("system")):
        return {**row, "prompt": conversation(where, [message("user", row[name])], system)}
    return {**row, "prompt": row[name]} if name else row


def compared(where: str, row: Row, talks: bool = True) -> Row:
    """A row with its `prompt`, and with a `chosen` and a `rejected` answer."""
    if "summaries" in row and "choice" in row:
        return of_summaries(where, row)
    if lacking := [name for name in ("chosen", "rejected") if name not in row]:
        raise SettingsError(f"{where} lacks {lacking[0]!r}; it has {', '.join(row) or 'nothing'}")
    row = {
        k: [v] if k in ("chosen", "rejected") and isinstance(v, dict) else v for k, v in row.items()
    }
    row = asked(where, row, talks)
    chosen, rejected = row["chosen"], row["rejected"]
    if isinstance(chosen, list) and isinstance(rejected, list):
        return of_talks(where, row, conversation(where, chosen), conversation(where, rejected))
    if "prompt" in row:
        return row
    size = shared(chosen, rejected) if isinstance(chosen, str) and isinstance(rejected, str) else 0
    if not size:
        raise SettingsError(f"{where} has no prompt, and its two texts begin differently")
    return {**row, "prompt": chosen[:size], "chosen": chosen[size:], "rejected": rejected[size:]}


def of_talks(where: str, row: Row, chosen: list[Row], rejected: list[Row]) -> Row:
    """A comparison of two conversations; each may repeat the prompt."""
    prompt, size = row.get("prompt"), shared(chosen, rejected)
    if isinstance(prompt, list):
        prompt = conversation(where, prompt)
        whole = chosen[: len(prompt)] == prompt == rejected[: len(prompt)]
        size = len(prompt) if whole else 0
    elif size:
        prompt = chosen[:size]
    elif isinstance(prompt, str):
        prompt = [message("user", prompt)]
    else:
        raise SettingsError(f"{where} has no prompt, and its two texts begin differently")
    return {**row, "prompt": prompt, "chosen": chosen[size:], "rejected": rejected[size:]}


def of_summaries(where: str, row: Row) -> Row:
    """A comparison of two summaries (Stiennon et al., 2020)."""
    summaries, choice = row["summaries"], row["choice"]
    fine = (
        isinstance(summaries, list)
        and len(summaries) == 2
        and all(isinstance(s, dict) for s in summaries)
    )
    if not fine:
        raise SettingsError(f"{where}: expected two summaries, each an object with a text")
    if choice not in (0, 1) or isinstance(choice, bool | float):
        raise SettingsError(
            f"{where}: choice={choice!r} must be 0 or 1, which of the two is better"
        )
    first, second = (text(where, summary, "text") for summary in summaries)
    chosen, rejected = (second, first) if choice else (first, second)
    prompt = summarised(where, row.get("info"))
    return {**row, "prompt": prompt, "chosen": chosen, "rejected": rejected}


def summarised(where: str, info: Any) -> str:
    """The published prompt for a summary of a post, or of a news article."""
    if not isinstance(info, dict) or not {"post", "article"} & info.keys():
        raise SettingsError(f"{where}: expected info with a post (title, subreddit) or an article")
    if "post" not in info:
        return ARTICLE.format(article=text(where, info, "article"))
    names = ("subreddit", "title", "post")
    return POST.format(**{name: text(where, info, name) for name in names})


def instructed(where: str, row: Row, talks: bool) -> Any:
    """The prompt of a row of Alpaca's; an instruction that is a conversation stays a
    conversation."""
    if not isinstance(row["instruction"], str):
        return row["instruction"]
    more = next((row[name] for name in ("input", "context") if row.get(name)), "")
    if not isinstance(more, str):
        raise SettingsError(f"{where}: input is a {type(more).__name__}; expected a text")
    if talks:
        asks = message("user", "\n\n".join(filter(None, (row["instruction"], more))))
        return conversation(where, [asks], row.get("system"))
    given = f"### Input:\n{more}\n\n" if more else ""
    return ALPACA.format(PAIRED if more else "", row["instruction"], given)


def text(where: str, row: Row, name: str) -> str:
    """A column that has to be a text."""
    if not isinstance(row.get(name), str):
        kind = type(row.get(name)).__name__
        raise SettingsError(f"{where}: {name} is a {kind}; expected a text")
    return row[name]


def shared(one: Any, other: Any) -> int:
    """The length of the common beginning of two texts, in whole words, or of two conversations."""
    same = itertools.takewhile(lambda x: x[0] == x[1], zip(one, other, strict=False))
    size = sum(1 for _ in same)
    return one.rfind(" ", 0, size) + 1 if isinstance(one, str) else size


def message(role: str, content: str) -> Row:
    return {"role": role, "content": content}


def conversation(where: str, messages: Any, system: Any = None) -> list[Row]:
    """Messages with a `role` and a `content` that is a text, from those of any layout.

    Raises:
        SettingsError: they are no such messages.
    """
    if not isinstance(messages, list) or not messages:
        raise SettingsError(f"{where}: expected a text, or a list of role and content")
    turns = [said(f"{where}, message {i}", m) for i, m in enumerate(messages, 1)]
    if isinstance(system, str) and system and turns[0]["role"] != "system":
        turns.insert(0, message("system", system))
    return turns


def said(where: str, given: Any) -> Row:
    """One message. A `content` of null is an empty text beside calls of tools, and refused
    elsewhere: templates write it as None."""
    if not isinstance(given, dict):
        raise SettingsError(f"{where}: expected a text, or a list of role and content")
    turn = {k: v for k, v in given.items() if v is not None}
    if "from" in turn and "role" not in turn:
        role = ROLES.get(str(turn["from"]))
        if role is None:
            message = f"from={turn['from']!r} is not one of {', '.join(ROLES)}"
            raise SettingsError(f"{where}: {message}")
        turn = {**turn, "role": role, "content": turn.get("value")}
        turn = {k: v for k, v in turn.items() if k not in ("from", "value")}
    if not isinstance(turn.get("role"), str):
        raise SettingsError(f"{where}: expected a text, or a list of role and content")
    content = turn.get("content")
    if content is None and not turn.get("tool_calls"):
        raise SettingsError(f"{where} has no content; expected a text, or tool_calls")
    return {**turn, "content": worded(where, content)}


def worded(where: str, content: Any) -> str:
    """A content as one text; it may come in parts."""
    if isinstance(content, list) and all(isinstance(p, dict) for p in content):
        if odd := [p.get("type") for p in content if not isinstance(p.get("text"), str)]:
            raise SettingsError(f"{where} has a part of type {odd[0]!r}; expected text alone")
        return "".join(part["text"] for part in content)
    if content is not None and not isinstance(content, str):
        kind = type(content).__name__
        raise SettingsError(f"{where}: its content is a {kind}; expected a text")
    return content or ""


def tools_of(where: str, row: Row) -> list[Any]:
    """The tools that a conversation may call, which some files have as JSON in a text."""
    tools: Any = row.get("tools")
    if isinstance(tools, str):
        try:
            tools = json.loads(tools or "null")
        except (ValueError, RecursionError):
            raise SettingsError(f"{where}: tools is no JSON: {row['tools'][:40]!r}") from None
    if tools is not None and not isinstance(tools, list):
        raise SettingsError(f"{where}: tools is a {type(tools).__name__}; expected a list")
    return tools or []
