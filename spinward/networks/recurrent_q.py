"""Recurrent action values: a cell between a torso and duelling heads, whose inputs are the
observation and a context of the last action and reward (Kapturowski et al., 2019; Badia et al.,
2020)."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, Memory, Obs, Spec, Transition, replace, struct
from spinward.networks.distributions import forbid
from spinward.networks.heads import width
from spinward.networks.layers import MLP
from spinward.networks.recurrent import MEMORY, Tower
from spinward.networks.torso import Torso, mask

CONTEXT = "context"  # in a batch's extras: the context inputs of each observation
OF_WINDOW = (MEMORY, "index", "importance")  # extras of windows, not of their steps


@struct
class Streams:
    """Q = V + A - mean A (Wang et al., 2016, arXiv:1511.06581, (9))."""

    value: MLP
    advantage: MLP

    def __call__(self, x: Array) -> Array:
        advantage = self.advantage(x)
        return self.value(x) + advantage - advantage.mean(-1, keepdims=True)


@struct
class RecurrentQ:
    """The value of each action [..., actions]. The last of `hidden` is the cell's width; the layers
    before it read vectors. For images they are all in the torso."""

    torso: Torso
    tower: Tower

    @classmethod
    def init(
        cls, key: Key, spec: Spec, hidden: tuple[int, ...], activation: str, cell: str, context: int
    ) -> "RecurrentQ":
        """A network with so many `context` inputs."""
        k_torso, k_tower, k_value, k_advantage = jax.random.split(key, 4)
        torso, size, left = Torso.init(k_torso, spec.obs, hidden, activation)
        units = hidden[-1]
        value = MLP.init(k_value, (units, 1), activation)
        advantage = MLP.init(k_advantage, (units, width(spec.action)), activation)
        sizes = (size + context, *(left or hidden[-1:]))
        tower = Tower.init(k_tower, sizes, activation, cell, Streams(value, advantage))
        return cls(torso, tower)

    @property
    def actions(self) -> int:
        return self.tower.head.advantage.layers[-1].b.shape[-1]

    def memory(self, envs: int) -> Memory:
        return self.tower.memory(envs)

    def read(self, obs: Obs, context: Array) -> Array:
        return jnp.concatenate([self.torso(obs), context], -1)

    def values(self, after: Memory, obs: Obs) -> Array:
        return forbid(self.tower.head(after[0]), mask(obs))

    def step(self, obs: Obs, context: Array, memory: Memory) -> tuple[Array, Memory]:
        """The values [env, actions], and the memory after the step."""
        after = self.tower.step(self.read(obs, context), memory)
        return self.values(after, obs), after

    def unroll(
        self, rows: Transition, next_context: Array, burn_in: int = 0
    ) -> tuple[Array, Array]:
        """Values of the states of a window [time, batch] without its first `burn_in` steps, and of
        their true successors: [time - burn_in, batch, actions] each.

        The first steps only burn in the memory that was stored with the window (Kapturowski et
        al., 2019, section 3). `next_context` has the context inputs after each step. Successors
        have no gradient.
        """
        memory: Any = jax.tree.map(lambda x: x[0], rows.extras[MEMORY])
        if burn_in:
            first = part(rows, 0, burn_in)
            after = self.tower.unroll(
                self.read(first.obs, first.extras[CONTEXT]), first.done, memory
            )
            over = first.done[-1][:, None]
            warmed = jax.tree.map(lambda m: jnp.where(over, 0.0, m[-1]), after)
            memory = jax.lax.stop_gradient(warmed)
        rows, next_context = part(rows, burn_in), next_context[burn_in:]
        read = self.read(rows.obs, rows.extras[CONTEXT])
        after = self.tower.unroll(read, rows.done, memory)
        fixed: Any = jax.lax.stop_gradient((self, after))
        later = fixed[0].step(rows.next_obs, next_context, fixed[1])[0]
        return self.values(after, rows.obs), later


def part(window: Transition, start: int, stop: int | None = None) -> Transition:
    """The steps of a window [time, batch] from `start` up to `stop`."""
    extras = {k: v for k, v in window.extras.items() if k not in OF_WINDOW}
    steps = replace(window, extras=extras)
    cut: Transition = jax.tree.map(lambda x: x[start:stop], steps)
    kept = {k: v for k, v in window.extras.items() if k in OF_WINDOW}
    return replace(cut, extras={**cut.extras, **kept})
