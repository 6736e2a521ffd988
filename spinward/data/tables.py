"""Tables in CSV, JSON lines and Parquet files, read some rows at a time."""

import csv
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spinward.errors import DamagedFileError, SettingsError, install

KINDS = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
BLOCK = 2**23  # bytes of a file that are read at once
ROWS = 2**16  # of a Parquet file that are read at once
GROUP = 2**33  # bytes that a group of rows of a Parquet file may unpack to


def arrow() -> Any:
    """The module pyarrow.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.json
        import pyarrow.parquet
    except ImportError:
        raise SettingsError(f"tables need pyarrow: {install('pyarrow')}") from None
    return pyarrow


def refuse_table(path: Path) -> None:
    """Raises SettingsError for a table, which is no data set before it is imported."""
    if path.suffix.lower() in KINDS:
        raise SettingsError(
            f"{path} is a table: make a data set of it with spinward data import {path} --out DATA"
        )


class TableFile:
    """A file of rows. `floats` are columns whose numbers need not be whole, whatever the first rows
    have."""

    def __init__(self, path: Path, floats: frozenset[str] = frozenset()):
        self.path, self.floats = path, floats
        self.kind = KINDS.get(path.suffix.lower(), "")
        if not self.kind:
            raise SettingsError(f"{path}: expected a table that ends in {', '.join(KINDS)}")
        if not path.is_file():
            raise SettingsError(f"there is no file {path}")

    def schema(self) -> Any:
        """The names and types of the columns."""
        batch = next(self.batches(), None)
        if batch is None or batch.num_columns == 0:
            raise DamagedFileError(f"{self.path} has no rows")
        names = batch.schema.names
        if double := [name for name in names if names.count(name) > 1]:
            raise DamagedFileError(f"{self.path} has the column {double[0]!r} twice")
        return batch.schema

    def batches(self) -> Iterator[Any]:
        """The rows, some at a time.

        Raises:
            DamagedFileError: a row cannot be read; the message has its number.
        """
        pa = arrow()
        try:
            yield from {"csv": self.csv, "jsonl": self.json, "parquet": self.parquet}[self.kind](pa)
        except (pa.ArrowInvalid, pa.ArrowKeyError, OSError, UnicodeDecodeError) as error:
            what = self.diagnosis() or " ".join(str(error).split())[:200]
            raise DamagedFileError(f"{self.path}: {what}") from None

    def csv(self, pa: Any) -> Iterator[Any]:
        types = dict.fromkeys(self.floats, pa.float64())
        options = pa.csv.ConvertOptions(column_types=types, strings_can_be_null=True)
        parse = pa.csv.ParseOptions(delimiter="\t" if self.path.suffix == ".tsv" else ",")
        read = pa.csv.ReadOptions(block_size=BLOCK, use_threads=False)
        with pa.csv.open_csv(self.path, read, parse, options) as reader:
            yield from reader

    def json(self, pa: Any) -> Iterator[Any]:
        fields = [pa.field(name, pa.float64()) for name in sorted(self.floats)]
        parse = pa.json.ParseOptions(explicit_schema=pa.schema(fields) if fields else None)
        read = pa.json.ReadOptions(block_size=BLOCK, use_threads=False)
        with pa.json.open_json(self.path, read, parse) as reader:
            yield from reader

    def parquet(self, pa: Any) -> Iterator[Any]:
        with pa.parquet.ParquetFile(self.path, pre_buffer=False) as file:
            for i in range(file.metadata.num_row_groups):
                size = file.metadata.row_group(i).total_byte_size
                if size > GROUP:
                    raise DamagedFileError(f"{self.path}: rows would unpack to {size:,} bytes")
            yield from file.iter_batches(ROWS)

    def diagnosis(self) -> str:
        """What is wrong with the first row that cannot be read, if that can be said."""
        try:
            if self.kind == "csv":
                return self.first_bad_line()
            if self.kind == "jsonl":
                return self.first_bad_object()
        except (UnicodeDecodeError, csv.Error, OSError) as error:
            return str(error)
        return ""

    def first_bad_line(self) -> str:
        delimiter = "\t" if self.path.suffix == ".tsv" else ","
        with open(self.path, newline="", encoding="utf-8") as file:
            rows = csv.reader(file, delimiter=delimiter)
            names = next(rows, [])
            whole = self.whole_numbers(names)
            for number, row in enumerate(rows, 1):
                if row and len(row) != len(names):
                    return f"row {number} has {len(row)} columns; expected {len(names)}"
                for name, cell in zip(names, row, strict=False):
                    if wrong := not_a_number(cell, name in whole, name in self.floats):
                        return f"row {number}, column {name}: {wrong}"
        return ""

    def whole_numbers(self, names: list[str]) -> set[str]:
        """The columns of a CSV file that have whole numbers in the first rows."""
        with open(self.path, newline="", encoding="utf-8") as file:
            delimiter = "\t" if self.path.suffix == ".tsv" else ","
            rows = itertools.islice(csv.DictReader(file, names, delimiter=delimiter), 1, 101)
            columns: dict[str, list[str]] = {name: [] for name in names}
            for row in rows:
                for name in names:
                    columns[name].append(row[name] or "")
        return {n for n, cells in columns.items() if cells and all(map(is_whole, cells))}

    def first_bad_object(self) -> str:
        kinds: dict[str, str] = {}
        with open(self.path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    return f"row {number} is no JSON: {error}"
                if not isinstance(row, dict):
                    return f"row {number} is no JSON object: {line!r:.60}"
                for name, value in row.items():
                    kind = kind_of(value)
                    if kind and kinds.setdefault(name, kind) != kind:
                        text = json.dumps(value)
                        return f"row {number}, column {name}: {text:.60}, not a {kinds[name]}"
        return ""


def kind_of(value: Any) -> str:
    """The kind of a JSON value; empty for null, which every column may have."""
    if isinstance(value, bool):
        return "truth value"
    kinds = {int: "number", float: "number", str: "text", list: "list", dict: "object"}
    return kinds.get(type(value), "")


def is_whole(cell: str) -> bool:
    return cell.strip().lstrip("+-").isdigit()


def not_a_number(cell: str, whole: bool, number: bool) -> str:
    """Why a cell does not fit a column of numbers; empty where it does."""
    if not (whole or number) or cell.strip().lower() in ("", "nan", "null", "na", "n/a"):
        return ""
    kind = "a formula" if cell.lstrip().startswith(("=", "@")) else "text"
    try:
        float(cell)
    except ValueError:
        return f"{cell!r:.60} is {kind}, not a number"
    return "" if number or is_whole(cell) else f"{cell!r:.60} is not a whole number"


def last_line_ends(path: Path) -> bool:
    """Whether the last line of a text file is ended, as a file has that was written whole."""
    with open(path, "rb") as file:
        file.seek(0, 2)
        if file.tell() == 0:
            return True
        file.seek(-1, 2)
        return file.read(1) == b"\n"
