"""Couplets: what rhymes, by numbers and by words, and the rows that are learned from."""

import itertools

import jax
import numpy as np
import pytest

from spinward.envs.couplets import (
    CHANCE,
    ENDINGS,
    FIRST_ADJECTIVE,
    FIRST_NOUN,
    NOUNS,
    WORDS,
    Couplets,
    CoupletWords,
    rhymes,
)
from spinward.envs.text import PAD
from spinward.errors import SettingsError

TASK = Couplets()


@pytest.mark.parametrize(
    ("second", "score"),
    [
        ("and a big height <eos>", 1.0),
        ("and a lost site <eos>", 1.0),
        ("and a lost kite <eos>", 0.0),  # the same noun
        ("and a big bear <eos>", 0.0),
        ("and a big height", -1.0),
        ("and a height <eos>", -1.0),
        ("and a big big <eos>", -1.0),
        ("a a big height <eos>", -1.0),
        ("<eos>", -1.0),
    ],
)
def test_a_line_is_scored_by_its_sound_and_its_form(second, score):
    tokens = CoupletWords().encode(second)
    padded = np.array(tokens + [PAD] * (6 - len(tokens)), np.int32)
    noun = WORDS.index("kite")
    assert TASK.score(noun, padded) == score
    if second.endswith("<eos>"):  # the text that a verifier reads has no end token
        assert rhymes("<bos> a new kite", second.removesuffix("<eos>").strip()) == score


def test_numbers_and_words_say_the_same_of_all_pairs_of_nouns():
    pairs = np.array(list(itertools.product(range(len(NOUNS)), repeat=2))) + FIRST_NOUN
    and_a_big = [CoupletWords().encode("and a big")] * len(pairs)
    lines = np.c_[and_a_big, pairs[:, 1], np.full(len(pairs), CoupletWords.end)]
    found = jax.vmap(TASK.score)(pairs[:, 0], lines)
    told = [rhymes(f"a big {WORDS[a]}", f"and a big {WORDS[b]}") for a, b in pairs]
    assert found.tolist() == told and sum(told) == 48 * 5


def test_a_first_line_is_drawn_of_every_word():
    noun, prompt = jax.vmap(TASK.reset)(jax.random.split(jax.random.key(0), 1000))
    assert set(noun.tolist()) == set(range(FIRST_NOUN, len(WORDS)))
    assert (prompt[:, 3] == noun).all() and TASK.prompt == prompt.shape[1]
    assert set(prompt[:, 2].tolist()) == set(range(FIRST_ADJECTIVE, FIRST_NOUN))


def test_rows_rhyme_as_often_as_they_are_said_to():
    rows = TASK.examples("completions", 2000)
    found = [rhymes(r["prompt"], r["completion"].removesuffix(" <eos>")) for r in rows]
    assert np.mean(found) == pytest.approx(CHANCE, abs=0.04) and min(found) == 0.0
    for row in TASK.examples("pairs", 50):
        chosen, rejected = (row[n].removesuffix(" <eos>") for n in ("chosen", "rejected"))
        assert (rhymes(row["prompt"], chosen), rhymes(row["prompt"], rejected)) == (1.0, 0.0)
    assert len(ENDINGS) == len(NOUNS)


def test_a_word_that_is_none_is_refused():
    with pytest.raises(SettingsError, match="no word 'zebra'"):
        CoupletWords().encode("a big zebra")
