"""Kinds of broken files, each refused by row and column, or repaired on request: none is silent."""

import gzip
import json

import numpy as np
import pytest
from test_data_import import GOOD, at, write
from test_data_store import written
from test_data_tools import CONTINUOUS, d4rl, flat_steps, steps_of

from spinward.cli import main
from spinward.core import Box, Dict, Discrete, Spec
from spinward.data import legacy, tables
from spinward.data.formats import converted, exported
from spinward.data.importing import import_table
from spinward.data.plan import ImportOptions
from spinward.errors import DamagedFileError, SettingsError

h5py = pytest.importorskip("h5py")
pytest.importorskip("pyarrow")
PICTURES = Spec(
    Dict((("goal", Box((2,))), ("image", Box((6, 6, 3), 0, 255, "uint8")))), Discrete(3)
)


def minari(tmp_path, spec):
    """A data set of Minari, open to be changed."""
    fields = steps_of(spec, np.random.default_rng(0))
    exported(written(tmp_path / "ours", fields, spec=spec), tmp_path / "minari", ImportOptions())
    return tmp_path / "minari", h5py.File(tmp_path / "minari/data/main_data.hdf5", "a")


def replaced(group, name, function):
    values = group[name][:]
    del group[name]
    group[name] = function(values)


def put(row, value):
    def function(values):
        values = values.astype(np.result_type(values, np.asarray(value).dtype))
        values[row] = value
        return values

    return function


MINARI = {
    "images in floats": (PICTURES, "observations/image", put((2, 1, 1, 1), 0.5), "none of uint8"),
    "images with other numbers": (PICTURES, "observations/image",
                                  lambda x: x.astype(np.int64) + 300, "none of uint8"),
    "the last step is missing": (PICTURES, "observations/goal", lambda x: x[:-1], "has shape"),
    "a choice in part": (PICTURES, "actions", put(1, 0.5), r"episode_0.*row 1 .*no choice"),
    "a choice too many": (PICTURES, "actions", put(1, 3), r"episode_0.*row 1 .*no choice"),
    "an action out of bounds": (CONTINUOUS, "actions", put((2, 0), 7.0), "row 2 .*out of bounds"),
    "an end of 2": (CONTINUOUS, "terminations", lambda x: x.astype(int) * 2, "neither true nor"),
    "a reward in text": (CONTINUOUS, "rewards", lambda x: x.astype("S8"), "not numbers"),
    "both ends": (CONTINUOUS, "truncations", lambda x: ~np.zeros_like(x), "both true"),
    "NaN": (CONTINUOUS, "observations", put((1, 0), np.nan), "obs of step 1 .*not finite"),
    "another length": (CONTINUOUS, "rewards", lambda x: x[:-1], r"expected \(5, 3\)"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MINARI)
def test_minari_files_are_refused_by_episode_and_row(kind, tmp_path):
    spec, name, function, message = MINARI[kind]
    path, file = minari(tmp_path, spec)
    converted(path, tmp_path / "good", ImportOptions())
    with file:
        replaced(file["episode_0"], name, function)
    with pytest.raises(DamagedFileError, match=message):
        converted(path, tmp_path / "d", ImportOptions())
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("size", [0, 200, 3000, -1])
def test_a_minari_file_that_was_cut_is_refused(size, tmp_path):
    path, file = minari(tmp_path, CONTINUOUS)
    file.close()
    inner = path / "data/main_data.hdf5"
    inner.write_bytes(inner.read_bytes()[:size])
    with pytest.raises(DamagedFileError, match=r"main_data\.hdf5"):
        converted(path, tmp_path / "d", ImportOptions())


def test_ends_of_d4rl_that_are_no_truth_values_are_refused_by_row(tmp_path):
    fields = flat_steps(np.random.default_rng(0))
    for value in (0.5, np.nan, 2.0):
        terminals = np.where(np.arange(15) == 6, value, fields["terminated"])
        path = d4rl(tmp_path / "x.hdf5", fields, terminals=terminals)
        with pytest.raises(DamagedFileError, match=r"row 6 .*terminals is neither true nor false"):
            converted(path, tmp_path / "d", ImportOptions())


def test_an_action_that_never_differs_is_said_of_every_format(tmp_path, capsys):
    fields = flat_steps(np.random.default_rng(0))
    path = d4rl(tmp_path / "x.hdf5", fields, actions=0 * fields["action"])
    assert "the action never differs" in converted(path, tmp_path / "d", ImportOptions())[-1]
    np.savez(tmp_path / "y.npz", **fields | {"action": np.ones(15, np.int32)})
    words = ["data", "convert", str(tmp_path / "y.npz"), "--out", str(tmp_path / "e")]
    assert main.main(words) == 0 and "the action never differs" in capsys.readouterr().err


def test_a_parquet_file_that_unpacks_to_too_much_is_not_read(tmp_path, monkeypatch):
    path = write(tmp_path / "x.parquet", GOOD)
    monkeypatch.setattr(tables, "GROUP", 50)
    with pytest.raises(DamagedFileError, match=r"rows would unpack to [\d,]+ bytes"):
        import_table(path, tmp_path / "d", ImportOptions())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.pkl", b"\x80\x04\x95K."),
        ("x.npy", b"\x93NUMPY\x01\x00"),
        ("x.npz", b"PK\5\6" + bytes(18)),
        ("x.npz", gzip.compress(b"0" * 2**20)),
        ("x.hdf5", b"\x89HDF\r\n\x1a\n"),
        ("x.tfrecord", b"\x01"),
        ("x.parquet", b"PAR1PAR1"),
        ("x.csv", b""),
        ("x.csv", b"\xff\xfe\x00\x01,2\n"),
        ("x.jsonl", b"[" * 100_000),
        ("x.xlsx", b"PK\3\4"),
    ],
)
def test_files_of_other_things_are_refused_in_one_line(name, content, tmp_path, capsys):
    path = tmp_path / name
    path.write_bytes(content)
    verb = "import" if path.suffix in (".csv", ".jsonl", ".parquet", ".xlsx") else "convert"
    assert main.main(["data", verb, str(path), "--out", str(tmp_path / "d")]) in (2, 4)
    said = capsys.readouterr().err.strip()
    assert name in said and len(said.splitlines()) == 1 and "unexpected" not in said
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_header_of_an_array_that_cannot_be_parsed_is_refused(tmp_path):
    import zipfile

    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,((( ".ljust(117) + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(12)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
        file.writestr("obs.npy", data)
    with pytest.raises(DamagedFileError, match=r"x\.npz is no npz file"):
        legacy.write(tmp_path / "x.npz", tmp_path / "d", None)


def test_duplicated_names_of_episodes_and_mixed_types_are_told(tmp_path):
    rows = [*GOOD, *(r | {"episode": 0, "time": r["time"] + 4} for r in GOOD[:4])]
    path = write(tmp_path / "x.parquet", rows)
    with pytest.raises(SettingsError, match="row 13, column episode: an episode goes on after"):
        import_table(path, tmp_path / "d", ImportOptions())
    lines = [json.dumps(row) for row in at(GOOD, 4, terminated="maybe")]
    (tmp_path / "y.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises((DamagedFileError, SettingsError), match="row 5, column terminated"):
        import_table(tmp_path / "y.jsonl", tmp_path / "d", ImportOptions())
    assert not (tmp_path / "d").exists()
