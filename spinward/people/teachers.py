"""Labellers that are programs: they answer by the environment's own reward, each with one human
weakness (Lee et al., 2021, B-Pref, arXiv:2111.03026, section 3; the constants of its code)."""

import numpy as np

from spinward.people.answers import CANNOT_TELL, EQUAL, FIRST, SECOND

MISTAKE = 0.1  # share of answers that are flipped
BETA = 1.0  # rationality of the noisy teacher
MYOPIA = 0.9  # discount of earlier steps
THRESHOLD = 0.1  # of the average return of a clip: less is not worth an answer, or not a difference


def answer(
    teacher: str, first: np.ndarray, second: np.ndarray, usual: float, chance: np.random.Generator
) -> str:
    """The answer to two clips of true rewards [steps]; `usual` is the average return of a clip."""
    a, b = float(first.sum(dtype=np.float64)), float(second.sum(dtype=np.float64))
    limit = THRESHOLD * abs(usual)
    if teacher == "random":
        return FIRST if chance.random() < 0.5 else SECOND
    if teacher == "skip" and max(a, b) < usual - (1.0 - THRESHOLD) * abs(usual):
        return CANNOT_TELL
    if teacher == "equal" and abs(a - b) < limit:
        return EQUAL
    if teacher == "myopic":
        discount = MYOPIA ** np.arange(len(first) - 1, -1, -1)
        a, b = float(discount @ first), float(discount @ second)
    if teacher == "noisy":
        return FIRST if chance.random() < prefers(a, b) else SECOND
    if teacher == "mistake" and chance.random() < MISTAKE:
        a, b = b, a
    if a == b:
        return EQUAL
    return FIRST if a > b else SECOND


def prefers(first: float, second: float) -> float:
    """The probability that the noisy teacher prefers the first clip."""
    return float(1.0 / (1.0 + np.exp(np.clip(BETA * (second - first), -500.0, 500.0))))
