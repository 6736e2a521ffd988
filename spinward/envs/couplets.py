"""Writing the second line of a couplet, which ought to rhyme with the first.

A prompt is `<bos> a ADJECTIVE NOUN`, its completion `and a ADJECTIVE NOUN <eos>`. The score is 1
where the nouns are two that rhyme, 0 where they are not, and -1 where the form is broken. Words
that rhyme sound alike from the stressed vowel on (the CMU Pronouncing Dictionary), however they
are spelt: height and kite do, bear and hear would not. In the couplets that `rows` writes half of
the second nouns are chosen among those that rhyme, and the others among all.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Key, Spec, config
from spinward.envs.text import PAD, token_spec
from spinward.errors import SettingsError

NAMES = {"Couplets": "Couplets"}

MARKS = ("<bos>", "<eos>", "a", "and")
ADJECTIVES = ("big", "old", "red", "odd", "new", "fine", "small", "lost")
RHYMES = {  # nouns by how they end
    "AE T": ("cat", "hat", "bat", "mat", "rat", "flat"),
    "EY": ("day", "clay", "bay", "sleigh", "play", "weigh"),
    "AY T": ("night", "light", "kite", "height", "site", "bite"),
    "IY": ("sea", "tree", "key", "bee", "knee", "ski"),
    "UW N": ("moon", "tune", "spoon", "june", "dune", "rune"),
    "EH R": ("bear", "chair", "hair", "square", "pear", "stare"),
    "EH D": ("bread", "bed", "head", "shed", "thread", "said"),
    "AY M": ("rhyme", "time", "climb", "lime", "dime", "chime"),
}
ENDINGS = {noun: ending for ending, nouns in RHYMES.items() for noun in nouns}
NOUNS = tuple(ENDINGS)
FAMILY = len(RHYMES["EY"])  # nouns of each ending
WORDS = (*MARKS, *ADJECTIVES, *NOUNS)
FIRST_ADJECTIVE, FIRST_NOUN = len(MARKS), len(MARKS) + len(ADJECTIVES)
MEANT = 0.5  # share of the couplets that are written to rhyme
CHANCE = MEANT + (1.0 - MEANT) * (FAMILY - 1) / len(NOUNS)  # that one of them does


class CoupletWords:
    """The words of couplets, as numbers."""

    end = WORDS.index("<eos>")
    size = len(WORDS)

    def encode(self, text: str) -> list[int]:
        """Raises SettingsError for a word that couplets have not."""
        if unknown := [word for word in text.split() if word not in WORDS]:
            raise SettingsError(f"couplets have no word {unknown[0]!r}")
        return [WORDS.index(word) for word in text.split()]

    def decode(self, tokens: list[int]) -> str:
        return " ".join(WORDS[i] for i in tokens if i != PAD)


@config
class Couplets:
    """First lines at random, and whether what is written after them rhymes."""

    prompt: ClassVar[int] = 4
    end: ClassVar[int] = CoupletWords.end
    vocabulary: ClassVar[CoupletWords] = CoupletWords()

    @property
    def spec(self) -> Spec:
        return token_spec(len(WORDS))

    def reset(self, key: Key) -> tuple[Array, Array]:
        k_adjective, k_noun = jax.random.split(key)
        adjective = jax.random.randint(k_adjective, (), FIRST_ADJECTIVE, FIRST_NOUN)
        noun = jax.random.randint(k_noun, (), FIRST_NOUN, len(WORDS))
        prompt = jnp.array([WORDS.index("<bos>"), WORDS.index("a")])
        return noun, jnp.stack([*prompt, adjective, noun]).astype(jnp.int32)

    def score(self, state: Array, completion: Array) -> Array:
        padded = jnp.concatenate([completion, jnp.full(5, PAD, completion.dtype)])
        conjunction, article, adjective, noun, end = padded[:5]
        well = (conjunction == WORDS.index("and")) & (article == WORDS.index("a"))
        well &= (adjective >= FIRST_ADJECTIVE) & (adjective < FIRST_NOUN) & (noun >= FIRST_NOUN)
        well &= (end == self.end) & (padded[5:] == PAD).all()
        alike = (noun - FIRST_NOUN) // FAMILY == (state - FIRST_NOUN) // FAMILY
        return jnp.where(well, jnp.where(alike & (noun != state), 1.0, 0.0), -1.0)

    def examples(self, kind: str, count: int, seed: int = 0) -> list[dict[str, str]]:
        """Rows of a data file: couplets, or pairs of second lines to the same first one, of which
        the chosen one rhymes and the rejected one does not."""
        random = np.random.default_rng(seed)
        rows: list[dict[str, str]] = []
        while len(rows) < count:
            noun = random.choice(NOUNS)
            first = f"a {random.choice(ADJECTIVES)} {noun}"
            one, other = (f"and a {random.choice(ADJECTIVES)} {n}" for n in second(noun, random))
            row = {"prompt": f"<bos> {first}"}
            if kind == "completions":
                rows.append({**row, "completion": f"{one} <eos>"})
            elif rhymes(first, one) > rhymes(first, other):
                rows.append({**row, "chosen": f"{one} <eos>", "rejected": f"{other} <eos>"})
        return rows


def second(noun: str, random: np.random.Generator) -> list[str]:
    """Two nouns to end the line after that of `noun`."""
    family = [other for other in RHYMES[ENDINGS[noun]] if other != noun]
    return [random.choice(family if random.random() < MEANT else NOUNS) for _ in range(2)]


def rhymes(first: str, second: str) -> float:
    """The score of a second line, from the two as texts."""
    nouns = [word for word in f"{first} {second}".split() if word not in MARKS + ADJECTIVES]
    words = second.split()
    well = len(words) == 4 and words[:2] == ["and", "a"] and words[2] in ADJECTIVES
    if not well or words[3] not in ENDINGS:
        return -1.0
    one, other = nouns[0], words[3]
    return float(one != other and ENDINGS[one] == ENDINGS[other])
