"""`spinward rewards`: lists the rewards."""

from spinward.cli import algorithms


def run(words: list[str]) -> int:
    return algorithms.run(words, "rewards")
