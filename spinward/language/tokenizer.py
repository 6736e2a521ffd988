"""Text to token numbers and back, by the tokenizer of a public checkpoint."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spinward.envs.text import PAD
from spinward.errors import DamagedFileError, SettingsError
from spinward.language.chat import Template
from spinward.language.limited import TooLong, limited
from spinward.language.weights import read_json

PADDING = 2048  # numbers a model may have beyond its tokenizer's: embeddings are rounded up
LARGEST = 2**28  # bytes of a tokenizer.json
TEXT = "Who is it? \u00c9t\u00e9 2\u20ac\n \U0001f98a"  # which a tokenizer is tried on
one_at_a_time = threading.RLock()  # of those who hide standard error
PANIC = "PanicException"  # what the package raises, below Exception, where its Rust code panics


@contextmanager
def panics(message: str, kind: type[Exception] = SettingsError) -> Iterator[None]:
    """Turns the package's exceptions into one line; the package has no error class of its own."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == PANIC:
            raise kind(f"{message}: {error!a:.120}") from None
        raise


@contextmanager
def quiet() -> Iterator[None]:
    """Hides the text that the package's Rust code writes to standard error in a panic."""
    with one_at_a_time:
        kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nothing)


def tried(own: Any) -> None:
    """Raises what the package raises where it panics on a text. A text that it cannot encode is an
    error of that text alone."""
    for text in ("", TEXT):
        for special in (False, True):
            try:
                own.decode(own.encode(text, add_special_tokens=special).ids)
            except TooLong:
                raise
            except Exception:
                continue


class Tokenizer:
    """`tokenizer.json`, the tokens that begin and end a text, and a chat template if there is one.

    `config` is the content of tokenizer_config.json and `generation` that of the model's
    generation_config.json, which are kept for whoever reads what is saved.
    """

    def __init__(
        self,
        own: Any,
        end: int,
        template: Template | None = None,
        bos: tuple[int, ...] = (),
        config: dict[str, Any] | None = None,
        generation: dict[str, Any] | None = None,
    ):
        self.own, self.end, self.template, self.bos = own, end, template, list(bos)
        self.config, self.generation = config or {}, generation or {}

    @property
    def size(self) -> int:
        """The largest token number plus one."""
        return max(self.own.get_vocab().values(), default=-1) + 1

    def encode(self, text: str) -> list[int]:
        """Token numbers of a text; special tokens stand in it only where they are written out."""
        return self.encoding(text).ids

    def encoding(self, text: str) -> Any:
        with quiet(), panics(f"the tokenizer fails on {text[:40]!r}"):
            return self.own.encode(text, add_special_tokens=False)

    def decode(self, tokens: Any) -> str:
        """The text of token numbers, without special ones."""
        numbers = [int(i) for i in tokens if i != PAD]
        with quiet(), panics(f"the tokenizer fails on the numbers {numbers[:10]}"):
            return self.own.decode(numbers, skip_special_tokens=True)

    def prompt(self, text: str) -> list[int]:
        """The tokens of a text to continue, after the model's begin tokens if there are any."""
        tokens = self.encode(text)
        has_begin = tokens[: len(self.bos)] == self.bos
        return tokens if has_begin else [*self.bos, *tokens]

    def chat(
        self, messages: list[dict[str, Any]], continues: bool = False, tools: Any = None
    ) -> list[int]:
        """A conversation's token numbers; with `continues` the assistant is to speak next. What
        begins it is what the template writes."""
        return self.encode(self.templated().render(messages, continues, tools))

    def answer(
        self, before: list[dict[str, Any]], said: list[dict[str, Any]], tools: Any = None
    ) -> list[int]:
        """The tokens that the last messages of a conversation add to `chat(before,
        continues=True)`."""
        text, prompt = self.templated().rendered([(before + said, False), (before, True)], tools)
        if not text.startswith(prompt):
            raise SettingsError("the chat template changes a prompt when it is answered")
        return self.encode(text[len(prompt) :].rstrip())

    def answers(
        self, messages: list[dict[str, Any]], tools: Any = None
    ) -> tuple[list[int], list[bool]]:
        """A conversation's token numbers, and which of them the assistant has said: those that a
        model learns from, with what ends each turn.

        Raises:
            SettingsError: there is no template, or it changes earlier turns when later ones come,
                so that nobody can say what the model would have seen.
        """
        text, spans = self.templated().spans(messages, tools)
        encoding = self.encoding(text)
        inside = [any(a <= x and y <= b for a, b in spans) for x, y in encoding.offsets]
        return encoding.ids, [
            said and x < y for said, (x, y) in zip(inside, encoding.offsets, strict=True)
        ]

    @property
    def talks(self) -> bool:
        return self.template is not None

    def templated(self) -> Template:
        if self.template is None:
            raise SettingsError("the model has no chat template, which a conversation needs")
        return self.template

    def special(self) -> dict[str, int]:
        """The ids under which a model's config has the tokens that begin, end and pad a text."""
        name = spelt(self.config.get("bos_token"))
        bos = self.bos[0] if self.bos else self.own.token_to_id(name) if name else None
        name = spelt(self.config.get("pad_token"))
        pad = self.own.token_to_id(name) if name else None
        ids = {"bos_token_id": bos, "eos_token_id": self.end}
        ids |= {} if pad in (None, self.end) else {"pad_token_id": pad}
        return {name: number for name, number in ids.items() if number is not None}

    def save(self, folder: Path) -> None:
        """Writes what `load` reads, and the model's generation_config.json."""
        folder.mkdir(parents=True, exist_ok=True)
        self.own.save(str(folder / "tokenizer.json"))
        named = self.template.tokens if self.template else {}
        config = {**named, **self.config, "eos_token": self.own.id_to_token(self.end)}
        if self.bos and "bos_token" not in config:
            config |= {"bos_token": self.own.id_to_token(self.bos[0]), "add_bos_token": True}
        if self.template is not None:
            config |= {"chat_template": self.template.source}
        known = {k: v for k, v in self.generation.items() if v is not None}
        generation = {**self.special(), **known}
        for name, content in (("tokenizer", config), ("generation", generation)):
            (folder / f"{name}_config.json").write_text(json.dumps(content, indent=1) + "\n")


def load(folder: Path, vocab: int) -> Tokenizer:
    """The tokenizer of a folder, for a model of so many tokens.

    Raises:
        SettingsError: there is none, it does not say what ends a text, or it is not that of the
            model.
        DamagedFileError: a file is corrupt.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise SettingsError(f"{folder} has no tokenizer.json: the model cannot read text")
    if path.stat().st_size > LARGEST:
        raise DamagedFileError(f"{path} has more than {LARGEST} bytes")
    import tokenizers

    with quiet(), panics(f"{path} is damaged", DamagedFileError):
        own = tokenizers.Tokenizer.from_file(str(path))
        own.no_truncation()  # which a file may ask for: a text would be cut without a word
        own.no_padding()
        own = limited(own, path)
        tried(own)
    config, generation = (
        read_json(folder / f"{name}_config.json")
        if (folder / f"{name}_config.json").is_file()
        else {}
        for name in ("tokenizer", "generation")
    )
    end = end_of(folder, own, config)
    template = Template.of(folder, config)
    tokenizer = Tokenizer(own, end, template, begin_of(folder, own, config), config, generation)
    check_size(tokenizer, vocab, folder)
    return tokenizer


def check_size(tokenizer: Tokenizer, vocab: int, folder: Path) -> None:
    if not vocab - PADDING <= tokenizer.size <= vocab:
        raise SettingsError(
            f"{folder}: the tokenizer has numbers up to {tokenizer.size - 1} and the model has "
            f"{vocab} tokens: they do not belong together"
        )
    for what, number in (("ends", tokenizer.end), *(("begins", n) for n in tokenizer.bos)):
        if not 0 <= number < vocab:
            raise DamagedFileError(f"{folder}: the token {number} that {what} a text is none")


def begin_of(folder: Path, own: Any, config: dict[str, Any]) -> tuple[int, ...]:
    """The tokens that the post-processor puts before a text, or else the one that the config
    adds; none where the config says so."""
    adds = config.get("add_bos_token")
    if adds is False:
        return ()
    with panics(f"{folder / 'tokenizer.json'} is damaged", DamagedFileError):
        bare, whole = (own.encode("a", add_special_tokens=x).ids for x in (False, True))
    for at in range(1, len(whole) - len(bare) + 1):
        if bare and whole[at : at + len(bare)] == bare:
            return tuple(whole[:at])
    name = spelt(config.get("bos_token"))
    if not adds or not name:
        return ()
    if own.token_to_id(name) is None:
        raise SettingsError(f"{folder}: the tokenizer begins with {name!r}, which it has not")
    return (own.token_to_id(name),)


def end_of(folder: Path, own: Any, config: dict[str, Any]) -> int:
    """The number of the token that ends a text, as the tokenizer or else the model has it."""
    name = spelt(config.get("eos_token"))
    if name:
        if own.token_to_id(name) is None:
            raise SettingsError(f"{folder}: the tokenizer ends with {name!r}, which it has not")
        return own.token_to_id(name)
    for file in ("generation_config.json", "config.json"):
        content = read_json(folder / file) if (folder / file).is_file() else {}
        number = content.get("eos_token_id")
        number = number[0] if isinstance(number, list) and number else number
        if isinstance(number, int) and not isinstance(number, bool):
            return number
    raise SettingsError(f"{folder} does not say which token ends a text (eos_token)")


def spelt(token: Any) -> str:
    """A special token, which files have as a text or as an object with one.

    Raises:
        DamagedFileError: it is something else.
    """
    text = token.get("content") if isinstance(token, dict) else token
    if text is not None and not isinstance(text, str):
        raise DamagedFileError(f"tokenizer_config.json: {token!a:.80} is no token")
    return text or ""
