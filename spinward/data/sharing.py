"""Episodes that two data sets have in common."""

import hashlib

import numpy as np

from spinward.data.mixing import lengths
from spinward.data.store import Store

NAMES = ("obs", "action", "reward")


def shared_episodes(some: Store, others: Store) -> float:
    """The share of the episodes of `some` whose observations, actions and rewards are those of an
    episode of `others`."""
    known = set(digests(others))
    return float(np.mean([digest in known for digest in digests(some)]))


def digests(data: Store) -> list[bytes]:
    """A digest of each episode."""
    hashes = [hashlib.blake2b(digest_size=16) for _ in lengths(data)]
    begins = data.begins()
    for first, fields in data.blocks():
        rows = first + np.arange(len(fields["reward"]))
        episode = np.searchsorted(begins, rows, "right") - 1
        cuts = np.flatnonzero(np.diff(episode)) + 1
        for part in np.split(np.arange(len(rows)), cuts):
            for values in arrays(fields):
                hashes[episode[part[0]]].update(values[part].tobytes())
    return [h.digest() for h in hashes]


def arrays(fields: dict[str, object]) -> list[np.ndarray]:
    """What is compared of steps [rows], observations by their parts."""
    parts = []
    for name in NAMES:
        value = fields[name]
        parts += list(value.values()) if isinstance(value, dict) else [value]
    return [np.asarray(x) for x in parts]
