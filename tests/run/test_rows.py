"""Files of rows as people have them, and files that are none."""

import gzip
import json
import tracemalloc

import pytest

from spinward.errors import DamagedFileError, SettingsError
from spinward.language import row_files as rows
from spinward.language.row_files import rows_of

SEPARATORS = ("\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e")


def written(path, *values, end="\n"):
    lines = [json.dumps(value, ensure_ascii=False) for value in values]
    path.write_bytes(end.join(lines).encode())
    return path


def read(path, skipped=None):
    return [row for _, row in rows_of(path, skipped)]


@pytest.mark.parametrize("mark", SEPARATORS[:3])
def test_a_line_ends_at_a_line_feed_alone(tmp_path, mark):
    first, second = {"text": f"a{mark}b"}, {"text": mark}
    path = written(tmp_path / "rows.jsonl", first, second)
    assert mark.encode() in path.read_bytes()  # as it is, not escaped
    assert read(path) == [first, second]
    assert [where for where, _ in rows_of(path)] == [f"{path}, row 1", f"{path}, row 2"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\n \n"])
def test_line_ends_and_empty_lines_of_any_system_are_read(tmp_path, end):
    path = written(tmp_path / "rows.jsonl", {"text": "a"}, {"text": "b"}, end=end)
    assert read(path) == [{"text": "a"}, {"text": "b"}]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf", b"\n\n"])
def test_byte_order_marks_gzip_and_arrays_are_read(tmp_path, packed, array, mark):
    wanted = [{"text": "caf\xe9"}, {"text": "\u2028"}]
    lines = "\n".join(json.dumps(x, ensure_ascii=False) for x in wanted)
    text = json.dumps(wanted, indent=1, ensure_ascii=False) if array else lines
    data = mark + text.encode()
    path = tmp_path / "rows.any"  # by its content, whatever its name
    path.write_bytes(gzip.compress(data, mtime=0) if packed else data)
    assert read(path) == wanted
    offset = 1 if array else 1 + mark.count(b"\n")
    assert next(where for where, _ in rows_of(path)) == f"{path}, row {offset}"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'{"a": 1}\n{"a": ', "row 2 is no JSON: "),
        (b'{"a": 1}\n7', "row 2 is no JSON object: '7'"),
        (b'{"a": 1}\n{"b": "\xff"}', "row 2 is no UTF-8 text: .*byte 16"),
        (b'\xef\xbb\xbf{"b": "\xff"}', "row 1 is no UTF-8 text: .*byte 10"),
        (b'[{"a": 1}, 3]', "row 2 is no JSON object: '3'"),
        (b'{"a": ' + b"[" * 100_000 + b"}", "row 1 is no JSON"),
        (b'{"a": ' + b"1" * 10_000 + b"}", "row 1 is no JSON"),
    ],
)
def test_a_row_that_is_none_is_named_or_skipped(tmp_path, data, told):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    with pytest.raises(DamagedFileError, match=told):
        read(path)
    skipped = []
    kept = read(path, skipped)
    assert len(skipped) == 1 and kept == [{"a": 1}] * (b'{"a": 1}' in data)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ('{"a": 1}'.encode("utf-16"), "UTF-16; save it as UTF-8"),
        (b'[{"a": 1},', "is no JSON"),
        (gzip.compress(b'{"a": 1}', mtime=0)[:-6], "is damaged"),
        (gzip.compress(b'{"a": 1}', mtime=0)[:12], "is damaged"),
        (gzip.compress(b'{"a": 1}' * 9, mtime=0)[:12] + b"!!!!!!!!!!!!!!!!", "is damaged"),
    ],
)
def test_a_file_that_is_damaged_is_told_even_where_rows_may_be_skipped(tmp_path, data, told):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    for skipped in (None, []):
        with pytest.raises(DamagedFileError, match=told):
            read(path, skipped)


@pytest.mark.parametrize("data", [b"", b"\n \n", b"[]", gzip.compress(b"", mtime=0)])
def test_a_file_without_rows_is_told(tmp_path, data):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    with pytest.raises(SettingsError, match="has no rows"):
        read(path)


@pytest.mark.parametrize("begins", [b"{", b"[", b'{"a": 1}\n'])
def test_a_file_that_unpacks_to_more_than_a_limit_stops_there(tmp_path, monkeypatch, begins):
    monkeypatch.setattr(rows, "LARGEST", 2**22)
    monkeypatch.setattr(rows, "LONGEST", 2**20)
    path = tmp_path / "bomb.jsonl"
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(begins)
        for _ in range(64):
            file.write((b" " * 1023 + b"\n") * 1024 if begins.endswith(b"\n") else b" " * 2**20)
    tracemalloc.start()
    with pytest.raises(DamagedFileError, match="more than"):
        read(path, [])
    assert tracemalloc.get_traced_memory()[1] < 2**24  # of the 64 MiB in it
    tracemalloc.stop()
