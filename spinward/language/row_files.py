"""Rows of a file of texts: a JSON object in each line, or one JSON array of objects; plain or gzip.

Lines end at a line feed alone: JSON may hold U+2028, U+2029 and U+0085 inside a text as they are.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from spinward.errors import DamagedFileError, SettingsError

LARGEST = 2**30  # bytes that a compressed file, or an array, may hold
LONGEST = 2**24  # bytes of a row
GZIP, MARK = b"\x1f\x8b", b"\xef\xbb\xbf"
WIDE = (b"\xff\xfe", b"\xfe\xff")  # how UTF-16 begins

Skipped = list[str]  # why rows were passed over, in their order


def refuse(error: Exception, skipped: Skipped | None) -> None:
    """Raises an error about a row, or where rows may be skipped notes it."""
    if skipped is None:
        raise error from None
    skipped.append(str(error))


def rows_of(path: Path, skipped: Skipped | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row of a file, and the words that say where it is; what is no row goes to `skipped`.

    Raises:
        SettingsError: there is no such file, or nothing in it.
        DamagedFileError: a line that is no JSON object or no UTF-8, unless `skipped` is given; a
            compressed file that is damaged; a file or a row that is too large.
    """
    if not path.is_file():
        raise SettingsError(f"there is no file {path}")
    empty = True
    for where, parsed in values(path):
        empty = False
        if isinstance(parsed, Exception):
            refuse(parsed, skipped)
        elif not isinstance(parsed, dict):
            text = json.dumps(parsed)[:40]
            refuse(DamagedFileError(f"{where} is no JSON object: {text!r}"), skipped)
        else:
            yield where, parsed
    if empty:
        raise SettingsError(f"{path} has no rows")


def values(path: Path) -> Iterator[tuple[str, Any]]:
    """The value of each row of a file, or the error of reading the row."""
    lines = lines_of(path)
    number, offset, line = next(lines, (1, 0, b""))
    if line.startswith(WIDE):
        raise DamagedFileError(f"{path} is no UTF-8 text: it begins as UTF-16; save it as UTF-8")
    bare = line.removeprefix(MARK)
    while line and not bare.strip():
        number, offset, line = next(lines, (0, 0, b""))
        bare = line
    if bare.lstrip().startswith(b"["):
        yield from elements(path)
        return
    while line:
        if bare.strip():
            where = f"{path}, row {number}"
            yield where, parsed(where, bare, offset + len(line) - len(bare))
        number, offset, line = next(lines, (0, 0, b""))
        bare = line


def parsed(where: str, line: bytes, offset: int) -> Any:
    """The JSON value of a line, or an error that says what is wrong with it."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        at = offset + error.start
        return DamagedFileError(f"{where} is no UTF-8 text: {error.reason}, byte {at}")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return DamagedFileError(f"{where} is no JSON: {text[:40]!r}")


def elements(path: Path) -> Iterator[tuple[str, Any]]:
    """The elements of a file that holds one JSON array."""
    with opened(path) as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise DamagedFileError(f"{path} is one array of more than {LARGEST} bytes; use lines")
    items = parsed(str(path), data.removeprefix(MARK), len(data) - len(data.removeprefix(MARK)))
    if isinstance(items, Exception):
        raise items
    for number, element in enumerate(items, 1):
        yield f"{path}, row {number}", element


def lines_of(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Number, place in the file's text, and bytes of each line."""
    with opened(path) as file:
        number = offset = 0
        while line := file.readline(LONGEST + 1):
            number += 1
            if len(line) > LONGEST and not line.lstrip(MARK).lstrip().startswith(b"["):
                raise DamagedFileError(f"{path}, row {number} has more than {LONGEST} bytes")
            yield number, offset, line
            offset += len(line)
            if offset > LARGEST and isinstance(file, gzip.GzipFile):
                raise DamagedFileError(f"{path} holds more than {LARGEST} bytes; unpack it first")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file's text, decompressed where its first bytes say that it is gzip."""
    with open(path, "rb") as raw:
        packed = raw.read(len(GZIP)) == GZIP
        raw.seek(0)
        try:
            yield gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[misc]
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DamagedFileError(f"{path} is damaged: {error!a:.80}") from None
