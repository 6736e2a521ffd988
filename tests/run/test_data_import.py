"""A table is imported as what it says, and what no step may be is told by row and column."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from spinward.cli import main
from spinward.core import Box, Dict, Discrete
from spinward.data import store, tables
from spinward.data.importing import import_table
from spinward.data.plan import ImportOptions
from spinward.data.steps import read_data
from spinward.errors import DamagedFileError, SettingsError

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet  # noqa: E402


def decisions(lengths, seed=0, extra=()):
    """Rows of episodes of these lengths; every other one ends terminated."""
    rng, rows = np.random.default_rng(seed), []
    for episode, length in enumerate(lengths):
        for step in range(length):
            row = {"episode": f"e{episode}", "step": step}
            row |= {f"obs_{i}": float(np.float32(rng.normal())) for i in range(11)}
            row |= {"device": ["ios", "web", "tv"][rng.integers(3)]}
            row |= {"action": int(rng.integers(3)), "reward": float(np.float32(rng.normal()))}
            row |= {"terminated": bool(step == length - 1 and episode % 2 == 0)}
            row |= {"action_prob": float(rng.integers(1, 5) / 4)}
            rows.append(row)
    return rows


def expected(rows):
    """The steps of rows that are sorted: the slow way, row by row."""
    steps = []
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        obs = [row[f"obs_{i}"] for i in range(11)]
        obs += [row["device"] == name for name in ("ios", "tv", "web")]
        row["features"] = obs
        same = after is not None and after["episode"] == row["episode"]
        if same and not row["terminated"]:
            following = [after[f"obs_{i}"] for i in range(11)]
            following += [after["device"] == name for name in ("ios", "tv", "web")]
            last = rows.index(after) + 1 == len(rows) or rows[rows.index(after) + 1][
                "episode"] != row["episode"]  # fmt: skip
            steps.append((obs, following, row, last and not after["terminated"]))
        elif row["terminated"]:
            steps.append((obs, obs, row, False))
    return steps


def assert_same(folder, steps):
    found = store.opened(folder)
    found.check()
    fields = found.at(np.arange(found.rows))
    assert found.rows == len(steps)
    for i, name in ((0, "obs"), (1, "next_obs")):
        np.testing.assert_array_equal(fields[name], np.float32([s[i] for s in steps]))
    for name in ("action", "reward", "terminated", "action_prob"):
        wanted = np.array([s[2][name] for s in steps])
        np.testing.assert_array_equal(fields[name], wanted.astype(fields[name].dtype))
    np.testing.assert_array_equal(fields["truncated"], [s[3] for s in steps])
    np.testing.assert_array_equal(fields["time"], [s[2]["step"] for s in steps])
    episode, _ = found.place(np.arange(found.rows))
    names = found.ids()[episode]
    assert [n.decode() for n in names] == [s[2]["episode"] for s in steps]
    return found


def write(path, rows):
    """A file of rows, in the format of its name."""
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.jsonl", "x.parquet"])
@pytest.mark.parametrize("block", [600, 2**23])
def test_every_format_and_every_size_of_block_gives_the_same_steps(
    name, block, tmp_path, monkeypatch
):
    rows = decisions([5, 1, 8, 2, 1, 1, 6, 3])
    monkeypatch.setattr(tables, "BLOCK", block)
    monkeypatch.setattr(tables, "ROWS", 5 if block == 600 else 2**16)
    path = write(tmp_path / name, rows)
    plan, notes = import_table(path, tmp_path / "d", ImportOptions())
    assert plan.roles.obs == (*(f"obs_{i}" for i in range(11)), "device") or plan.roles.obs
    found = assert_same(tmp_path / "d", expected(rows)) if "device" in plan.roles.obs else None
    if found is None:  # the guess takes columns that begin with obs; the rest is named
        said = {"obs": "obs_*,device"}
        plan, notes = import_table(path, tmp_path / "e", ImportOptions(roles=said))
        found = assert_same(tmp_path / "e", expected(rows))
    assert "4 last rows" in notes[0] and found.card.repaired == notes
    assert found.card.action == Discrete(3) and found.card.features[-3:] == (
        "device=ios", "device=tv", "device=web")  # fmt: skip


SAID = {"obs": "obs_*,device"}


def test_rows_in_any_order_are_sorted_on_request(tmp_path):
    rows = decisions([5, 2, 8, 3])
    mixed = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    path = write(tmp_path / "x.csv", mixed)
    with pytest.raises(SettingsError, match=r"--repair sort would sort the rows"):
        import_table(path, tmp_path / "d", ImportOptions(SAID))
    assert not (tmp_path / "d").exists()
    import_table(path, tmp_path / "d", ImportOptions(SAID, repair=("sort",)))
    steps = expected(rows)
    order = list(dict.fromkeys(row["episode"] for row in mixed))  # as they first appear
    steps = [s for name in order for s in steps if s[2]["episode"] == name]
    assert_same(tmp_path / "d", steps)
    again = write(tmp_path / "y.csv", [*mixed, dict(mixed[0])])
    with pytest.raises(SettingsError, match="second step of its time"):
        import_table(again, tmp_path / "e", ImportOptions(SAID, repair=("sort",)))
    import_table(again, tmp_path / "e", ImportOptions(SAID, repair=("sort", "duplicates")))
    assert_same(tmp_path / "e", steps)


def test_steps_with_a_missing_cell_cut_their_episode_on_request(tmp_path):
    rows = decisions([5, 6])
    rows[2]["obs_3"] = None
    rows[7]["reward"] = float("nan")
    path = write(tmp_path / "x.csv", rows)
    with pytest.raises(SettingsError, match=r"row 3, column obs_3: a missing.*1 more"):
        import_table(path, tmp_path / "d", ImportOptions(SAID))
    _, notes = import_table(path, tmp_path / "d", ImportOptions(SAID, repair=("missing",)))
    assert "2 rows left out" in notes[0]
    found = store.opened(tmp_path / "d")
    fields = found.at(np.arange(found.rows))
    kept = [0, 3, 4, 5, 8, 9]  # 1 and 6 are known as successors only, and so is the end, 10
    np.testing.assert_array_equal(fields["reward"], np.float32([rows[i]["reward"] for i in kept]))
    assert fields["cut"].tolist() == [True, False, False, True, False, True]
    assert fields["truncated"].tolist() == [True, False, False, True, False, True]
    assert fields["terminated"].tolist() == [False, False, True, False, False, False]


def test_only_done_is_refused_until_its_kind_is_said(tmp_path):
    rows = decisions([3, 4])
    for i, row in enumerate(rows):
        row |= {"done": i in (2, 6)}
        del row["terminated"]
    path = write(tmp_path / "x.csv", rows)
    with pytest.raises(SettingsError, match="done does not say which kind of end it is"):
        import_table(path, tmp_path / "d", ImportOptions(SAID))
    import_table(path, tmp_path / "d", ImportOptions(SAID, ends="terminated"))
    fields = store.opened(tmp_path / "d").at(np.arange(7))
    assert np.flatnonzero(fields["terminated"]).tolist() == [2, 6]
    import_table(path, tmp_path / "e", ImportOptions(SAID, ends="truncated"))
    fields = store.opened(tmp_path / "e").at(np.arange(5))
    assert np.flatnonzero(fields["truncated"]).tolist() == [1, 4] and not fields["terminated"].any()
    for row in rows:
        del row["done"]
    path = write(tmp_path / "y.csv", rows)
    with pytest.raises(SettingsError, match="no column says where episodes end"):
        import_table(path, tmp_path / "f", ImportOptions(SAID))
    import_table(path, tmp_path / "f", ImportOptions(SAID, ends="terminated"))
    fields = store.opened(tmp_path / "f").at(np.arange(7))
    assert np.flatnonzero(fields["terminated"]).tolist() == [2, 6]


def test_masks_continuous_actions_and_given_successors_are_understood(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        {"x": float(i), "action_0": float(rng.uniform(-2, 2)), "action_1": float(rng.uniform(0, 1)),
         "next_state_x": float(i) + 1, "reward": 1.0, "timeout": i == 4, "terminal": False,
         "allowed_0": i % 2, "allowed_1": True}
        for i in range(5)
    ]  # fmt: skip
    path = write(tmp_path / "x.jsonl", rows)
    import_table(path, tmp_path / "d", ImportOptions(low=-2.0, high=2.0))
    found = store.opened(tmp_path / "d")
    assert isinstance(found.card.obs, Dict) and found.card.action.bounded
    fields = found.at(np.arange(5))
    np.testing.assert_array_equal(fields["next_obs"]["obs"][:, 0], np.arange(1, 6))
    np.testing.assert_array_equal(fields["obs"]["action_mask"][:, 0], [0, 1, 0, 1, 0])
    action = found.card.action.from_unit(fields["action"])
    np.testing.assert_allclose(action[:, 0], [r["action_0"] for r in rows], rtol=1e-6)
    assert fields["truncated"].tolist() == [False] * 4 + [True] and found.card.action.low == (
        -2,
        -2,
    )


def test_lists_are_vectors(tmp_path):
    rows = [{"obs": [float(i), 2.0], "action": i % 2, "reward": 0.5, "terminated": i == 3}
            for i in range(4)]  # fmt: skip
    for name in ("x.jsonl", "x.parquet"):
        path = write(tmp_path / name, rows)
        import_table(path, tmp_path / name[2:], ImportOptions())
        found = store.opened(tmp_path / name[2:])
        assert found.card.obs == Box((2,))
        np.testing.assert_array_equal(found.at(np.arange(4))["obs"][:, 0], np.arange(4))
    rows[2]["obs"] = [1.0]
    with pytest.raises(SettingsError, match="row 3, column obs: a list of another length than 2"):
        import_table(write(tmp_path / "y.jsonl", rows), tmp_path / "d", ImportOptions())


def at(rows, number, **change):
    return [row | change if i == number else row for i, row in enumerate(rows)]


GOOD = [
    {"episode": i // 4, "time": i % 4, "obs_0": 0.5 * i, "action": i % 2, "reward": 1.0 * (i % 3),
     "terminated": i % 4 == 3, "truncated": False, "action_prob": 0.5}
    for i in range(12)
]  # fmt: skip
BAD = {
    "text in numbers": (at(GOOD, 5, obs_0="oops"), "row 6, column obs_0: 'oops'"),
    "reward in text": (at(GOOD, 5, reward="high"), "row 6, column reward: 'high'"),
    "a reward that is always text": ([r | {"reward": "high"} for r in GOOD], "column reward.*text"),
    "formula in numbers": (at(GOOD, 5, obs_0="=1+1"), "row 6, column obs_0: '=1\\+1'"),
    "missing": (at(GOOD, 7, obs_0=None), "row 8, column obs_0: a missing"),
    "infinite": (at(GOOD, 7, obs_0=float("inf")), "row 8, column obs_0: a missing or non-finite"),
    "too large": (at(GOOD, 7, reward=1e39), "row 8, column reward: a missing or non-finite"),
    "both ends": (at(GOOD, 3, truncated=True), "row 4: terminated and truncated are both true"),
    "unsorted": ([*GOOD[:5], GOOD[6], GOOD[5], *GOOD[7:]], "row 7, column time: a step before"),
    "torn": ([*GOOD[:4], *GOOD[8:], *GOOD[4:8], GOOD[0] | {"time": 9}],
             "row 13, column episode: an episode goes on"),
    "repeated": ([*GOOD[:5], *GOOD[4:]], "row 6, column time: a second step"),
    "constant action": ([r | {"action": 1} for r in GOOD], "column action: .*same in all 12"),
    "negative action": (at(GOOD, 2, action=-1), "column action goes down to -1"),
    "an action in part": (at(GOOD, 2, action=0.5), "row 3, column action: .*not whole"),
    "no flag": (at(GOOD, 2, terminated=2), "row 3, column terminated: expected true or false"),
    "certain": (at(GOOD, 2, action_prob=1.5), r"row 3, column action_prob: .*outside \(0, 1\]"),
    "impossible": (at(GOOD, 2, action_prob=0.0), r"row 3, column action_prob: .*outside \(0, 1\]"),
    "no episode": (at(GOOD, 2, episode=None), "row 3, column episode: an episode without a name"),
    "no reward": ([{k: v for k, v in r.items() if k != "reward"} for r in GOOD], "--reward"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_table_is_told_by_row_and_column_and_leaves_nothing(kind, tmp_path):
    rows, message = BAD[kind]
    plain = [{k: int(v) if isinstance(v, bool) else v for k, v in r.items()} for r in rows]
    path = write(tmp_path / "x.csv", plain)
    with pytest.raises((SettingsError, DamagedFileError), match=message):
        import_table(path, tmp_path / "d", ImportOptions())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.csv"]


def test_the_good_table_is_good(tmp_path):
    import_table(write(tmp_path / "x.csv", GOOD), tmp_path / "d", ImportOptions())
    assert store.opened(tmp_path / "d").rows == 12


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.parquet"])
def test_a_file_that_was_cut_is_told_wherever_it_was(name, tmp_path):
    path = write(tmp_path / name, GOOD)
    whole, told = path.read_bytes(), 0
    rng = np.random.default_rng(0)
    for size in sorted(rng.choice(len(whole) - 1, 40, replace=False)):
        path.write_bytes(whole[:size])
        lines = whole[: size + 1].count(b"\n")
        try:
            import_table(path, tmp_path / f"d{size}", ImportOptions())
        except (SettingsError, DamagedFileError) as error:
            told += 1
            assert str(path) in str(error) or "column" in str(error)
        else:  # cut between two lines: what is left is a table
            assert whole[size - 1 : size] == b"\n" and lines > 1
    assert told >= 38


def test_a_last_line_without_an_end_is_left_out_on_request(tmp_path):
    path = write(tmp_path / "x.csv", GOOD)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(SettingsError, match="row 12: the last line has no end"):
        import_table(path, tmp_path / "d", ImportOptions())
    import_table(path, tmp_path / "d", ImportOptions(repair=("last-line",)))
    assert store.opened(tmp_path / "d").rows == 10  # the step before it has no successor


def test_mixed_schemas_and_broken_lines_are_told_by_row(tmp_path):
    path = tmp_path / "x.jsonl"
    lines = [json.dumps(row) for row in GOOD]
    for bad, message in (
        ('{"obs_0": [1, 2]}', "row 4, column obs_0"),
        ('{"obs_0": 1', "row 4 is no JSON"),
        ("[1, 2]", "row 4 is no JSON object|row 4"),
    ):
        path.write_text("\n".join([*lines[:3], bad, *lines[4:]]) + "\n")
        with pytest.raises((DamagedFileError, SettingsError), match=message):
            import_table(path, tmp_path / "d", ImportOptions())
    path = tmp_path / "x.csv"
    write(path, GOOD)
    text = path.read_text().splitlines()
    text[4] = text[4] + ",7"
    path.write_text("\n".join(text) + "\n")
    with pytest.raises(DamagedFileError, match=r"row 4 has 9 columns; expected 8|Row #5"):
        import_table(path, tmp_path / "d", ImportOptions())


def test_formulas_in_texts_are_refused(tmp_path):
    rows = at([r | {"device": "ab"[i % 2]} for i, r in enumerate(GOOD)], 5, device="=cmd|'/c calc'")
    said = ImportOptions({"obs": "obs_0,device"})
    with pytest.raises(SettingsError, match=r"row 6, column device: .*is a formula"):
        import_table(write(tmp_path / "x.csv", rows), tmp_path / "d", said)


def test_repairs_are_done_and_noted(tmp_path):
    rows = [r | {"action": 1} for r in at(GOOD, 3, truncated=True)]
    path = write(tmp_path / "x.csv", [*rows[:5], *rows[4:]])
    options = ImportOptions(repair=("both-ends", "constant-action", "duplicates"))
    _, notes = import_table(path, tmp_path / "d", options)
    assert len(notes) == 2 and "both ends" in " ".join(notes)
    steps = read_data(tmp_path / "d", store.opened(tmp_path / "d").card.spec)
    assert len(steps.reward) == 12 and steps.terminated.sum() == 3 and not steps.truncated.any()
    with pytest.raises(SettingsError, match="there is no repair 'all'"):
        import_table(path, tmp_path / "e", dataclasses.replace(options, repair=("all",)))


def test_the_command_looks_first_and_then_imports(tmp_path, capsys):
    rows = [{k: v for k, v in r.items() if k not in ("terminated", "truncated")} for r in GOOD]
    path = str(write(tmp_path / "x.csv", rows))
    assert main.main(["data", "import", path, "--dry-run"]) == 2
    said = capsys.readouterr().out
    assert "episode: episode" in said and "refused: no column says where episodes end" in said
    out = str(tmp_path / "d")
    words = ["data", "import", path, "--ends", "terminated"]
    assert main.main([*words, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["refused"] == []
    assert main.main([*words, "--out", out]) == 0
    assert capsys.readouterr().out == f"12 steps in 3 episodes: {out}\n"
    assert main.main([*words, "--out", out]) == 2 and "exists" in capsys.readouterr().err
    assert main.main(["data", "import", path, "--reward", "rewrd", "--dry-run"]) == 2
    assert "did you mean reward?" in capsys.readouterr().err
    assert main.main(["train", "bc", "--data", out, "--steps", "20", "--updates", "10", "--out",
                      str(tmp_path)]) == 0  # fmt: skip


def test_without_pyarrow_the_command_that_installs_it_is_told(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SettingsError, match=r"pip install -e '\.\[data\]'"):
        import_table(write_csv(tmp_path), tmp_path / "d", ImportOptions())


def write_csv(folder):
    return write(folder / "x.csv", GOOD)


def test_missing_cells_that_may_be_get_the_mean_and_a_number_that_says_so(tmp_path):
    rows = [
        r | {"age": [None, 4.0, 8.0][i % 3], "device": [None, "b", "a", "a"][i % 4]}
        for i, r in enumerate(GOOD)
    ]
    path, said = write(tmp_path / "x.parquet", rows), {"obs": "obs_0,age,device"}
    with pytest.raises(SettingsError, match="row 1, column age: a missing"):
        import_table(path, tmp_path / "d", ImportOptions(said))
    with pytest.raises(SettingsError, match="row 1, column device: a missing cell"):
        import_table(path, tmp_path / "d", ImportOptions(said, fill="age"))
    plan, _ = import_table(path, tmp_path / "d", ImportOptions(said, fill="age,device"))
    assert "age (if missing 6, and whether it was there)" in " ".join(plan.lines())
    found = store.opened(tmp_path / "d")
    assert found.card.features == ("obs_0", "age", "age?", "device=a", "device=b")
    assert found.card.filled == {"age": 6.0, "device": 0.0}
    obs = found.at(np.arange(12))["obs"]
    wanted = [
        [r["obs_0"], r["age"] or 6.0, r["age"] is not None, r["device"] == "a", r["device"] == "b"]
        for r in rows
    ]
    np.testing.assert_array_equal(obs, np.float32(wanted))
    for i, row in enumerate(rows):  # what serves sees what learned saw
        np.testing.assert_array_equal(found.card.observe(row), obs[i])
    unknown = {"obs_0": 1.0, "age": float("nan")}
    np.testing.assert_array_equal(found.card.observe(unknown), [1.0, 6.0, 0.0, 0.0, 0.0])
    with pytest.raises(SettingsError, match="the row lacks obs_0"):
        found.card.observe({"age": 3.0})
    with pytest.raises(SettingsError, match="device='c' is not among the data's values"):
        found.card.observe({"obs_0": 1.0, "age": 1.0, "device": "c"})


def test_only_what_is_observed_and_not_infinite_is_filled(tmp_path):
    rows = at([r | {"age": 1.0 * i} for i, r in enumerate(GOOD)], 4, age=float("inf"))
    path = write(tmp_path / "x.parquet", rows)
    said = {"obs": "obs_0,age"}
    with pytest.raises(SettingsError, match="row 5, column age: a missing or non-finite"):
        import_table(path, tmp_path / "d", ImportOptions(said, fill="age"))
    with pytest.raises(SettingsError, match="--fill reward: it is no column of the observation"):
        import_table(path, tmp_path / "d", ImportOptions(said, fill="reward"))
    lists = [r | {"v": [[1.0, 2.0], None][i % 2]} for i, r in enumerate(GOOD)]
    path = write(tmp_path / "z.parquet", lists)
    with pytest.raises(SettingsError, match="--fill v: its cells are lists"):
        import_table(path, tmp_path / "d", ImportOptions({"obs": "obs_0,v"}, fill="v"))
    after = [r | {"age": None, "next_obs_0": 1.0, "next_age": [None, 2.0][i % 2]}
             for i, r in enumerate(GOOD)]  # fmt: skip
    said |= {"next_obs": "next_obs_0,next_age"}
    path = write(tmp_path / "y.parquet", after)
    import_table(path, tmp_path / "e", ImportOptions(said, fill="age"))
    fields = store.opened(tmp_path / "e").at(np.arange(2))
    np.testing.assert_array_equal(fields["next_obs"], [[1, 0, 0], [1, 2, 1]])


def test_a_given_successor_that_the_next_row_did_not_observe_is_kept_and_cuts(tmp_path):
    rows = [r | {"next_state_0": 0.5 * (i + 1)} for i, r in enumerate(GOOD)]
    said = ImportOptions({"obs": "obs_0", "next_obs": "next_state_0"})
    _, notes = import_table(write(tmp_path / "x.csv", rows), tmp_path / "d", said)
    assert not notes and not store.opened(tmp_path / "d").at(np.arange(12))["cut"].any()
    _, notes = import_table(write(tmp_path / "y.csv", at(rows, 5, next_state_0=99.0)),
                            tmp_path / "e", said)  # fmt: skip
    assert "1 steps lead to another observation than the row below has" in notes[0]
    fields = store.opened(tmp_path / "e").at(np.arange(12))
    assert fields["next_obs"][5] == 99.0 and fields["next_obs"][4] == 2.5
    assert np.flatnonzero(fields["cut"]).tolist() == [5] and fields["truncated"][5]


def test_times_may_be_dates_and_whole_numbers_may_be_beyond_what_float64_holds(tmp_path):
    moment = np.datetime64("2026-06-01T18:00:00.000001")
    rows = [
        r | {"at": (moment + np.timedelta64(r["time"], "D")).item(), "user": 2**60 + i}
        for i, r in enumerate(GOOD)
    ]
    rows = [{k: v for k, v in r.items() if k != "time"} for r in rows]
    said = {"obs": "obs_0,user", "time": "at"}
    path = write(tmp_path / "x.parquet", rows)
    plan, _ = import_table(path, tmp_path / "d", ImportOptions(said))
    assert "whole numbers of user are rounded" in " ".join(plan.lines())
    fields = store.opened(tmp_path / "d").at(np.arange(12))
    np.testing.assert_allclose(np.diff(fields["time"][:4]), 86400.0)
    np.testing.assert_allclose(fields["obs"][:, 1], 2.0**60)
    swapped = [*rows[:5], rows[6], rows[5], *rows[7:]]
    with pytest.raises(SettingsError, match="row 7, column at: a step before"):
        import_table(write(tmp_path / "y.parquet", swapped), tmp_path / "e", ImportOptions(said))
