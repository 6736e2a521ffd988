"""The head of a GGUF file, walked once before the package reads it: all that it counts must lie in
the file. The package itself loops as often as a count says, whatever the file's size.
"""

import struct
from pathlib import Path
from typing import BinaryIO

from spinward.errors import DamagedFileError

MAGIC = b"GGUF"
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of kinds of number
TEXT, ARRAY = 8, 9
TENSORS, VALUES = 2**16, 2**14  # in a file, at most
ELEMENTS = 2**21  # of an array
DIMENSIONS = 4


def check(path: Path) -> None:
    """Raises DamagedFileError where the head of a file is not what a reader can trust."""
    size = path.stat().st_size
    try:
        with open(path, "rb") as file:
            Walk(file, size).head()
    except (ValueError, struct.error) as error:
        raise DamagedFileError(f"{path} is no GGUF file, or is cut off: {error!s:.120}") from None


class Walk:
    """A place in an open file, which never leaves it."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size

    def head(self) -> None:
        if self.file.read(4) != MAGIC:
            raise ValueError("it does not begin with GGUF")
        version, tensors, values = self.numbers("<IQQ")
        if version not in (2, 3):
            raise ValueError(f"version {version} is not read")
        for name, count, most in (("tensors", tensors, TENSORS), ("values", values, VALUES)):
            if count > most:
                raise ValueError(f"{count} {name} are more than {most}")
        for _ in range(values):
            self.text()
            (kind,) = self.numbers("<I")
            self.value(kind)
        for _ in range(tensors):
            self.text()
            (count,) = self.numbers("<I")
            if count > DIMENSIONS:
                raise ValueError(f"an array of {count} dimensions")
            shape = self.numbers(f"<{count}Q")
            if any(n > 2**40 for n in shape):
                raise ValueError(f"an array of shape {list(shape)}")
            _, offset = self.numbers("<IQ")
            if offset > self.size:
                raise ValueError(f"an array at byte {offset} of {self.size}")

    def value(self, kind: int, within: bool = False) -> None:
        """Passes over a value of a kind; an array holds no other array."""
        if kind in SIZES:
            self.skip(SIZES[kind])
        elif kind == TEXT:
            self.text()
        elif kind == ARRAY and not within:
            kind, count = self.numbers("<IQ")
            if count > ELEMENTS:
                raise ValueError(f"an array of {count} elements is more than {ELEMENTS}")
            if kind in SIZES:
                self.skip(SIZES[kind] * count)
            else:
                for _ in range(count):
                    self.value(kind, within=True)
        else:
            raise ValueError(f"a value of kind {kind}")

    def text(self) -> None:
        self.skip(*self.numbers("<Q"))

    def numbers(self, form: str) -> tuple[int, ...]:
        data = self.file.read(struct.calcsize(form))
        return struct.unpack(form, data)

    def skip(self, count: int) -> None:
        if count > self.size - self.file.tell():
            raise ValueError(f"{count} bytes at {self.file.tell()} of {self.size}")
        self.file.seek(count, 1)
