"""Tokenizers whose regular expressions come from a file: each call has a limit of time.

Such an expression can take time that doubles with each letter. The package's calls cannot be
interrupted, so a call runs in a thread of its own, which is left behind where it takes too long;
`encode_batch` and `decode_batch` let this thread run meanwhile, which `encode` does not.
"""

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS, LETTERS_PER_S = 10.0, 50_000  # for any text, and more for long ones
REGEX = b'"Regex"'  # how a tokenizer.json names an expression of its own


class TooLong(Exception):
    """A call that took too long."""


class Limited:
    """A tokenizer of the package with limits of time."""

    def __init__(self, own: Any):
        self.own = own
        self.get_vocab, self.save = own.get_vocab, own.save
        self.token_to_id, self.id_to_token = own.token_to_id, own.id_to_token

    def encode(self, text: str, add_special_tokens: bool = True) -> Any:
        def call() -> Any:
            return self.own.encode_batch([text], add_special_tokens=add_special_tokens)[0]

        return within(call, len(text))

    def decode(self, numbers: list[int], skip_special_tokens: bool = True) -> str:
        def call() -> str:
            return self.own.decode_batch([numbers], skip_special_tokens=skip_special_tokens)[0]

        return within(call, len(numbers))


def limited(own: Any, path: Path) -> Any:
    """The tokenizer of a file; with limits where the file has regular expressions."""
    return Limited(own) if REGEX in path.read_bytes() else own


def within(call: Callable[[], Any], letters: int) -> Any:
    """The value of a call.

    Raises:
        TooLong: it takes too much time.
    """
    limit = SECONDS + letters / LETTERS_PER_S
    answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:  # the package panics below Exception
            answers.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        value, error = answers.get(timeout=limit)
    except queue.Empty:
        raise TooLong(f"it takes more than {limit:.0f} s") from None
    if error is not None:
        raise error
    return value
