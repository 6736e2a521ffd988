"""`spinward rewards`: what can be learned from."""

from spinward.cli import algorithms


def run(words: list[str]) -> int:
    return algorithms.run(words, "rewards")
