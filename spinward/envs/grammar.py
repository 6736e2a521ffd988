"""Writing in a little grammar, where the best policy at any distance from the first is known.

A prompt is `<bos> the NOUN`, its completion `was ADJ and ADJ but looked ADJ <eos>`. The score is
the mean sentiment of the three adjectives, in [-0.81, 1], or -1 where the form is broken. The three
are drawn independently, so the policy that has the most of E[score] - beta KL from the grammar's
own is known for each: q(adjective) ~ p(adjective) exp(sentiment / (3 beta)) (Korbak et al., 2022,
arXiv:2205.11275). Sentiments are VADER's (Hutto and Gilbert, 2014), each divided by 3.1.
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Key, Spec, config
from spinward.envs.text import PAD, token_spec
from spinward.errors import SettingsError

NAMES = {"Grammar": "Grammar"}

MARKS = ("<bos>", "<eos>", "the", "was", "and", "but", "looked")
NOUNS = ("film", "meal", "room", "song", "trip", "book", "game", "show")
SENTIMENT = {
    "great": 31, "good": 19, "nice": 18, "fun": 23, "superb": 31, "fine": 8, "fresh": 13,
    "calm": 13, "slow": 0, "plain": 0, "odd": -13, "weird": -7, "bad": -25, "awful": -20,
    "sad": -21, "rude": -20, "ugly": -23, "horrid": -25, "tired": -19, "boring": -13,
}  # fmt: skip
WORDS = (*MARKS, *NOUNS, *SENTIMENT)
FORM = ("was", "", "and", "", "but", "looked", "", "<eos>")  # "" is an adjective
SLOTS = tuple(i for i, word in enumerate(FORM) if not word)
FIRST_NOUN, FIRST_ADJECTIVE = len(MARKS), len(MARKS) + len(NOUNS)
SCORES = np.array(list(SENTIMENT.values()), np.float32) / 31  # [adjectives]
RATES = np.random.default_rng(0).dirichlet(3 * np.ones(len(SCORES)))  # of each in the grammar
LABEL_TEMPERATURE = 0.2  # of the simulated labeller, in units of the score


class Optimum(NamedTuple):
    score: float
    kl: float  # nats of a whole completion, from the grammar


class GrammarWords:
    """The words of the grammar, as numbers."""

    end = WORDS.index("<eos>")
    size = len(WORDS)

    def encode(self, text: str) -> list[int]:
        """Raises SettingsError for a word that the grammar has not."""
        if unknown := [word for word in text.split() if word not in WORDS]:
            raise SettingsError(f"the grammar has no word {unknown[0]!r}")
        return [WORDS.index(word) for word in text.split()]

    def decode(self, tokens: list[int]) -> str:
        return " ".join(WORDS[i] for i in tokens if i != PAD)


@config
class Grammar:
    """Prompts of the grammar, and the sentiment of what is written after them."""

    prompt: ClassVar[int] = 3
    end: ClassVar[int] = GrammarWords.end
    vocabulary: ClassVar[GrammarWords] = GrammarWords()

    @property
    def spec(self) -> Spec:
        return token_spec(len(WORDS))

    def reset(self, key: Key) -> tuple[tuple[()], Array]:
        noun = jax.random.randint(key, (), FIRST_NOUN, FIRST_ADJECTIVE)
        return (), jnp.stack([WORDS.index("<bos>"), WORDS.index("the"), noun]).astype(jnp.int32)

    def score(self, state: Any, completion: Array) -> Array:
        length = len(FORM)
        padded = jnp.concatenate([completion, jnp.full(length, PAD, completion.dtype)])
        form = jnp.array([WORDS.index(word) if word else PAD for word in FORM])
        slot = np.isin(np.arange(length), SLOTS)
        well = jnp.where(slot, padded[:length] >= FIRST_ADJECTIVE, padded[:length] == form)
        sentiment = jnp.asarray(SCORES)[jnp.maximum(padded[np.array(SLOTS)] - FIRST_ADJECTIVE, 0)]
        return jnp.where(well.all() & (padded[length:] == PAD).all(), sentiment.mean(), -1.0)

    def examples(self, kind: str, count: int, seed: int = 0) -> list[dict[str, str]]:
        """Rows of a data file: completions of the grammar, or pairs of completions of which a
        simulated labeller prefers one, with the odds of Bradley and Terry (1952)."""
        random = np.random.default_rng(seed)
        nouns = random.choice(NOUNS, count)
        words = random.choice(len(SCORES), (count, 2, len(SLOTS)), p=RATES)
        prompts = [f"<bos> the {noun}" for noun in nouns]
        if kind == "completions":
            return [
                {"prompt": p, "completion": sentence(d[0])}
                for p, d in zip(prompts, words, strict=True)
            ]
        score = SCORES[words].mean(-1)
        odds = 1.0 / (1.0 + np.exp((score[:, 1] - score[:, 0]) / LABEL_TEMPERATURE))
        better = np.where(random.random(count) < odds, 0, 1)
        return [
            {"prompt": p, "chosen": sentence(d[c]), "rejected": sentence(d[1 - c])}
            for p, d, c in zip(prompts, words, better, strict=True)
            if (d[0] != d[1]).any()
        ]


def sentence(adjectives: np.ndarray) -> str:
    names, adjective = list(SENTIMENT), iter(adjectives)
    return " ".join(word or names[next(adjective)] for word in FORM)


def optimum(beta: float) -> Optimum:
    """The score and the distance of the policy with the most of E[score] - beta KL."""
    log_q = np.log(RATES) + SCORES.astype(np.float64) / (len(SLOTS) * beta)
    log_q -= log_q.max() + np.log(np.exp(log_q - log_q.max()).sum())
    q = np.exp(log_q)
    return Optimum(float(q @ SCORES), float(len(SLOTS) * (q * (log_q - np.log(RATES))).sum()))


def at_distance(kl: float) -> float:
    """The most that a policy can score at a distance of `kl` nats, by bisection over beta."""
    low, high = 1e-3, 1e3
    for _ in range(100):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if optimum(middle).kl > kl else (low, middle)
    return optimum(high).score


def entropy() -> float:
    """Nats of a completion of the grammar: the least that any model can need for it."""
    return float(-len(SLOTS) * (RATES * np.log(RATES)).sum())


def best_of(n: int) -> float:
    """The mean score of the best of `n` completions of the grammar."""
    total = SCORES[:, None, None] + SCORES[:, None] + SCORES
    odds = RATES[:, None, None] * RATES[:, None] * RATES
    order = np.argsort(total.reshape(-1))
    below = np.cumsum(odds.reshape(-1)[order])
    share = below**n - np.concatenate([[0.0], below[:-1]]) ** n
    return float((share * total.reshape(-1)[order]).sum() / len(SLOTS))
