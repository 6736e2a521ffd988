"""Groups of fish, submarines, divers and bullets: what moves and meets in MinAtar's Seaquest."""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import replace, struct
from spinward.envs.minatar_screen import SIDE

NOTHING, FISH, SUB = range(3)
LATER = 1 << 24  # more than any step's number: puts one kind of enemy after the other


@struct
class Swimmers:
    """Fish and submarines, or divers, or our bullets: leaves [n]."""

    kind: Array  # 0 where there is nobody
    x: Array
    y: Array
    right: Array  # 1 is rightwards, -1 leftwards
    timer: Array  # steps until it moves
    shot: Array  # steps until it shoots
    birth: Array  # the step in which it appeared


def nobody(count: int) -> Swimmers:
    """Room for `count` swimmers."""
    zeros = jnp.zeros(count, jnp.int32)
    return Swimmers(zeros, zeros, zeros, zeros + 1, zeros, zeros, zeros)


def pushed(group: Swimmers, new: Swimmers, here: Array) -> Swimmers:
    """The group with a `new` first member where `here`; the last one, long gone, drops out."""

    def push(leaf: Array, value: Array) -> Array:
        return jnp.where(here, jnp.concatenate([value[None], leaf[:-1]]), leaf)

    return jax.tree.map(push, group, new)


def fly(group: Swimmers) -> Swimmers:
    """The group a cell further on; who left the screen is gone."""
    x = group.x + group.right
    return replace(group, x=x, kind=jnp.where((x >= 0) & (x < SIDE), group.kind, NOTHING))


def swim(group: Swimmers, due: Array, speed: Array | int) -> Swimmers:
    """The group after those that are `due` moved; the others wait."""
    after = fly(group)
    return replace(
        group,
        x=jnp.where(due, after.x, group.x),
        kind=jnp.where(due, after.kind, group.kind),
        timer=jnp.where(due, speed, group.timer - 1),
    )


def struck(
    bullets: Swimmers, enemies: Swimmers, targets: Array, newest: bool = False
) -> tuple[Swimmers, Swimmers, Array]:
    """Bullets and enemies without those that met, and how many did; `targets` can be hit.

    A bullet hits one of the enemies in its cell. Bullets that arrive at enemies take turns, the
    newest first, and hit the oldest fish before the submarines. Enemies that arrive at bullets
    (`newest`) take turns the other way around.
    """
    order = jnp.where(enemies.kind == SUB, enemies.birth + LATER, enemies.birth)
    order = -order if newest else order
    kind, left, hits = enemies.kind, [bullets.kind[0], bullets.kind[1]], jnp.int32(0)
    for i in (1, 0) if newest else (0, 1):
        here = targets & (kind > 0) & (left[i] > 0)
        here = here & (enemies.x == bullets.x[i]) & (enemies.y == bullets.y[i])
        turn = jnp.where(here, order, 4 * LATER)
        kind = jnp.where(here & (turn == turn.min()), NOTHING, kind)
        left[i] = jnp.where(here.any(), NOTHING, left[i])
        hits = hits + here.any()
    return replace(bullets, kind=jnp.stack(left)), replace(enemies, kind=kind), hits
