"""Questions, leases, answers and what follows from them."""

import itertools
import sqlite3
import threading

import pytest

from spinward.errors import DamagedFileError, SettingsError
from spinward.people import database as databases
from spinward.people.accounts import Accounts
from spinward.people.labels import Gone, Labels


class Clock:
    """A time that moves when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def database(tmp_path):
    opened = databases.of_run(tmp_path, create=True)
    yield opened
    opened.close()


@pytest.fixture
def labels(database):
    return Labels(database, Clock())


def people(database, *names):
    return [Accounts(database).named(name).id for name in names]


def texts(labels, count):
    return [labels.add_item("text", f"item {i}", f"text {i}".encode()) for i in range(count)]


def pairs(labels, count, **options):
    items = texts(labels, 2 * count)
    return [labels.ask(f"q{i}", (items[2 * i], items[2 * i + 1]), **options) for i in range(count)]


def test_an_answer_becomes_a_label_whichever_side_was_shown_left(database, labels):
    (ann,) = people(database, "Ann")
    pairs(labels, 20)
    lefts = set()
    for i in range(20):
        q = labels.next(ann)
        assert sorted(q.shown) == sorted(q.items)
        lefts.add(q.shown[0] == q.items[0])
        assert labels.answer(ann, q.id, "first" if i % 2 else "second", f"act {i}")
    assert lefts == {True, False} and labels.next(ann) is None
    assert [x.share for x in labels.labels()] == [float(i % 2) for i in range(20)]


def test_equal_is_a_half_and_cannot_tell_is_no_label(database, labels):
    (ann,) = people(database, "Ann")
    pairs(labels, 2)
    labels.answer(ann, labels.next(ann).id, "equal", "a")
    labels.answer(ann, labels.next(ann).id, "cannot_tell", "b")
    assert [x.share for x in labels.labels()] == [0.5]
    assert labels.next(ann) is None  # both were asked


def test_an_answer_that_is_sent_twice_counts_once(database, labels):
    (ann,) = people(database, "Ann")
    pairs(labels, 2)
    q = labels.next(ann)
    assert labels.answer(ann, q.id, "first", "same") and not labels.answer(
        ann, q.id, "first", "same"
    )
    assert len(labels.labels()) == 1 and labels.next(ann).id != q.id


def test_a_question_goes_to_as_many_people_as_its_overlap(database, labels):
    who = people(database, "Ann", "Bo", "Cy", "Di")
    (q,) = pairs(labels, 1, overlap=3)
    got = [labels.next(p) for p in who]
    assert [g and g.id for g in got] == [q, q, q, None]
    for p in who[:3]:
        labels.answer(p, q, "first" if p == who[0] else "second", f"by {p}")
    (label,) = labels.labels()
    assert label.answers == 3 and label.share == pytest.approx(1 / 3)
    with pytest.raises(Gone):
        labels.answer(who[3], q, "first", "too many")
    (label,) = labels.labels(left_out=[who[0]])
    assert label.answers == 2 and label.share == 0.0
    Accounts(database).leave_out("Bo")
    assert labels.labels(left_out=[who[0]])[0].answers == 1


def test_an_expired_lease_frees_the_question_and_its_late_answer_is_refused(database, labels):
    ann, bo = people(database, "Ann", "Bo")
    pairs(labels, 1)
    q = labels.next(ann, lease_s=60)
    assert labels.next(bo) is None
    labels.clock.now += 61
    assert labels.next(bo).id == q.id
    with pytest.raises(Gone, match="no longer yours"):
        labels.answer(ann, q.id, "first", "late")
    assert labels.answer(bo, q.id, "second", "in time")


def test_asking_again_gives_the_same_question_in_the_same_order_with_a_longer_lease(
    database, labels
):
    (ann,) = people(database, "Ann")
    pairs(labels, 3)
    one = labels.next(ann, 60)
    labels.clock.now += 30
    again = labels.next(ann, 60)
    assert (one.id, one.shown) == (again.id, again.shown) and again.expires == one.expires + 30


def test_undo_is_a_row_and_asks_again(database, labels):
    ann, bo = people(database, "Ann", "Bo")
    pairs(labels, 2)
    first = labels.next(ann).id
    labels.answer(ann, first, "first", "a")
    assert labels.undo(ann, "u") == first == labels.undo(ann, "u")
    assert labels.labels() == [] and labels.next(ann).id == first
    assert labels.next(bo).id != first  # reserved for Ann again
    labels.answer(ann, first, "second", "b")
    assert [x.share for x in labels.labels()] == [0.0]
    rows = database.rows("SELECT answer, undoes FROM response ORDER BY id")
    assert [tuple(r) for r in rows] == [("first", None), ("undo", "a"), ("second", None)]
    assert labels.undo(bo, "nothing") is None


def test_responses_can_be_neither_changed_nor_removed(database, labels):
    (ann,) = people(database, "Ann")
    pairs(labels, 1)
    labels.answer(ann, labels.next(ann).id, "first", "a")
    for change in ("UPDATE response SET answer = 'second'", "DELETE FROM response"):
        with pytest.raises(sqlite3.IntegrityError, match="only added"):
            database.connection.execute(change)


def test_a_ranking_is_its_comparisons(database, labels):
    (ann,) = people(database, "Ann")
    items = texts(labels, 4)
    question = labels.ask("ranking", tuple(items), "Which is best?")
    assert labels.next(ann).id == question
    order = (items[2], items[0], items[3], items[1])
    labels.rank(ann, question, order, "a")
    found = {(x.first, x.second): x.share for x in labels.labels()}
    assert len(found) == 6
    for a, b in itertools.combinations(items, 2):
        assert found[a, b] == float(order.index(a) < order.index(b))
    labels.undo(ann, "u")
    assert labels.labels() == []
    with pytest.raises(SettingsError, match="must name each item"):
        labels.rank(ann, question, order[:3], "b")
    with pytest.raises(SettingsError, match="send their order"):
        labels.answer(ann, question, "first", "c")


def test_a_known_answer_is_asked_of_everybody_and_is_no_label(database, labels):
    who = people(database, "Ann", "Bo")
    pairs(labels, 1, gold="first", priority=1.0)
    for p in who:
        labels.answer(p, labels.next(p).id, "first", f"by {p}")
    assert labels.labels() == []


@pytest.mark.parametrize("answer", ["left", "", "undo", "x" * 1000, None])
def test_an_unknown_answer_is_refused_and_leaves_nothing(database, labels, answer):
    (ann,) = people(database, "Ann")
    pairs(labels, 1)
    q = labels.next(ann)
    with pytest.raises(SettingsError, match="must be one of"):
        labels.answer(ann, q.id, answer, "a")
    assert not database.rows("SELECT * FROM response")


def test_many_labellers_at_once_give_each_question_its_overlap_and_no_more(tmp_path):
    """The threads share nothing but the file, as processes would."""
    database = databases.of_run(tmp_path, create=True)
    pairs(Labels(database), 40, overlap=3)
    who = people(database, *(f"labeller {i}" for i in range(5)))
    counts = []

    def work(person):
        mine = databases.of_run(tmp_path)
        labels, given = Labels(mine), 0
        while q := labels.next(person):
            labels.answer(person, q.id, "first", f"{person}:{q.id}")
            given += 1
        counts.append(given)
        mine.close()

    threads = [threading.Thread(target=work, args=[p]) for p in who]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sum(counts) == 120
    rows = database.rows(
        "SELECT question, count(*), count(DISTINCT labeller) FROM valid GROUP BY 1"
    )
    assert len(rows) == 40 and all(tuple(r)[1:] == (3, 3) for r in rows)
    database.close()


def test_a_file_that_is_no_database_of_answers_is_refused(tmp_path):
    path = tmp_path / databases.NAME
    with pytest.raises(SettingsError, match="asks nobody anything"):
        databases.of_run(tmp_path)
    path.write_bytes(b"not SQLite" * 1000)
    with pytest.raises(DamagedFileError, match="is damaged"):
        databases.of_run(tmp_path)
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE response (x)")
    other.commit()
    other.close()
    with pytest.raises(DamagedFileError, match="no file of answers"):
        databases.of_run(tmp_path)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedFileError, match="symbolic link"):
        databases.of_run(tmp_path, create=True)


def test_a_newer_format_is_refused_in_words(tmp_path):
    opened = databases.of_run(tmp_path, create=True)
    opened.connection.execute("PRAGMA user_version = 7")
    opened.close()
    with pytest.raises(SettingsError, match="format 7"):
        databases.of_run(tmp_path)


def test_accounts_keep_no_secret_in_plain_text(database):
    accounts = Accounts(database)
    ann = accounts.named("Ann")
    assert accounts.named(" Ann ") == ann
    token = accounts.give_token(ann)
    accounts.give_password(ann, "correct horse battery")
    assert accounts.by_token(token) == ann and accounts.by_token(token[:-1]) is None
    assert accounts.by_password("Ann", "correct horse battery") == ann
    assert accounts.by_password("Ann", "wrong") is None is accounts.by_password("Bo", "wrong")
    stored = "".join(str(tuple(r)) for r in database.rows("SELECT * FROM labeller"))
    assert token not in stored and "battery" not in stored and "argon2id" in stored
    assert accounts.by_token(accounts.give_token(ann)) == ann and accounts.by_token(token) is None


@pytest.mark.parametrize("name", ["", "  ", "x" * 61, "a\nb", "a\u202eb", "a\x00"])
def test_a_name_that_is_no_name_is_refused(database, name):
    with pytest.raises(SettingsError, match="1 to 60 characters"):
        Accounts(database).named(name)
