"""Running statistics that belong to the policy: of observations, and of returns."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import MASK, Obs, Spec, Transition, replace, struct
from spinward.networks.per_env import of_batch, with_batch

CLIP = 10.0  # standard deviations, as in OpenAI Baselines' VecNormalize


@struct
class Moments:
    """Mean and variance of all rows so far (Chan et al., 1979)."""

    mean: Array
    var: Array
    count: Array

    @classmethod
    def init(cls, shape: tuple[int, ...] = ()) -> "Moments":
        return cls(jnp.zeros(shape), jnp.ones(shape), jnp.float32(1e-4))

    def add(self, rows: Array, weight: Array) -> "Moments":
        """The moments with the rows [time, env, ...] of nonzero `weight` [time, env] added."""
        weight = weight.reshape(weight.shape + (1,) * (rows.ndim - weight.ndim))
        count = jnp.maximum(weight.sum(), 1e-8)
        mean = (weight * rows).sum((0, 1)) / count
        var = (weight * jnp.square(rows - mean)).sum((0, 1)) / count
        total = self.count + count
        delta = mean - self.mean
        spread = self.var * self.count + var * count
        spread = spread + jnp.square(delta) * self.count * count / total
        return Moments(self.mean + delta * count / total, spread / total, total)


@struct
class ObsNormaliser:
    """Scales vectors to mean 0 and standard deviation 1; images and masks are unchanged."""

    moments: dict[str, Moments]

    @classmethod
    def init(cls, spec: Spec) -> "ObsNormaliser":
        parts = parts_of(spec.zeros())
        return cls({k: Moments.init(x.shape) for k, x in parts.items() if vector(k, x, 0)})

    def __call__(self, obs: Obs) -> Obs:
        scaled = {k: self.scale(k, x) for k, x in parts_of(obs).items()}
        return scaled if isinstance(obs, dict) else scaled[""]

    def scale(self, name: str, x: Array) -> Array:
        moments = self.moments.get(name)
        if moments is None:
            return x
        x = (x - moments.mean) * jax.lax.rsqrt(moments.var + 1e-8)
        return jnp.clip(x, -CLIP, CLIP)

    def add(self, obs: Obs, weight: Array) -> "ObsNormaliser":
        parts = parts_of(obs)
        return ObsNormaliser({k: m.add(parts[k], weight) for k, m in self.moments.items()})


@struct
class Normalised:
    """A network that reads normalised observations. Its gradient passes the statistics by."""

    normaliser: ObsNormaliser
    network: Any

    def __call__(self, obs: Obs) -> Any:
        return self.network(jax.lax.stop_gradient(self.normaliser)(obs))


@struct
class RewardScaler:
    """Divides rewards by the standard deviation of the discounted return so far (OpenAI
    Baselines)."""

    total: Array  # [env] discounted reward of the episode under way
    moments: Moments

    @classmethod
    def init(cls, spec: Spec) -> "RewardScaler":
        return cls(jnp.zeros(spec.envs), Moments.init())

    def add(self, batch: Any, gamma: float | Array) -> "RewardScaler":
        """The statistics with the rewards of a batch [time, env] added."""

        def step(total: Array, x: tuple[Array, Array]) -> tuple[Array, Array]:
            reward, done = x
            total = gamma * total + reward
            return jnp.where(done, 0.0, total), total

        before = of_batch(self.total, batch)
        total, totals = jax.lax.scan(step, before, (batch.reward, batch.done))
        total = with_batch(self.total, total, batch)
        return RewardScaler(total, self.moments.add(totals, batch.weight))

    def __call__(self, reward: Array) -> Array:
        return jnp.clip(reward * jax.lax.rsqrt(self.moments.var + 1e-8), -CLIP, CLIP)


@struct
class Statistics:
    """The running statistics that normalise an agent's observations and rewards."""

    obs: ObsNormaliser
    reward: RewardScaler

    @classmethod
    def init(cls, spec: Spec) -> "Statistics":
        return cls(ObsNormaliser.init(spec), RewardScaler.init(spec))

    def read(
        self, batch: Transition, gamma: float | Array, obs: bool, reward: bool
    ) -> tuple[Transition, "Statistics"]:
        """The batch with observations and rewards normalised as asked, by the statistics that the
        agent acted with, and the statistics for the next batch."""
        scaler = self.reward.add(batch, gamma) if reward else self.reward
        normaliser = self.obs.add(batch.obs, batch.weight) if obs else self.obs
        if reward:
            batch = replace(batch, reward=scaler(batch.reward))
        return self.read_obs(batch) if obs else batch, Statistics(normaliser, scaler)

    def read_obs(self, batch: Transition) -> Transition:
        """A batch with its observations normalised."""
        return replace(batch, obs=self.obs(batch.obs), next_obs=self.obs(batch.next_obs))


def parts_of(obs: Obs) -> dict[str, Any]:
    return obs if isinstance(obs, dict) else {"": obs}


def vector(name: str, x: Array, leading: int) -> bool:
    return name != MASK and x.ndim - leading <= 1
