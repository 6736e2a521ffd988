"""Columns of a table as arrays of numbers, and what is wrong with their cells."""

from typing import Any, NamedTuple

import numpy as np

from spinward.data.tables import arrow

NUMBER, TRUTH, CATEGORY, LIST = "number", "truth value", "category", "list"
MOST = 100  # values of a category, each of which becomes a number of its own
TRUE, FALSE = ("true", "1", "yes", "t", "y"), ("false", "0", "no", "f", "n")


class Input(NamedTuple):
    """A column, and how its cells become numbers."""

    column: str
    kind: str
    width: int = 1  # numbers of a cell
    values: tuple[str, ...] = ()  # of a category, in their order
    fill: float | None = None  # stands for a missing cell; then a number says if it was there


def kind_of(dtype: Any) -> str:
    """The kind of a column of an Arrow type; empty for what cannot become numbers."""
    types = arrow().types
    if types.is_boolean(dtype):
        return TRUTH
    if is_text(dtype) or types.is_dictionary(dtype):
        return CATEGORY
    if is_list(dtype):
        return LIST
    numeric = types.is_integer(dtype) or types.is_floating(dtype) or types.is_decimal(dtype)
    return NUMBER if numeric or types.is_null(dtype) else ""


def is_text(dtype: Any) -> bool:
    types = arrow().types
    return bool(types.is_string(dtype) or types.is_large_string(dtype))


def is_list(dtype: Any) -> bool:
    types = arrow().types
    return bool(
        types.is_list(dtype) or types.is_large_list(dtype) or types.is_fixed_size_list(dtype)
    )


def is_whole(dtype: Any) -> bool:
    types = arrow().types
    return bool(types.is_integer(dtype) or types.is_boolean(dtype))


def texts(array: Any) -> tuple[np.ndarray, list[str], np.ndarray]:
    """A column of texts as numbers [rows] of a list of distinct texts, and which are missing."""
    pa = arrow()
    coded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    missing = array.is_null().to_numpy(zero_copy_only=False)
    index = coded.indices.fill_null(0).to_numpy(zero_copy_only=False)
    return index, [str(v) for v in coded.dictionary.to_pylist()], missing


def numbers(array: Any) -> np.ndarray:
    """A column of numbers or truth values [rows]; NaN where a cell is missing."""
    pa = arrow()
    if array.null_count or not pa.types.is_floating(array.type):
        # Whole numbers beyond 2**53 are rounded, as times in nanoseconds are.
        array = array.cast(pa.float64(), safe=not pa.types.is_integer(array.type))
    return np.asarray(array.to_numpy(zero_copy_only=False), np.float64)


def wholes(array: Any) -> tuple[np.ndarray, np.ndarray]:
    """A column of whole numbers [rows], and which are missing."""
    pa = arrow()
    missing = array.is_null().to_numpy(zero_copy_only=False)
    return array.fill_null(0).cast(pa.int64()).to_numpy(zero_copy_only=False), missing


def lists(array: Any, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A column of lists as numbers [rows, width]; and which lists are missing or have another
    length, whose numbers are NaN."""
    pc = arrow().compute
    lengths = pc.list_value_length(array).fill_null(-1).to_numpy(zero_copy_only=False)
    wrong = lengths != width
    if wrong.any():
        array = array.filter(arrow().array(~wrong))
    out = np.full((len(wrong), width), np.nan)
    out[~wrong] = numbers(pc.list_flatten(array)).reshape(-1, width)
    return out, wrong


def features(array: Any, how: Input) -> np.ndarray:
    """The numbers [rows, width] of a column; NaN where a cell is missing or is none of them. A text
    that is missing and may be is none of the values."""
    if how.kind == LIST:
        return lists(array, how.width)[0]
    if how.kind != CATEGORY:
        values = numbers(array)
        if how.fill is None:
            return values[:, None]
        missing = np.isnan(values)
        return np.stack([np.where(missing, how.fill, values), ~missing], 1)
    index, names, missing = texts(array)
    place = {name: i for i, name in enumerate(how.values)}
    known = np.array([place.get(name, -1) for name in names] or [-1])[index]
    out = (known[:, None] == np.arange(how.width)).astype(np.float64)
    out[known < 0] = np.nan
    out[missing] = np.nan if how.fill is None else 0.0
    return out


def flags(array: Any) -> tuple[np.ndarray, np.ndarray]:
    """A column of truth values [rows], and which cells are none."""
    if kind_of(array.type) == CATEGORY:
        index, names, missing = texts(array)
        lower = [name.strip().lower() for name in names] or [""]
        true = np.array([n in TRUE for n in lower])[index]
        known = np.array([n in TRUE or n in FALSE for n in lower])[index]
        return true, missing | ~known
    values = numbers(array)
    return values == 1.0, (values != 0.0) & (values != 1.0)


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would compute the cell."""
    start = text.lstrip()[:1]
    return start in ("=", "@") or (start in ("+", "-") and not is_number(text))


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
