"""Steps sampled from a replay, as data for a model's fit.

A step is held out by a hash of its numbers: wherever it is sampled again, and in whatever run, it
is held out again, so no fit has ever seen it.
"""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, Transition, struct
from spinward.models.dynamics import inputs_of, targets_of
from spinward.models.fitting import HELD_OUT

MOST_HELD_OUT = 5_000  # rows that an error is measured on (Janner et al., 2019, their code)

ROUNDED = 12  # trailing bits of a number that decide nothing


@struct
class SampledSteps:
    """Single steps [row, ...], some of them more than once."""

    obs: Array
    action: Array
    reward: Array
    next_obs: Array
    terminated: Array
    weight: Array  # 0 where the step did not happen
    order: Array  # the rows: first those held out, then those to fit, then those of weight 0
    held: Array  # rows held out
    known: Array  # rows that happened

    @classmethod
    def of(cls, batch: Transition) -> "SampledSteps":
        """The steps of a batch with any leading axes."""
        leading = batch.reward.ndim
        fields = batch.obs, batch.action, batch.reward, batch.next_obs
        obs, action, reward, next_obs = (
            x.reshape(-1, *x.shape[leading:]).astype(jnp.float32) for x in fields
        )
        terminated, weight = batch.terminated.reshape(-1), batch.weight.reshape(-1)
        happened = weight > 0
        held = is_held_out(jnp.concatenate([obs, action, next_obs], -1)) & happened
        order = jnp.argsort(jnp.where(held, 0, jnp.where(happened, 1, 2)))
        counts = held.sum(), happened.sum()
        return cls(obs, action, reward, next_obs, terminated, weight, order, *counts)

    def taken(self, rows: Array) -> tuple[Array, Array]:
        """Inputs and targets of these rows."""
        steps = self.obs, self.action, self.reward, self.next_obs
        obs, action, reward, next_obs = (jnp.take(x, rows, 0, mode="clip") for x in steps)
        return inputs_of(obs, action), targets_of(obs, reward, next_obs)

    def everything(self) -> tuple[Array, Array, Array]:
        """Inputs and targets of all rows, and which of these happened."""
        inputs = inputs_of(self.obs, self.action)
        happened = (self.weight > 0).astype(jnp.float32)
        return inputs, targets_of(self.obs, self.reward, self.next_obs), happened

    def held_out(self) -> tuple[Array, Array, Array]:
        """Inputs and targets of held-out rows, and which of these there are."""
        rows = self.order[:MOST_HELD_OUT]
        return *self.taken(rows), (jnp.arange(len(rows)) < self.held).astype(jnp.float32)

    def sample(self, key: Key, shape: tuple[int, ...]) -> Array:
        """Rows that are not held out, sampled with replacement."""
        count = jnp.maximum(self.known - self.held, 1)
        return self.order[self.held + jax.random.randint(key, shape, 0, count)]

    def starts(self, key: Key, count: int) -> Array:
        """Observations [count, dim] of random steps that happened."""
        rows = jax.random.randint(key, (count,), 0, jnp.maximum(self.known, 1))
        return self.obs[self.order[rows]]


def is_held_out(rows: Array) -> Array:
    """Whether each row [row, dim] is held out: one in `HELD_OUT`, by the leading bits of its
    numbers. The others may be rounded elsewhere in another program."""
    bits = jax.lax.bitcast_convert_type(rows, jnp.uint32) >> ROUNDED

    def mix(h: Array, column: Array) -> tuple[Array, None]:
        h = (h ^ column) * jnp.uint32(0x9E3779B1)
        h = (h ^ (h >> 15)) * jnp.uint32(0x85EBCA77)
        return h ^ (h >> 13), None

    h, _ = jax.lax.scan(mix, jnp.full(rows.shape[0], 0x811C9DC5, jnp.uint32), bits.T)
    return h % HELD_OUT == 0
