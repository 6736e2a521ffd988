"""An order of many rows that is computed where it is wanted, so that no list of rows is kept.

A Feistel network permutes the numbers below a power of 4; numbers that are no row are permuted once
more until they are one (Black and Rogaway, 2002, "Ciphers with arbitrary finite domains").
"""

import numpy as np

ROUNDS = 4
MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: Steele et al., 2014, SplitMix


@np.errstate(over="ignore")  # numbers of 64 bits, which wrap around
def shuffled(position: np.ndarray, rows: int, key: tuple[int, int]) -> np.ndarray:
    """The rows at these positions [n] of an endless list: all rows in random order, then all in
    another order, and so on. Each `key` has its own list."""
    epoch, place = np.divmod(np.asarray(position, np.uint64), np.uint64(rows))
    half = np.uint64(max(1, ((rows - 1).bit_length() + 1) // 2))
    seed = mixed(mixed(np.array(key[:1], np.uint64) + MIX * np.uint64(key[1] + 1)) + MIX * epoch)
    out = permuted(place, seed, half)
    while len(outside := np.flatnonzero(out >= rows)):
        out[outside] = permuted(out[outside], seed[outside], half)
    return out.astype(np.int64)


def permuted(x: np.ndarray, seed: np.ndarray, half: np.uint64) -> np.ndarray:
    """Numbers of `2 * half` bits, permuted."""
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = x >> half, x & mask
    for i in range(ROUNDS):
        left, right = right, left ^ (mixed(seed + MIX * np.uint64(i) + right) & mask)
    return (left << half) | right


def mixed(x: np.ndarray) -> np.ndarray:
    """Bits that depend on all bits of `x` (SplitMix64)."""
    x = x + MIX
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
