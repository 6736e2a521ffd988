"""What was met in an episode, and how new a state is beside it (Badia et al., 2020,
arXiv:2002.06038, section 2; the kernel is Pritzel et al.'s, 2017, arXiv:1703.01988)."""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import struct


@struct
class Episodic:
    """The features of the states of the episode under way in each environment: a ring."""

    held: Array  # [env, slots, dim]
    count: Array  # [env] states ever put in

    @classmethod
    def init(cls, envs: int, slots: int, dim: int) -> "Episodic":
        return cls(jnp.zeros((envs, slots, dim)), jnp.zeros(envs, jnp.int32))

    def nearest(self, x: Array, k: int) -> tuple[Array, Array]:
        """The squared distances [env, k] of the nearest to `x` [env, dim], and which there are."""
        apart = jnp.square(self.held - x[:, None]).sum(-1)
        full = jnp.arange(apart.shape[-1]) < self.count[:, None]
        closest = -jax.lax.top_k(jnp.where(full, -apart, -jnp.inf), k)[0]
        there = jnp.isfinite(closest)
        return jnp.where(there, closest, 0.0), there

    def put(self, x: Array) -> "Episodic":
        """With the states `x` [env, dim], in place of the oldest where all slots are full."""
        slots = self.held.shape[1]
        here = jnp.arange(slots) == (self.count % slots)[:, None]
        return Episodic(jnp.where(here[..., None], x[:, None], self.held), self.count + 1)


def episodic_novelty(
    apart: Array,
    there: Array,
    usual: float | Array,
    epsilon: float | Array = 1e-3,
    cluster: float = 0.008,
    constant: float = 1e-3,
    most: float = 8.0,
) -> Array:
    """1 / (sqrt(sum_i K(d_i)) + c) [...] of the squared distances `apart` [..., k] that are
    `there`, with K(d) = epsilon / (d + epsilon) and d = max(apart / usual - cluster, 0); 0 where
    that root is above `most`, and where nothing was met before (section 2, (2) and algorithm 1).

    `usual` is the running mean of such distances.
    """
    scaled = jnp.maximum(apart / jnp.maximum(usual, 1e-8) - cluster, 0.0)
    kernel = jnp.where(there, epsilon / (scaled + epsilon), 0.0)
    likeness = jnp.sqrt(kernel.sum(-1)) + constant
    return jnp.where(there.any(-1) & (likeness <= most), 1.0 / likeness, 0.0)
