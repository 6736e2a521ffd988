"""The grammar against its own enumeration: what is best at each price is known exactly."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from spinward.envs.grammar import (
    RATES,
    SCORES,
    Grammar,
    GrammarWords,
    at_distance,
    best_of,
    entropy,
    optimum,
)
from spinward.envs.text import PAD, Text
from spinward.errors import SettingsError

TOTALS = np.array([sum(c) / 3 for c in itertools.product(SCORES, repeat=3)])
ODDS = np.array([np.prod(c) for c in itertools.product(RATES, repeat=3)])


def test_the_rates_are_those_that_were_drawn():
    first = [0.0585, 0.0784, 0.0383, 0.1101, 0.0341]
    np.testing.assert_allclose(RATES[:5], first, atol=5e-5)
    assert float(ODDS @ TOTALS) == pytest.approx(-0.0446, abs=5e-5)
    assert entropy() / 8 == pytest.approx(1.0775, abs=1e-4)


@pytest.mark.parametrize("beta", [0.3, 0.1, 0.05])
def test_the_optimum_is_that_over_all_completions(beta):
    q = ODDS * np.exp(TOTALS / beta)
    q /= q.sum()
    kl = float((q * np.log(q / ODDS)).sum())
    np.testing.assert_allclose(optimum(beta), [q @ TOTALS, kl], rtol=1e-5)
    assert at_distance(kl) == pytest.approx(float(q @ TOTALS), abs=1e-4)


def test_the_best_of_several_is_that_over_all_completions():
    order = np.argsort(TOTALS)
    for n in (1, 4, 16):
        below = np.cumsum(ODDS[order]) ** n
        expected = np.diff(below, prepend=0.0) @ TOTALS[order]
        assert best_of(n) == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("was great and good but looked nice <eos>", (31 + 19 + 18) / 93),
        ("was sad and sad but looked sad <eos>", -21 / 31),
        ("was great and good but looked nice", -1.0),
        ("was great and and but looked nice <eos>", -1.0),
        ("was great and good but looked nice <eos> was", -1.0),
        ("<eos>", -1.0),
    ],
)
def test_a_completion_has_the_mean_of_its_adjectives_or_minus_one(text, score):
    tokens = GrammarWords().encode(text)
    for length in (len(tokens), 12):
        padded = jnp.array(tokens + [PAD] * (length - len(tokens)))
        assert float(Grammar().score((), padded)) == pytest.approx(score, abs=1e-6)


def test_its_rows_are_its_own_completions_and_a_judge_who_errs_as_bradley_and_terry_say():
    task, words = Grammar(), GrammarWords()
    assert isinstance(task, Text)

    def score(text):
        return float(task.score((), jnp.array(words.encode(text))))

    rows = task.examples("pairs", 300)
    gaps = np.array([score(r["chosen"]) - score(r["rejected"]) for r in rows])
    odds = 1.0 / (1.0 + np.exp(-np.abs(gaps) / 0.2))  # that the better of the two is chosen
    deviation = np.sqrt((odds * (1.0 - odds)).sum())
    assert abs((gaps > 0).sum() - odds.sum()) < 3 * deviation and (gaps < 0).any()
    for row in task.examples("completions", 20):
        assert score(row["completion"]) > -1.0 and len(words.encode(row["prompt"])) == task.prompt


def test_a_word_that_it_has_not_is_named():
    with pytest.raises(SettingsError, match="'purple'"):
        GrammarWords().encode("the purple film")
    assert GrammarWords().decode(GrammarWords().encode("the film was fun")) == "the film was fun"
