"""Texts to learn from: how rows become tokens, what is refused, and the order they are read in."""

import json

import jax
import numpy as np
import pytest
from twin import Letters

from spinward.envs.grammar import Grammar, GrammarWords
from spinward.envs.text import PAD
from spinward.errors import DamagedFileError, SettingsError
from spinward.experience.texts import TextBatches
from spinward.language import reading
from spinward.language import rows as texts
from spinward.language.reading import Limits
from spinward.language.row_files import rows_of
from spinward.language.rows import TokenRow, laid_out

GOOD = "was great and good but looked nice"
BAD = "was sad and rude but looked odd"


class Talker(GrammarWords):
    """A vocabulary with a template: a number for each role, then the words."""

    talks = True

    def chat(self, messages, continues=False, tools=None):
        found = [x for m in messages for x in (100 + len(m["role"]), *self.encode(m["content"]))]
        return [*found, 109] if continues else found

    def answer(self, before, said, tools=None):
        return self.chat(said)[1:]

    def answers(self, messages, tools=None):
        tokens, mask = [], []
        for m in messages:
            part = self.chat([m])
            tokens += part
            mask += [m["role"] == "assistant" and i > 0 for i in range(len(part))]
        return tokens, mask


def encoded(text):
    return GrammarWords().encode(text)


def test_a_row_is_its_tokens_and_only_the_completion_counts():
    row = texts.completion(
        "row 1", {"prompt": "<bos> the film", "completion": "was fun"}, GrammarWords()
    )
    assert row == TokenRow(encoded("<bos> the film"), [encoded("was fun <eos>")], None)
    batch = laid_out([row, TokenRow([0, 2], [[5, 1]])])
    whole = encoded("<bos> the film was fun <eos>")
    assert batch.obs[0, 0].tolist() == whole[:-1] and batch.action[0, 0].tolist() == whole[1:]
    assert batch.next_obs[0, 0].tolist() == whole[1:]
    assert batch.weight[:, 0].tolist() == [[0, 0, 1, 1, 1], [0, 1, 1, 0, 0]]
    assert batch.terminated[:, 0].tolist() == [
        [False] * 4 + [True],
        [False] * 2 + [True] + [False] * 2,
    ]
    assert batch.obs[1, 0].tolist() == [0, 2, 5, 1, PAD]
    assert batch.next_obs[1, 0].tolist() == [2, 5, 1, PAD, PAD]


def test_a_plain_text_is_learned_from_its_second_token_on():
    row = texts.completion("", {"text": "the film was fun <eos>"}, GrammarWords())
    assert laid_out([row]).weight.tolist() == [[[1.0] * 4]]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "the film", "chosen": GOOD, "rejected": BAD},
        {"chosen": f"the film {GOOD}", "rejected": f"the film {BAD}"},
    ],
    ids=["explicit", "implicit"],
)
def test_a_comparison_may_be_written_in_several_ways(row):
    found = texts.pair("row 1", row, GrammarWords())
    whole = [found.prompt + c for c in found.completions]
    assert whole == [encoded(f"the film {text} <eos>") for text in (GOOD, BAD)]


def test_a_conversation_is_encoded_by_its_template_and_learned_where_the_assistant_speaks():
    user, said = (
        {"role": "user", "content": "the film"},
        {"role": "assistant", "content": "was fun"},
    )
    row = texts.completion("", {"messages": [user, said, user, said]}, Talker())
    assert [t for t, s in zip(row.completions[0], row.said, strict=True) if s] == encoded(
        "was fun was fun"
    )
    weight = laid_out([row]).weight[0, 0]
    assert weight.sum() == 4 and weight[:3].sum() == 0
    pair = texts.pair("", {"prompt": [user], "chosen": [said], "rejected": "was bad"}, Talker())
    assert pair.prompt == [104, *encoded("the film"), 109]
    assert pair.completions == [encoded("was fun <eos>"), encoded("was bad <eos>")]
    with pytest.raises(SettingsError, match="row 3: a conversation needs a model with a chat temp"):
        texts.prompt("row 3", {"prompt": [user]}, GrammarWords())


@pytest.mark.parametrize(
    ("read", "row", "error", "said"),
    [
        (texts.pair, {"prompt": "the film", "chosen": BAD, "rejected": BAD}, SettingsError,
         "row 2: chosen and rejected are the same text"),
        (texts.pair, {"prompt": "film", "chosen": BAD}, SettingsError, "row 2 lacks 'rejected'"),
        (texts.pair, {"chosen": GOOD, "rejected": BAD[4:]}, SettingsError, "row 2 has no prompt"),
        (texts.completion, {"prompt": "the film", "completion": "was green"}, SettingsError,
         "row 2: the grammar has no word 'green'"),
        (texts.completion, {"prompt": "", "completion": GOOD}, SettingsError, "prompt is empty"),
        (texts.completion, {"prompt": "the film", "completion": 3}, SettingsError, "is a int"),
        (texts.pair, {"prompt": "the film", "chosen": BAD, "rejected": f" {BAD}"}, SettingsError,
         "row 2: chosen and rejected are the same tokens"),
        (texts.prompt, {"prompt": 3}, SettingsError, "row 2: the prompt is a int"),
        (texts.prompt, {"prompt": " "}, SettingsError, "row 2: the prompt is empty"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_learned_from_is_named(tmp_path, read, row, error, said):
    path = tmp_path / "rows.jsonl"
    good = {"prompt": "the film", "chosen": GOOD, "rejected": BAD, "completion": GOOD}
    path.write_text(f"{json.dumps(good)}\n{json.dumps(row)}\n")
    with pytest.raises(error, match=said):
        [read(*found, GrammarWords()) for found in rows_of(path)]


def test_a_file_that_is_none_or_broken_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    with pytest.raises(SettingsError, match="there is no file"):
        list(rows_of(path))
    path.write_text("\n\n")
    with pytest.raises(SettingsError, match="has no rows"):
        list(rows_of(path))
    for line in ("{", "[1]"):
        path.write_text(f'{{"text": "the film"}}\n{line}\n')
        with pytest.raises(DamagedFileError, match=r"rows.jsonl, row 2 is no JSON"):
            list(rows_of(path))
    path.write_bytes(b'{"text": "caf\xe9"}')
    with pytest.raises(DamagedFileError, match=r"no UTF-8 text: .*byte 13"):
        list(rows_of(path))


def test_a_text_that_is_longer_than_the_context_is_named():
    assert reading.fitted("row 1", TokenRow([0], [[1]]), Limits(4)) == (TokenRow([0], [[1]]), False)
    with pytest.raises(SettingsError, match=r"row 2: 5 tokens, of which 3 are the prompt.* = 4"):
        reading.fitted("row 2", TokenRow([0, 2, 3], [[5, 1]]), Limits(4))


def test_every_row_is_read_once_before_any_is_read_again():
    data = laid_out([TokenRow([0], [[2 + i % 4, 1], [3, 1]]) for i in range(10)])
    data.obs[:, 0, 0] = np.arange(10)  # its number, in place of the prompt
    source = TextBatches(data, Letters().spec, updates=2, batch=3)
    state = source.init(jax.random.key(0), ())
    seen, collect = [], jax.jit(lambda s: source.collect(s, None, None))
    for _ in range(5):
        state, batch, told = collect(state)
        assert batch.obs.shape == (2, 2, 6)
        assert (batch.obs[:, 1, 1::2] == 3).all()  # the second text of each pair
        seen += batch.obs[:, 0, ::2].reshape(-1).tolist()
    for epoch in (seen[:10], seen[10:20], seen[20:]):
        assert sorted(epoch) == list(range(10))
    assert seen[:10] != seen[10:20] and float(told["epochs"]) == 3.0


def test_the_grammar_writes_rows_that_can_be_read():
    rows = Grammar().examples("pairs", 5)
    found = [texts.pair("", row, GrammarWords()) for row in rows]
    assert laid_out(found).weight.sum((1, 2)).tolist() == [16.0] * len(rows)
