"""All rows of a file: what is skipped, cut and held out, and that it is told."""

import json

import numpy as np
import pytest

from spinward.envs.grammar import GrammarWords
from spinward.errors import SettingsError
from spinward.language import reading
from spinward.language import rows as texts
from spinward.language.reading import Limits, fitted, held_out, of_file, shortened
from spinward.language.rows import TokenRow

GOOD = {"prompt": "<bos> the film", "chosen": "was good", "rejected": "was bad"}
TIE = {**GOOD, "rejected": "was good"}
LONG = {**GOOD, "chosen": "was good and good and good and good"}


def written(tmp_path, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def test_rows_that_cannot_be_used_are_skipped_and_counted(tmp_path):
    path = written(tmp_path, GOOD, TIE, "{", LONG, {"prompt": "a"}, GOOD)
    with pytest.raises(SettingsError, match="row 2: chosen and rejected are the same"):
        of_file(path, texts.pair, GrammarWords(), Limits(8))
    found = of_file(path, texts.pair, GrammarWords(), Limits(8, skip=True))
    assert found.rows == [GOOD, GOOD] and len(found.texts) == 2
    assert found.notes == (
        f"4 of 6 rows skipped; the first: {path}, row 2: chosen and rejected are the same text",
    )


def test_a_file_of_which_no_row_can_be_used_is_refused(tmp_path):
    path = written(tmp_path, TIE, TIE)
    with pytest.raises(SettingsError, match=r"no row can be used: 2 of 2 rows skipped; the first"):
        of_file(path, texts.pair, GrammarWords(), Limits(8, skip=True))


def test_longer_rows_are_refused_skipped_or_cut(tmp_path):
    path = written(tmp_path, GOOD, LONG)
    with pytest.raises(SettingsError, match=r"row 2: 12 tokens.*--max-length cuts.*--skip leaves"):
        of_file(path, texts.pair, GrammarWords(), Limits(8))
    assert len(of_file(path, texts.pair, GrammarWords(), Limits(8, skip=True)).rows) == 1
    cut = of_file(path, texts.pair, GrammarWords(), Limits(20, max_length=7))
    assert [row.size for row in cut.texts] == [6, 7]
    assert cut.notes == ("1 of 2 rows cut to 7 tokens",)
    both = of_file(path, texts.pair, GrammarWords(), Limits(20, skip=True, max_length=7))
    assert both.rows == [GOOD] and "7" in both.notes[0]


@pytest.mark.parametrize("length", [-1, 1, 9])
def test_a_length_that_no_row_can_have_is_refused(length):
    with pytest.raises(SettingsError, match=f"max_length={length} must be between 2 and 8"):
        Limits(8, max_length=length).check()


@pytest.mark.parametrize(
    ("row", "size", "expected"),
    [
        # a prompt alone loses its beginning, but for the token that begins a text
        (TokenRow([1, 2, 3, 4, 5, 6], [[]]), 4, TokenRow([1, 4, 5, 6], [[]])),
        # a long prompt gives way to what follows it
        (TokenRow([1, 2, 3, 4, 5, 6], [[7, 8]]), 5, TokenRow([1, 5, 6], [[7, 8]])),
        # a long completion loses its end; half of the room is the prompt's
        (TokenRow([1, 2, 3], [[4, 5, 6, 7, 8]]), 6, TokenRow([1, 2, 3], [[4, 5, 6]])),
        (TokenRow([1, 2], [[4, 5, 6, 7, 8]]), 6, TokenRow([1, 2], [[4, 5, 6, 7]])),
        (TokenRow([1, 2, 3, 4], [[5, 6, 7, 8]]), 4, TokenRow([1, 4], [[5, 6]])),
        (TokenRow([], [[4, 5, 6, 7, 8]]), 3, TokenRow([], [[4, 5, 6]])),
        (TokenRow([1, 2], [[4, 5, 6], [7]]), 4, TokenRow([1, 2], [[4, 5], [7]])),
        (
            TokenRow([], [[4, 5, 6, 7]], [False, True, True, True]),
            3,
            TokenRow([], [[4, 5, 6]], [False, True, True]),
        ),
    ],
)
def test_a_row_is_cut_where_least_is_lost(row, size, expected):
    assert shortened("row 1", row, size) == expected
    assert fitted("row 1", row, Limits(99, max_length=size)) == (expected, True)
    assert expected.size == size


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (TokenRow([1, 2], [[4, 5, 6], [4, 5, 7]]), "the same in 4 tokens"),
        (TokenRow([], [[1, 2, 3, 4, 5]], [False] * 4 + [True]), "says nothing in the first 4"),
    ],
)
def test_a_row_that_teaches_nothing_once_it_is_cut_is_refused(row, told):
    with pytest.raises(SettingsError, match=told):
        shortened("row 1", row, 4)


@pytest.mark.parametrize(
    ("rows", "share", "count"),
    [(7, 0.5, 0), (8, 0.05, 1), (100, 0.05, 5), (100, 0.0, 0), (10**6, 0.05, 256), (8, 0.99, 7)],
)
def test_so_many_rows_are_held_out(rows, share, count):
    found = held_out(rows, share)
    assert len(found) == count and found == held_out(rows, share)  # the same ones each time
    assert found <= set(range(rows))


def test_rows_held_out_are_not_learned_from(tmp_path):
    path = written(tmp_path, *[{**GOOD, "prompt": f"<bos> the {n}"} for n in NOUNS])
    found = of_file(path, texts.pair, GrammarWords(), Limits(20))
    corpus = reading.corpus(found, 0.2)
    nouns = [set(x.obs[:, 0, 2].tolist()) for x in (corpus.data, corpus.held)]
    assert len(nouns[1]) == 2 and not nouns[0] & nouns[1]
    assert nouns[0] | nouns[1] == {GrammarWords().encode(n)[0] for n in NOUNS}
    assert corpus.notes == ("2 of 8 rows held out to evaluate with",)
    whole = reading.corpus(found, 0.0)
    assert whole.held is None and len(whole.data.weight) == 8 and not whole.notes


NOUNS = ("film", "meal", "room", "song", "trip", "book", "game", "show")


def test_prompts_keep_their_rows_and_conversations_as_they_were(tmp_path):
    talk = [{"role": "user", "content": "hi"}]
    rows = [{"question": "2+2=", "answer": "4"}, {"prompt": talk, "level": 3}]
    found = reading.RowsRead([TokenRow([1], [[]]), TokenRow([2, 3], [[]])], rows, ())
    given = reading.given(found, GrammarWords())
    assert given(0) == {"question": "2+2=", "answer": "4", "prompt": "2+2="}
    assert given(1) == {"prompt": talk, "level": 3}
    np.testing.assert_array_equal(reading.prompts(found), [[-1, 1], [2, 3]])
