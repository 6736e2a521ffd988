"""Text to token numbers and back, as the folder of a public checkpoint says."""

from pathlib import Path
from typing import Any

from spinward.envs.text import PAD
from spinward.errors import DamagedFileError, SettingsError
from spinward.language.chat import Template
from spinward.language.weights import read_json

SPARE = 2048  # numbers a model may have beyond its tokenizer's: embeddings are rounded up


class Tokenizer:
    """`tokenizer.json`, the tokens that end a text, and a chat template where there is one."""

    def __init__(self, own: Any, end: int, template: Template | None = None, begin: str = ""):
        self.own, self.end, self.template, self.begin = own, end, template, begin

    @property
    def size(self) -> int:
        """One more than the largest number."""
        return max(self.own.get_vocab().values()) + 1

    def encode(self, text: str) -> list[int]:
        """Token numbers of a text; special tokens stand in it only where they are written out."""
        return self.own.encode(text, add_special_tokens=False).ids

    def decode(self, tokens: Any) -> str:
        """The text of token numbers, without special ones."""
        return self.own.decode([int(i) for i in tokens if i != PAD], skip_special_tokens=True)

    def prompt(self, text: str) -> list[int]:
        """A text to continue, after the token that begins one where the model knows such."""
        return self.encode(self.begin + text)

    def chat(self, messages: list[dict[str, Any]], continues: bool = False) -> list[int]:
        """A conversation's token numbers; with `continues` the assistant is to speak next."""
        return self.encode(self.templated().render(messages, continues))

    def answer(self, before: list[dict[str, Any]], said: list[dict[str, Any]]) -> list[int]:
        """What the last messages of a conversation add to `chat(before, continues=True)`."""
        text, prompt = (self.templated().render(*x) for x in ((before + said,), (before, True)))
        if not text.startswith(prompt):
            raise SettingsError("the chat template changes a prompt when it is answered")
        return self.encode(text[len(prompt) :].rstrip())

    def answers(self, messages: list[dict[str, Any]]) -> tuple[list[int], list[bool]]:
        """A conversation's token numbers, and which of them the assistant has said: those that a
        model learns from, with what ends each turn.

        Raises:
            SettingsError: there is no template, or it changes earlier turns when later ones come,
                so that nobody can say what the model would have seen.
        """
        text, spans = self.templated().spans(messages)
        found = self.own.encode(text, add_special_tokens=False)
        inside = [any(a <= x and y <= b for a, b in spans) for x, y in found.offsets]
        return found.ids, [
            said and x < y for said, (x, y) in zip(inside, found.offsets, strict=True)
        ]

    def templated(self) -> Template:
        if self.template is None:
            raise SettingsError("the model has no chat template, which a conversation needs")
        return self.template

    def save(self, folder: Path) -> None:
        """Writes what `load` reads."""
        import json

        folder.mkdir(parents=True, exist_ok=True)
        self.own.save(str(folder / "tokenizer.json"))
        config = {"eos_token": self.own.id_to_token(self.end)}
        if self.begin:
            config |= {"bos_token": self.begin, "add_bos_token": True}
        if self.template is not None:
            config |= {"chat_template": self.template.source}
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


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
    import tokenizers

    try:
        own = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the package has no error class of its own
        raise DamagedFileError(f"{path} is damaged: {error!a:.120}") from None
    config_path = folder / "tokenizer_config.json"
    config = read_json(config_path) if config_path.is_file() else {}
    end = end_of(folder, own, config)
    begin = spelt(config.get("bos_token")) if config.get("add_bos_token") else ""
    found = Tokenizer(own, end, Template.of(folder, config), begin)
    check_size(found, vocab, folder)
    return found


def check_size(found: Tokenizer, vocab: int, folder: Path) -> None:
    if not vocab - SPARE <= found.size <= vocab:
        raise SettingsError(
            f"{folder}: the tokenizer has numbers up to {found.size - 1} and the model has {vocab} "
            "tokens: they do not belong together"
        )


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
        if isinstance(number, int):
            return number
    raise SettingsError(f"{folder} does not say which token ends a text (eos_token)")


def spelt(token: Any) -> str:
    """A special token, which files have as a text or as an object with one."""
    return (token.get("content") if isinstance(token, dict) else token) or ""
