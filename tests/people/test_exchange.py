"""Labels to files and back, and to the layouts of public preference data."""

import json

import pytest

from spinward.cli.main import main
from spinward.errors import DamagedFileError, SettingsError
from spinward.language import row_layouts
from spinward.people import database as databases
from spinward.people import exchange, texts
from spinward.people.accounts import Accounts
from spinward.people.labels import Labels


@pytest.fixture
def answered(tmp_path):
    """A database with a pair, a ranking, an undone answer and a known answer."""
    folder = tmp_path / "one"
    folder.mkdir()
    database = databases.of_run(folder, create=True)
    labels = Labels(database)
    ann = Accounts(database).named("Ann").id
    items = [labels.add_item("text", str(i), f"{i} ansér".encode()) for i in range(5)]
    labels.ask("gold", (items[0], items[4]), "Known?", priority=2.0, gold="first")
    labels.ask("pair", (items[0], items[1]), "Which?\nTell.", priority=1.0)
    labels.ask("rank", tuple(items[2:]), "Rank.")
    for answer in ("first", "second"):
        labels.answer(ann, labels.next(ann).id, answer, f"a {answer}")
    labels.undo(ann, "undo")
    labels.answer(ann, labels.next(ann).id, "second", "again")
    q = labels.next(ann)
    labels.rank(ann, q.id, (items[4], items[2], items[3]), "ranked")
    yield database
    database.close()


def empty(tmp_path):
    folder = tmp_path / "other"
    folder.mkdir(exist_ok=True)
    return databases.of_run(folder, create=True)


def test_everything_reads_back_as_it_was(answered, tmp_path):
    path = tmp_path / "labels.jsonl"
    assert exchange.export(answered, path) == len(path.read_text().splitlines())
    other = empty(tmp_path)
    assert exchange.read_all(other, path) == 7
    assert Labels(other).labels() == Labels(answered).labels() and Labels(other).labels()
    assert exchange.read_all(other, path) == 0  # again: nothing twice
    assert exchange.summary(other) == exchange.summary(answered)
    again = tmp_path / "again.jsonl"
    exchange.export(other, again)
    assert again.read_bytes() == path.read_bytes()
    other.close()


@pytest.mark.parametrize("layout", exchange.LAYOUTS[1:])
def test_public_layouts_convert_both_ways(answered, tmp_path, layout):
    path = tmp_path / "rows.jsonl"
    assert exchange.export(answered, path, layout) == 4
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    read = [row_layouts.compared("row", row) for row in rows]  # as `reward-model` and `dpo` read
    said = [(exchange.plain(r["chosen"]).strip(), exchange.plain(r["rejected"]).strip())
            for r in read]  # fmt: skip
    assert said == [
        ("1 ansér", "0 ansér"), ("2 ansér", "3 ansér"), ("4 ansér", "2 ansér"),
        ("4 ansér", "3 ansér"),
    ]  # fmt: skip
    other = empty(tmp_path)
    assert exchange.read_preferences(other, path) == 4
    assert exchange.read_preferences(other, path) == 0
    labels = Labels(other)
    assert [x.share for x in labels.labels()] == [1.0] * 4
    assert exchange.text_of(labels, labels.labels()[0].first).strip() == "1 ansér"
    other.close()


def test_a_file_of_another_kind_run_or_version_is_refused(answered, tmp_path):
    path = tmp_path / "labels.jsonl"
    exchange.export(answered, path)
    good = path.read_text()
    other = empty(tmp_path)
    path.write_text(good.replace("spinward-labels-1", "spinward-labels-9"))
    with pytest.raises(SettingsError, match="expected labels that Spinward exported"):
        exchange.read_all(other, path)
    Labels(other).add_item("text", "0", b"another text")
    path.write_text(good)
    with pytest.raises(SettingsError, match="labels of another run"):
        exchange.read_all(other, path)
    assert exchange.summary(other)["questions"] == 0  # nothing of it is left behind
    damages = (
        ('"answer": "first"', '"answer": "left"'),
        ('"to": 1', '"to": 99'),
        ('"content": "', '"content": "!'),
        ('"items": [', '"items": [77, '),
    )
    for damage in damages:
        path.write_text(good.replace(*damage))
        fresh = databases.of_run(path.parent / "one")
        with pytest.raises((DamagedFileError, SettingsError), match=r"labels.jsonl, row \d+"):
            exchange.read_all(fresh, path)
        fresh.close()
    other.close()


TEXTS = [{"prompt": "a", "completions": ["x", "y"]}, {"prompt": "b", "completions": ["z", "z"]}]


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (None, 2, "there is no file"),
        (b"{", 4, "is no JSON"),
        (b"\xff\xfe{", 4, "is no UTF-8"),
        (b'{"prompt": "a"}', 2, "expected a prompt and a list of completions"),
        (b'{"prompt": "a", "completions": ["x"]}', 2, "expected 2 to 12 different answers"),
        (b'{"prompt": "a", "completions": ["x", "x"]}', 2, "are all the same"),
        (json.dumps({"prompt": "a", "completions": list("abcdefghijklm")}).encode(), 2, "2 to 12"),
    ],
)
def test_texts_that_cannot_be_asked_about_leave_nothing_behind(
    content, code, said, tmp_path, capsys
):
    if content is not None:
        (tmp_path / "texts.jsonl").write_bytes(content)
    words = ["label", str(tmp_path / "new"), "--texts", str(tmp_path / "texts.jsonl")]
    assert main(words) == code
    assert said in capsys.readouterr().err and not (tmp_path / "new").exists()


def test_texts_are_asked_about_once(tmp_path):
    path, lines = tmp_path / "texts.jsonl", []
    path.write_text("\n".join(map(json.dumps, TEXTS)))
    questions = texts.of_file(path, lines.append)
    assert questions == ("texts.jsonl", {"a": ["x", "y"]}) and "1 prompts whose" in lines[0]
    database = empty(tmp_path)
    assert [texts.ask(database, questions) for _ in range(2)] == [1, 0]
    database.close()


def test_what_label_is_to_do_is_one_thing_and_harms_no_file(answered, tmp_path, capsys):
    folder = str(answered.path.parent)
    for words in (["--people", "--export", "x"], ["--texts", "x", "--add", "y"],
                  ["--leave-out", "Ann", "--count-again", "Ann"]):  # fmt: skip
        assert main(["label", folder, *words]) == 2
        assert "are two commands" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "link").symlink_to(target)
    before = Labels(answered).labels()
    for out, said in ((answered.path, "holds the answers"), (tmp_path / "other", "no ordinary"),
                      (tmp_path / "link", "no ordinary")):  # fmt: skip
        assert main(["label", folder, "--export", str(out)]) == 2
        assert said in capsys.readouterr().err
    assert target.read_text() == "mine" and (tmp_path / "link").is_symlink()
    assert Labels(answered).labels() == before
    for _ in range(2):  # with newer answers, into the same file
        assert main(["label", folder, "--export", str(tmp_path / "labels.jsonl")]) == 0
