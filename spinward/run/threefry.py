"""JAX's random bits, compiled for a CPU without a loop.

On a CPU, JAX compiles the five turns of Threefry-2x32 (Salmon et al., 2011) as a loop of small
programs, and the loop takes longer than the arithmetic. Unrolled, the turns are one program with
the same bits, and a whole training of DQN takes a seventh less time.
"""

import numpy as np
from jax import Array
from jax.extend.random import threefry2x32_p
from jax.interpreters import mlir

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


def threefry(key0: Array, key1: Array, x0: Array, x1: Array) -> tuple[Array, Array]:
    """Two words of random bits for each pair of counters `x0`, `x1`; all uint32."""
    keys = key0, key1, key0 ^ key1 ^ np.uint32(PARITY)
    x0, x1 = x0 + keys[0], x1 + keys[1]
    for turn in range(5):
        for rotation in ROTATIONS[turn % 2]:
            x0 = x0 + x1
            x1 = x0 ^ (x1 << np.uint32(rotation) | x1 >> np.uint32(32 - rotation))
        x0 = x0 + keys[(turn + 1) % 3]
        x1 = x1 + keys[(turn + 2) % 3] + np.uint32(turn + 1)
    return x0, x1


def unroll() -> None:
    """Makes all programs that are compiled for a CPU after this call use `threefry`."""
    rule = mlir.lower_fun(threefry, multiple_results=True)
    mlir.register_lowering(threefry2x32_p, rule, platform="cpu", inline=False)
