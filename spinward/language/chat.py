"""Chat templates: a conversation as one text, by the Jinja template that comes with a model.

Templates are code of others. They run in Jinja's sandbox, in a process of their own with limits on
its time and memory (template_worker.py).
"""

import importlib.util
import json
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

from spinward.errors import DamagedFileError, SettingsError
from spinward.language import template_worker
from spinward.language.weights import read_json

PLAIN = "chat_template.jinja"  # a template in a file of its own
TOOLS = "tool_use"  # the name of the template for conversations with tools
LARGEST = 2**20  # bytes of a template
Asked = tuple[list[dict[str, Any]], bool]  # messages, and whether the assistant is to speak next


class Template:
    """A template, or several by name, and the special tokens that it may name."""

    def __init__(self, source: Any, tokens: dict[str, str] | None = None):
        self.source, self.tokens = source, tokens or {}
        self.workers: dict[str, TemplateWorker] = {}

    @classmethod
    def of(cls, folder: Path, config: dict[str, Any]) -> "Template | None":
        """The template of a folder with such a `tokenizer_config.json`.

        Raises:
            DamagedFileError: what stands there is no template.
        """
        source = config.get("chat_template")
        if (folder / PLAIN).is_file():
            source = plain(folder / PLAIN)
        elif source is None and (folder / "chat_template.json").is_file():
            source = read_json(folder / "chat_template.json").get("chat_template")
        if not source:
            return None
        named = by_name(source)
        if not named or not all(isinstance(x, str) for x in (*named, *named.values())):
            raise DamagedFileError(f"{folder}: its chat template is {source!a:.40}, not a text")
        if max(map(len, named.values())) > LARGEST:
            raise DamagedFileError(f"{folder}: its chat template has more than {LARGEST} letters")
        special = {
            name: value.get("content", "") if isinstance(value, dict) else value
            for name, value in config.items()
            if name.endswith("_token") and isinstance(value, str | dict)
        }
        return cls(source, special)

    def render(
        self, messages: list[dict[str, Any]], continues: bool = False, tools: Any = None
    ) -> str:
        """The text of a conversation; with `continues`, up to the place where the assistant
        answers.

        Raises:
            SettingsError: the template refuses the conversation, fails, or takes too much time or
                memory; or there are tools and it writes none.
        """
        return self.rendered([(messages, continues)], tools)[0]

    def rendered(self, asked: list[Asked], tools: Any = None) -> list[str]:
        """Several texts of a conversation, from one call of the process."""
        named = by_name(self.source)
        default = named.get("default", next(iter(named.values())))
        source = named.get(TOOLS, default) if tools else default
        worker = self.workers.setdefault(source, TemplateWorker(source))
        jobs = [
            {**self.tokens, "messages": messages, "add_generation_prompt": continues}
            for messages, continues in asked
        ]
        plain = [{**job, "tools": None} for job in jobs]
        if not tools:
            return worker.render(plain)
        texts = worker.render([{**job, "tools": tools} for job in jobs])
        if texts == worker.render(plain):
            raise SettingsError("the chat template writes no tools, and the conversation has some")
        return texts

    def spans(
        self, messages: list[dict[str, Any]], tools: Any = None
    ) -> tuple[str, list[tuple[int, int]]]:
        """The text of a conversation, and the spans of the assistant's answers in the text.

        Raises:
            SettingsError: what stands before an answer is not what the assistant had to answer.
        """
        said = [i for i, m in enumerate(messages) if m["role"] == "assistant"]
        parts = [part for i in said for part in ((messages[:i], True), (messages[: i + 1], False))]
        text, *rest = self.rendered([(messages, False), *parts], tools)
        pairs = []
        for i, before, after in zip(said, rest[::2], rest[1::2], strict=True):
            if not (text.startswith(after) and after.startswith(before)):
                raise SettingsError(
                    f"the chat template changes what stands before message {i + 1} when it is "
                    "answered or later ones come: what to learn from cannot be told"
                )
            pairs.append((len(before), len(after.rstrip())))  # no newline between turns
        return text, pairs


class TemplateWorker:
    """The process that renders one template; it starts with the first request."""

    def __init__(self, source: str):
        self.source, self.lock = source, threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None

    def render(self, jobs: list[dict[str, Any]]) -> list[str]:
        """The texts of so many calls of the template."""
        try:
            line = json.dumps([self.source, jobs]).encode() + b"\n"
        except (TypeError, ValueError, RecursionError) as error:
            raise SettingsError(f"a conversation has to be what JSON can hold: {error}") from None
        with self.lock:
            answer = self.asked(line)
        if not answer:
            raise SettingsError(f"the chat template {self.died()}")
        texts_or_error = json.loads(answer)
        if isinstance(texts_or_error, str):
            raise SettingsError(f"the chat template {texts_or_error}")
        return texts_or_error

    def asked(self, line: bytes) -> bytes:
        if self.process is None or self.process.poll() is not None:
            self.process = started()
            weakref.finalize(self, ended, self.process)
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(line)
            self.process.stdin.flush()
        except BrokenPipeError:
            return b""
        return self.process.stdout.readline()

    def died(self) -> str:
        """The reason why the process ended."""
        assert self.process is not None
        code = self.process.wait()
        if code == -signal.SIGPROF:
            return f"took more than {template_worker.SECONDS} s of CPU time"
        return f"ended its process with code {code}: it may have taken too much memory"


def started() -> subprocess.Popen[bytes]:
    """Starts a process that imports nothing of Spinward, and nothing from the current folder."""
    if importlib.util.find_spec("jinja2") is None:
        raise SettingsError("a chat template needs jinja2: pip install -e '.[language]'")
    command = [sys.executable, "-P", template_worker.__file__]
    pipe: Any = subprocess.PIPE
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, start_new_session=True
    )


def ended(process: subprocess.Popen[bytes]) -> None:
    """Stops a process that gets no more requests."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def by_name(source: Any) -> dict[Any, Any]:
    """The templates of a file: one, or several by name, as a mapping or as a list of pairs."""
    if isinstance(source, list):
        named = all(isinstance(t, dict) and {"name", "template"} <= t.keys() for t in source)
        return {t["name"]: t["template"] for t in source} if named else {}
    return source if isinstance(source, dict) else {"default": source}


def plain(path: Path) -> str:
    if path.stat().st_size > LARGEST:
        raise DamagedFileError(f"{path} has more than {LARGEST} bytes")
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{path} is no UTF-8 text: {error.reason}") from None
