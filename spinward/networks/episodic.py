"""Episodic memory, and the novelty of a state compared with it (Badia et al., 2020,
arXiv:2002.06038, section 2; the kernel is that of Pritzel et al., 2017, arXiv:1703.01988)."""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import struct


@struct
class Episodic:
    """The episodic memory of each environment: a ring of the features of the episode's states."""

    held: Array  # [env, slots, dim]
    count: Array  # [env] states added so far

    @classmethod
    def init(cls, envs: int, slots: int, dim: int) -> "Episodic":
        return cls(jnp.zeros((envs, slots, dim)), jnp.zeros(envs, jnp.int32))

    def nearest(self, x: Array, k: int) -> tuple[Array, Array]:
        """The squared distances [env, k] to the nearest neighbours of `x` [env, dim], and a mask of
        those that exist."""
        distance = jnp.square(self.held - x[:, None]).sum(-1)
        full = jnp.arange(distance.shape[-1]) < self.count[:, None]
        closest = -jax.lax.top_k(jnp.where(full, -distance, -jnp.inf), k)[0]
        mask = jnp.isfinite(closest)
        return jnp.where(mask, closest, 0.0), mask

    def put(self, x: Array) -> "Episodic":
        """The memory with the states `x` [env, dim] added; full slots lose the oldest state."""
        slots = self.held.shape[1]
        here = jnp.arange(slots) == (self.count % slots)[:, None]
        return Episodic(jnp.where(here[..., None], x[:, None], self.held), self.count + 1)


def episodic_novelty(
    distance: Array,
    mask: Array,
    mean_distance: float | Array,
    epsilon: float | Array = 1e-3,
    cluster: float = 0.008,
    constant: float = 1e-3,
    most: float = 8.0,
) -> Array:
    """1 / (sqrt(sum_i K(d_i)) + c) [...] of the squared distances [..., k] within the
    `mask`, with K(d) = epsilon / (d + epsilon) and d = max(distance / mean - cluster, 0); 0 where
    that root is above `most`, and for an empty memory (section 2, (2) and algorithm 1).

    `mean_distance` is the running mean of such distances.
    """
    scaled = jnp.maximum(distance / jnp.maximum(mean_distance, 1e-8) - cluster, 0.0)
    kernel = jnp.where(mask, epsilon / (scaled + epsilon), 0.0)
    similarity = jnp.sqrt(kernel.sum(-1)) + constant
    return jnp.where(mask.any(-1) & (similarity <= most), 1.0 / similarity, 0.0)
