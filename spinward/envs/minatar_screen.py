"""What the five MinAtar games share: six actions, sticky actions, and a screen of planes."""

import jax.numpy as jnp
import numpy as np
from jax import Array

NOOP, LEFT, UP, RIGHT, DOWN, FIRE = range(6)
MEANINGS = ("stay", "left", "up", "right", "down", "fire")
SIDE = 10  # every screen is a square of this many cells a side
CELL = 32  # pixels of a rendered cell

Colour = tuple[int, int, int]
NIGHT: Colour = (22, 27, 36)


def names_of(actions: tuple[int, ...]) -> tuple[str, ...]:
    """What people call these of the six actions."""
    return tuple(MEANINGS[action] for action in actions)


def meaning(action: Array, actions: tuple[int, ...]) -> Array:
    """Which of the six actions the `action`-th of a game's own `actions` is."""
    return sum((jnp.where(action == i, a, 0) for i, a in enumerate(actions)), jnp.int32(0))


def stuck(action: Array, previous: Array, sticky: float | Array, chance: Array) -> Array:
    """`previous` where `chance`, uniform in [0, 1), is below `sticky`; else `action`
    (Machado et al., 2018, arXiv:1709.06009, section 5)."""
    return jnp.where(chance < sticky, previous, action)


def dots(channels: int, row: Array, column: Array, channel: Array) -> Array:
    """A screen, uint8 [10, 10, channels], that is dark but for cells at [dots] positions.

    What lies beyond the screen's last row or column, or below 0, is not seen. One small scatter is
    several times faster on a CPU than comparisons with every cell.
    """
    row = jnp.where((column < 0) | (row < 0), SIDE, row)
    blank = jnp.zeros((SIDE, SIDE, channels), jnp.uint8)
    return blank.at[row, column, channel].set(1, mode="drop")


def unpacked(bits: Array, place: Array) -> Array:
    """Whether bit `place`, 0 to 9, is set in each number of `bits`, as uint8."""
    # By bytes, because the shift is then as narrow as what it makes, and takes a third of the time.
    byte = jnp.where(place > 7, (bits >> 8).astype(jnp.uint8), (bits & 255).astype(jnp.uint8))
    return (byte >> (place % 8).astype(jnp.uint8)) & jnp.uint8(1)


def picture(obs: Array, colours: tuple[Colour, ...]) -> np.ndarray:
    """A screen as uint8 pixels [320, 320, 3]: squares of a colour for each channel, where a later
    channel covers an earlier one, with dark lines between the cells."""
    planes = np.asarray(obs).astype(bool)
    pixels = np.full((SIDE, SIDE, 3), NIGHT, np.uint8)
    for channel, colour in enumerate(colours):
        pixels[planes[..., channel]] = colour
    pixels = pixels.repeat(CELL, axis=0).repeat(CELL, axis=1)
    line = np.arange(SIDE * CELL) % CELL == 0
    pixels[line] = pixels[:, line] = NIGHT
    return pixels
