"""Positions of self-play: their outcomes, the ring that keeps them, and their symmetric copies."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Key, Obs, Spec, Transition, struct
from spinward.spaces import GAME_STATE


@struct
class Positions:
    """What is learned from positions: leaves [rows, ...]."""

    obs: Obs
    policy: Array  # [rows, actions] the search's
    outcome: Array  # of the game, for the side to move
    known: Array  # 1 where the game has ended, so that there is an outcome


@struct
class Ring:
    """The newest positions."""

    rows: Positions
    added: Array  # positions, since the start

    @classmethod
    def init(cls, spec: Spec, capacity: int) -> "Ring":
        actions = spec.action.n  # type: ignore[union-attr]
        obs = jax.tree.map(jnp.asarray, learned(spec.zeros(capacity)))
        policy, none = jnp.zeros((capacity, actions)), jnp.zeros(capacity)
        return cls(Positions(obs, policy, none, none), jnp.int32(0))

    def add(self, new: Positions) -> "Ring":
        """With new positions, whose number divides the capacity."""
        count, capacity = new.outcome.shape[0], self.rows.outcome.shape[0]
        at = self.added % capacity
        rows = jax.tree.map(
            lambda old, x: jax.lax.dynamic_update_slice_in_dim(old, x.astype(old.dtype), at, 0),
            self.rows,
            new,
        )
        return Ring(rows, self.added + count)

    def sample(self, key: Key, count: int) -> Positions:
        """So many positions, drawn uniformly with replacement."""
        filled = jnp.minimum(self.added, self.rows.outcome.shape[0])
        index = jax.random.randint(key, (count,), 0, filled)
        return jax.tree.map(lambda x: x[index], self.rows)


def learned(obs: Obs) -> Obs:
    """The parts of positions that are learned from: all but the state of the game."""
    return {name: part for name, part in obs.items() if name != GAME_STATE}


def outcomes(batch: Transition) -> tuple[Array, Array]:
    """The result of the game of every step [time, env] for its mover, and whether it is known.

    z_t = r_t - z_{t+1}, without a future where the game ends at t. It is known if the game ends
    within the batch.
    """

    def back(
        later: tuple[Array, Array], step: Transition
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        z, known = later
        z = step.reward - jnp.where(step.done, 0.0, z)
        known = step.done | known
        return (z, known), (z, known)

    start = jnp.zeros_like(batch.reward[0]), jnp.zeros_like(batch.terminated[0])
    _, (z, known) = jax.lax.scan(back, start, batch, reverse=True)
    return jnp.where(known, z, 0.0), known


def transformed(
    rows: Positions, symmetries: tuple[np.ndarray, np.ndarray], board: str, mask: str, key: Key
) -> Positions:
    """Each position under a symmetry of the game that is drawn for it."""
    cells, actions = (jnp.asarray(x) for x in symmetries)
    if cells.shape[0] == 1:
        return rows
    which = jax.random.randint(key, rows.outcome.shape, 0, cells.shape[0])

    def permuted(x: Array, order: Array) -> Array:
        return jnp.take_along_axis(x, order.reshape(*order.shape, *[1] * (x.ndim - 2)), 1)

    planes = rows.obs[board]
    flat = planes.reshape(planes.shape[0], -1, planes.shape[-1])
    obs = {
        board: permuted(flat, cells[which]).reshape(planes.shape),
        mask: permuted(rows.obs[mask], actions[which]),
    }
    return Positions(obs, permuted(rows.policy, actions[which]), rows.outcome, rows.known)
