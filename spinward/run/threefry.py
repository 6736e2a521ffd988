"""JAX's random bits, compiled for a CPU without a loop.

There JAX writes the five turns of Threefry-2x32 (Salmon et al., 2011) as a loop of small programs,
which takes longer than the arithmetic in it. Written out it is one program: the same bits, in a
seventh less time for a whole training of DQN.
"""

import numpy as np
from jax import Array
from jax.extend.random import threefry2x32_p
from jax.interpreters import mlir

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


def threefry(key0: Array, key1: Array, x0: Array, x1: Array) -> tuple[Array, Array]:
    """Two words of random bits for each pair of words `x0`, `x1` counted; all uint32."""
    keys = key0, key1, key0 ^ key1 ^ np.uint32(PARITY)
    x0, x1 = x0 + keys[0], x1 + keys[1]
    for turn in range(5):
        for rotation in ROTATIONS[turn % 2]:
            x0 = x0 + x1
            x1 = x0 ^ (x1 << np.uint32(rotation) | x1 >> np.uint32(32 - rotation))
        x0 = x0 + keys[(turn + 1) % 3]
        x1 = x1 + keys[(turn + 2) % 3] + np.uint32(turn + 1)
    return x0, x1


def write_out() -> None:
    """Has programs that are compiled from here on for a CPU use `threefry`."""
    rule = mlir.lower_fun(threefry, multiple_results=True)
    mlir.register_lowering(threefry2x32_p, rule, platform="cpu", inline=False)
