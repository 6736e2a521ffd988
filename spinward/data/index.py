"""The index of a data set: a header and a line for each chunk, so that any loss is detected.

Each line has a digest of itself and of the lines before it. A line is appended once its chunk is
safe, so a killed process may leave one chunk that has none.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from spinward.errors import DamagedFileError
from spinward.store import files

LIMIT = 2**26  # bytes: a quarter of a million chunks


def append(folder: Path, file: str, content: dict[str, Any], chain: str) -> str:
    """Appends a line to an index, safely on disk, and returns its digest. `chain` is that of the
    line before."""
    text, chain = line(content, chain)
    with files.opened(folder / file, folder, "ab") as opened:
        opened.write(text)
        opened.flush()
        files.sync(opened.fileno())
    return chain


def write(folder: Path, file: str, contents: list[dict[str, Any]]) -> str:
    """Writes a new index, and returns the digest of its last line."""
    texts, chain = [], ""
    for content in contents:
        text, chain = line(content, chain)
        texts.append(text)
    files.write_atomically(folder / file, b"".join(texts))
    return chain


def line(content: dict[str, Any], before: str) -> tuple[bytes, str]:
    """A line with the digest `before` of the previous line, and the line's own digest."""
    digest = hashlib.sha256((before + json.dumps(content)).encode()).hexdigest()[:16]
    return json.dumps({**content, "chain": digest}).encode() + b"\n", digest


def lines(folder: Path, file: str) -> tuple[list[dict[str, Any]], str]:
    """The lines of an index, the header first, and the digest of the last. A line that a killed
    process left unfinished is skipped.

    Raises:
        FileNotFoundError: there is none.
        DamagedFileError: the index was changed.
    """
    path, chain, entries = folder / file, "", []
    try:
        texts = files.read(path, folder, LIMIT).split(b"\n")[:-1]
        for text in texts:
            content = json.loads(text)
            del content["chain"]
            expected, chain = line(content, chain)
            if expected != text + b"\n":
                raise ValueError(f"found {text!r:.80}")
            entries.append(content)
        if not entries:
            raise ValueError("found no line")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(path, error) from None
    return entries, chain


def damaged(path: Path, error: Exception) -> DamagedFileError:
    return DamagedFileError(f"{path}: expected an index of chunks, {error!r:.120}")
