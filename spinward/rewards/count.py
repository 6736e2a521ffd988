"""The environment's reward and a bonus for rarely visited states: beta / sqrt(N), by counts N of
observations (Strehl and Littman, 2008) or of their hashes (Tang et al., 2017, arXiv:1611.04717).

Departs from the papers: `beta` may decay; N counts the state that a step leads to; codes are hashed
into `slots` places, where two of them may collide; the end of an episode does not end the bonus.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import (
    ENV_REWARD,
    MASK,
    ROLLOUT,
    Context,
    Key,
    Metrics,
    Obs,
    Spec,
    Transition,
    config,
    replace,
    struct,
)
from spinward.errors import SettingsError
from spinward.networks.normaliser import parts_of
from spinward.networks.per_env import of_batch, with_batch
from spinward.targets.returns import check_discount, outlasting


@struct
class Counts:
    """How often each code was seen, or the codes of the episode under way in each environment."""

    table: Array  # [slots], lifelong
    codes: Array  # uint32 [env, horizon], episodic
    length: Array  # [env] steps of the episode so far
    labels: Array  # batches labelled
    plane: Array  # [dim, bits], for the signs of a SimHash


@config
class Count:
    """Adds `beta / sqrt(N)` to the reward, where N counts the visits of the next state, the present
    visit included."""

    beta: float = 0.1  # bonus of the first visit; about one over the length of an episode
    gamma: float = 0.99  # discount of the bonus after the end of an episode; 0: none follows
    kappa: float = 0.0  # share by which beta decays with each labelled batch
    episodic: bool = False  # count visits of the episode alone, not of the whole training
    bits: int = 0  # bits of the observation's SimHash; 0 counts observations without hashing
    slots: int = 65_536  # places in the table of lifelong counts
    horizon: int = 1_000  # steps of an episode after which episodic counts forget the oldest

    def init(self, key: Key, spec: Spec) -> Counts:
        for name in ("slots", "horizon"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name}={getattr(self, name)} must be at least 1")
        check_discount(self.gamma)
        size = flat(jax.tree.map(jnp.asarray, spec.zeros()), ()).shape[-1]
        plane = jax.random.normal(key, (size, self.bits))
        envs = spec.envs
        table = jnp.zeros(0 if self.episodic else self.slots)
        codes = jnp.zeros((envs, self.horizon if self.episodic else 0), jnp.uint32)
        return Counts(table, codes, jnp.zeros(envs, jnp.int32), jnp.int32(0), plane)

    def label(
        self, state: Counts, batch: Transition, key: Key, context: Context = ROLLOUT
    ) -> tuple[Counts, Transition, Metrics]:
        """Labels a rollout [time, env] or a replayed batch, whose states count when they are
        sampled."""
        codes = self.coded(state.plane, flat(batch.next_obs, batch.reward.shape))
        if self.episodic and not context.replayed:
            state, visits = self.within_episodes(state, codes, batch)
        elif self.episodic:
            raise SettingsError(
                "episodic=True counts the visits of whole episodes, and replay samples steps: use "
                "it with an algorithm that learns from rollouts, such as ppo"
            )
        else:
            state, visits = self.over_life(state, codes, batch.weight)
        beta = self.beta * (1.0 - self.kappa) ** state.labels
        bonus = batch.weight * jax.lax.rsqrt(jnp.maximum(visits, 1.0))
        extras = {**batch.extras, ENV_REWARD: batch.reward, "bonus": bonus}
        state = replace(state, labels=state.labels + 1)
        metrics = {"bonus": bonus.mean(), "bonus_coef": beta}
        reward = batch.reward + beta * outlasting(bonus, batch, self.gamma)
        return state, replace(batch, reward=reward, extras=extras), metrics

    def coded(self, plane: Array, x: Array) -> Array:
        """The hash of each row of `x` [..., dim]: equal for equal rows, or for rows of equal
        signs."""
        if self.bits:
            words = (x @ plane > 0.0).astype(jnp.uint32)
        else:
            words = jax.lax.bitcast_convert_type(x, jnp.uint32)
        odd = 2 * jnp.arange(1, words.shape[-1] + 1, dtype=jnp.uint32) + 1
        mixed = (words ^ (words >> 15)) * (odd * jnp.uint32(0x9E3779B1))
        mixed = (mixed ^ (mixed >> 13)) * jnp.uint32(0x85EBCA77)
        total = mixed.sum(-1, dtype=jnp.uint32)
        total = (total ^ (total >> 16)) * jnp.uint32(0xC2B2AE35)
        return total ^ (total >> 15)

    def over_life(self, state: Counts, codes: Array, weight: Array) -> tuple[Counts, Array]:
        """The number of visits [...] after each step, in which all environments step together."""

        def step(table: Array, x: tuple[Array, Array]) -> tuple[Array, Array]:
            slot, weight = x
            table = table.at[slot].add(weight)
            return table, table[slot]

        slots = (codes % self.slots).astype(jnp.int32)
        rows = slots.reshape(-1, slots.shape[-1]), weight.reshape(-1, slots.shape[-1])
        table, visits = jax.lax.scan(step, state.table, rows)
        return replace(state, table=table), visits.reshape(slots.shape)

    def within_episodes(
        self, state: Counts, codes: Array, batch: Transition
    ) -> tuple[Counts, Array]:
        """The number of visits [time, env] since the episode began."""
        place = jnp.arange(self.horizon)

        def step(x: tuple[Array, Array], row: tuple[Array, Array]) -> tuple[Any, Array]:
            (codes, length), (code, over) = x, row
            at = length[:, None] % self.horizon == place
            codes = jnp.where(at, code[:, None], codes)
            equal = (codes == code[:, None]) & (place <= length[:, None])
            return (codes, jnp.where(over, 0, length + 1)), equal.sum(-1).astype(jnp.float32)

        over = batch.done | (batch.weight == 0.0)
        held = state.codes, state.length
        after, visits = jax.lax.scan(step, of_batch(held, batch), (codes, over))
        kept, length = with_batch(held, after, batch)
        return replace(state, codes=kept, length=length), visits


def flat(obs: Obs, axes: tuple[int, ...]) -> Array:
    """Observations with these leading axes as vectors [*axes, dim], without their masks."""
    parts = {k: x for k, x in parts_of(obs).items() if k != MASK}
    rows = [x.astype(jnp.float32).reshape(*axes, -1) for x in parts.values()]
    return jnp.concatenate(rows, -1)
