"""TFRecord files and the `tf.train.Example` in each record, read without TensorFlow.

A record is its length, a checksum of that, its bytes, and a checksum of these: CRC-32C, rotated by
15 bits with a constant added. Nothing is decoded before its checksum was compared.
"""

import functools
import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from spinward.errors import DamagedFileError

LARGEST = 2**28  # bytes of a record
MOST = 2**24  # whole numbers of a list
POLYNOMIAL, MASK = 0x82F63B78, 0xA282EAD8  # Castagnoli's, reflected; added to a rotated checksum
LANES = 2**12  # bytes from which parts of a record are summed side by side
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
LISTS = {1: "bytes", 2: "float", 3: "int"}  # fields of a Feature

Values = np.ndarray | list[bytes]  # of a feature


@functools.cache
def table() -> np.ndarray:
    """The checksum of each byte."""
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, (values >> 1) ^ np.uint32(POLYNOMIAL), values >> 1)
    return values.astype(np.uint32)


def plain(data: np.ndarray, start: int) -> int:
    """The state of the checksum after bytes, one after another."""
    entries, state = table().tolist(), start
    for byte in data.tolist():
        state = entries[(state ^ byte) & 255] ^ (state >> 8)
    return state


def after_zeros(state: np.ndarray, count: int) -> np.ndarray:
    """States of the checksum [lane] after `count` bytes of 0, by squaring the step of one bit."""
    columns = np.array(
        [POLYNOMIAL] + [1 << i for i in range(31)], np.uint32
    )  # where each bit goes in the step of one bit
    bits = 8 * count
    while bits:
        if bits & 1:
            state = applied(columns, state)
        columns = applied(columns, columns)
        bits >>= 1
    return state


def applied(columns: np.ndarray, states: np.ndarray) -> np.ndarray:
    """A linear map of bits, given by where each goes, of each state."""
    out = np.zeros_like(states)
    for i in range(32):
        out ^= np.where((states >> np.uint32(i)) & np.uint32(1), columns[i], np.uint32(0))
    return out


def crc32c(data: bytes) -> int:
    """The CRC-32C of bytes (RFC 3720). Long ones are cut into parts of one length, which are summed
    side by side; the checksum of a whole follows from those of its parts."""
    array = np.frombuffer(data, np.uint8)
    if len(array) < LANES:
        return plain(array, 0xFFFFFFFF) ^ 0xFFFFFFFF
    lanes = 1 << (int(len(array) ** 0.5).bit_length() - 1)
    length = len(array) // lanes
    parts = array[: lanes * length].reshape(lanes, length).T.copy()
    state, entries = np.zeros(lanes, np.uint32), table()
    state[0] = 0xFFFFFFFF
    for column in parts:
        state = entries[(state ^ column) & np.uint32(255)] ^ (state >> np.uint32(8))
    while len(state) > 1:  # the first of two parts is followed by as many bytes as the second has
        state = after_zeros(state[::2], length) ^ state[1::2]
        length *= 2
    return plain(array[lanes * (len(array) // lanes) :], int(state[0])) ^ 0xFFFFFFFF


def masked(checksum: int) -> int:
    return ((checksum >> 15 | checksum << 17) + MASK) & 0xFFFFFFFF


def records(path: Path, check: bool = True) -> Iterator[bytes]:
    """The records of a file, one at a time.

    Raises:
        DamagedFileError: a byte is not as it was written, or the file was cut.
    """
    with open(path, "rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        file: BinaryIO = gzip.GzipFile(fileobj=raw) if zipped else raw  # type: ignore[assignment]
        number = at = 0
        try:
            while record := one(path, file, number, at, check):
                yield record[0]
                number, at = number + 1, at + len(record[0]) + 16
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DamagedFileError(f"{path}: record {number} cannot be unpacked: {error}") from None


def one(path: Path, file: BinaryIO, number: int, at: int, check: bool) -> tuple[bytes] | None:
    """The next record; None at the end of the file."""
    where = f"{path}: record {number} (byte {at:,})"
    head = file.read(12)
    if not head:
        return None
    if len(head) < 12:
        raise DamagedFileError(f"{where}: the file was cut")
    length, expected = struct.unpack("<QI", head)
    if masked(crc32c(head[:8])) != expected:
        raise DamagedFileError(f"{where}: its length has another checksum")
    if length > LARGEST:
        raise DamagedFileError(f"{where}: it has {length:,} bytes; not read")
    data = file.read(length + 4)
    if len(data) < length + 4:
        raise DamagedFileError(f"{where}: the file was cut")
    if check and masked(crc32c(data[:-4])) != struct.unpack("<I", data[-4:])[0]:
        raise DamagedFileError(f"{where}: its bytes are not those that were written")
    return (data[:-4],)


def example(data: bytes) -> dict[str, Values]:
    """The features of a `tf.train.Example`, by their names.

    Raises:
        ValueError: it is none.
    """
    features_by_name: dict[str, Values] = {}
    for number, features in fields(data):
        if number != 1:
            continue
        for entry_number, entry in fields(as_bytes(features)):
            if entry_number != 1:
                continue
            parts = dict(fields(as_bytes(entry)))
            name = as_bytes(parts.get(1, b"")).decode()
            if name in features_by_name:
                raise ValueError(f"the feature {name!r:.60} is there twice")
            features_by_name[name] = feature(as_bytes(parts.get(2, b"")))
    return features_by_name


def feature(data: bytes) -> Values:
    """The values of a Feature: a list of bytes, or an array of numbers."""
    values: Values = np.zeros(0, np.float32)
    for number, content in fields(data):
        if number in LISTS:
            parts = [part for field, part in fields(as_bytes(content)) if field == 1]
            values = of_list(LISTS[number], parts)
    return values


def of_list(kind: str, parts: list[bytes | int]) -> Values:
    if kind == "bytes":
        return [as_bytes(part) for part in parts]
    if kind == "int":
        pieces = [varints(p) if isinstance(p, bytes) else np.array([p], np.uint64) for p in parts]
        whole = np.concatenate([np.zeros(0, np.uint64), *pieces])
        return whole.view(np.int64)
    single = b"".join(p if isinstance(p, bytes) else struct.pack("<I", p) for p in parts)
    if len(single) % 4:
        raise ValueError("a list of floats has a part of one")
    return np.frombuffer(single, "<f4")


def fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The numbers and contents of the fields of a message of Protocol Buffers."""
    at, size = 0, len(data)
    while at < size:
        key, at = varint(data, at)
        kind, number = key & 7, key >> 3
        if kind == VARINT:
            value, at = varint(data, at)
            yield number, value
            continue
        length, at = varint(data, at) if kind == BYTES else (WIDTHS.get(kind, -1), at)
        if not 0 <= length <= size - at:
            raise ValueError(f"field {number} has {length} bytes, of which {size - at} are there")
        content = data[at : at + length]
        at += length
        yield number, content if kind != FIXED32 else struct.unpack("<I", content)[0]


WIDTHS = {FIXED64: 8, FIXED32: 4}


def as_bytes(content: bytes | int) -> bytes:
    if not isinstance(content, bytes):
        raise ValueError("found a number where a message was expected")
    return content


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A whole number of any length, and where the next field begins."""
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise ValueError("a whole number has no end")


def varints(data: bytes) -> np.ndarray:
    """Whole numbers one after another, as unsigned ones."""
    array = np.frombuffer(data, np.uint8)
    if np.count_nonzero(array < 128) > MOST:
        raise ValueError(f"a list of more than {MOST:,} whole numbers")
    last = np.flatnonzero(array < 128)
    if len(array) and (not len(last) or last[-1] != len(array) - 1):
        raise ValueError("a whole number has no end")
    first = np.concatenate([[0], last[:-1] + 1]).astype(np.int64)[: len(last)]
    length = last - first + 1
    if len(last) and length.max() > 10:
        raise ValueError("a whole number has more than 64 bits")
    values = np.zeros(len(last), np.uint64)
    for i in range(int(length.max(initial=0))):
        has = length > i
        part = (array[first[has] + i] & 127).astype(np.uint64)
        values[has] |= part << np.uint64(7 * i)
    return values
