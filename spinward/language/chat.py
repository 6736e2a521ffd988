"""Chat templates: a conversation as one text, by the Jinja template that comes with a model.

Templates are code of others, and run in Jinja's sandbox.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from spinward.errors import SettingsError
from spinward.language.weights import read_json

PLAIN = "chat_template.jinja"  # a template in a file of its own
GENERATION = ("{% generation %}", "{% endgeneration %}")  # marks that Jinja does not know


class Template:
    """A template, and the special tokens that it may name."""

    def __init__(self, source: str, tokens: dict[str, str] | None = None):
        from jinja2.exceptions import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        env = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        env.filters["tojson"] = to_json
        env.globals |= {"raise_exception": refuse, "strftime_now": now}
        self.source, self.tokens = source, tokens or {}
        for mark in GENERATION:
            source = source.replace(mark, "").replace(mark.replace("{% ", "{%- "), "")
        try:
            self.own = env.from_string(source)
        except TemplateError as error:
            raise SettingsError(f"the chat template cannot be read: {error}") from None

    @classmethod
    def of(cls, folder: Path, config: dict[str, Any]) -> "Template | None":
        """That of a folder with such a `tokenizer_config.json`."""
        source = config.get("chat_template")
        if (folder / PLAIN).is_file():
            source = (folder / PLAIN).read_text()
        elif source is None and (folder / "chat_template.json").is_file():
            source = read_json(folder / "chat_template.json").get("chat_template")
        if isinstance(source, list):  # several, by name
            named = {t["name"]: t["template"] for t in source}
            source = named.get("default", next(iter(named.values()), None))
        if not source:
            return None
        special = {
            name: value.get("content", "") if isinstance(value, dict) else value
            for name, value in config.items()
            if name.endswith("_token") and isinstance(value, str | dict)
        }
        return cls(source, special)

    def render(self, messages: list[dict[str, Any]], continues: bool = False) -> str:
        """The text of a conversation; with `continues` it stops where the assistant is to speak.

        Raises:
            SettingsError: the template refuses the conversation, or fails.
        """
        from jinja2.exceptions import TemplateError

        try:
            return self.own.render(
                messages=messages, add_generation_prompt=continues, tools=None, **self.tokens
            )
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise SettingsError(f"the chat template refuses the conversation: {error}") from None

    def spans(self, messages: list[dict[str, Any]]) -> tuple[str, list[tuple[int, int]]]:
        """The text of a conversation, and from where to where the assistant speaks in it.

        Raises:
            SettingsError: what stands before an answer is not what the assistant had to answer.
        """
        text, found = self.render(messages), []
        for i, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self.render(messages[:i], continues=True)
            after = self.render(messages[: i + 1])
            if not (text.startswith(after) and after.startswith(before)):
                raise SettingsError(
                    f"the chat template changes what stands before message {i + 1} when it is "
                    "answered or later ones come: what to learn from cannot be told"
                )
            found.append((len(before), len(after.rstrip())))  # no newline between turns
        return text, found


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON as it is, where Jinja's own filter would escape it for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def now(form: str) -> str:
    return datetime.now().strftime(form)


def refuse(message: str) -> None:
    """What a template calls where it cannot go on."""
    raise ValueError(message)
