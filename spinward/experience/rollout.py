"""Experience from an environment in JAX. On a device, only this file resets environments."""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import (
    MASK,
    Key,
    Memory,
    Metrics,
    Obs,
    Policy,
    Spec,
    Transition,
    config,
    replace,
    struct,
)
from spinward.networks.recurrent import REWARD
from spinward.trees import finite, where


@runtime_checkable
class StepsTogether(Protocol):
    """An environment in JAX whose copies take a step in one call: states and actions have a leading
    axis [env], and so have the results."""

    def step_all(
        self, state: Any, action: Array, key: Key
    ) -> tuple[Any, Obs, Array, Array, Array]: ...


@struct
class EpisodeSums:
    """The current episode of each environment."""

    total: Array  # [env] reward so far
    length: Array  # [env] steps so far

    @classmethod
    def init(cls, envs: int) -> "EpisodeSums":
        return cls(jnp.zeros(envs), jnp.zeros(envs, jnp.int32))


@struct
class RolloutState:
    env: Any
    obs: Obs
    memory: Memory
    episodes: EpisodeSums


@config
class Rollout:
    """Steps `envs` copies of `env` `steps` times under one scan; batches are [steps, envs]."""

    env: Any  # an Env
    envs: int
    steps: int

    @property
    def spec(self) -> Spec:
        return replace(self.env.spec, envs=self.envs)

    @property
    def stride(self) -> int:
        return self.envs * self.steps

    def init(self, key: Key, memory: Memory) -> RolloutState:
        env, obs = jax.vmap(self.env.reset)(jax.random.split(key, self.envs))
        return RolloutState(env, obs, memory, EpisodeSums.init(self.envs))

    def step_all(self, state: Any, action: Array, key: Key) -> tuple[Any, Obs, Array, Array, Array]:
        """The step of each copy; see `Env.step`."""
        if isinstance(self.env, StepsTogether):
            return self.env.step_all(state, action, key)
        return jax.vmap(self.env.step)(state, action, jax.random.split(key, self.envs))

    def collect(
        self, state: RolloutState, policy: Policy, key: Key
    ) -> tuple[RolloutState, Transition, Metrics]:
        initial = policy.memory(self.envs)

        def step(state: RolloutState, x: Any) -> tuple[RolloutState, tuple[Transition, Any]]:
            (k_act, k_step), fresh = x
            action, memory, extras = policy.act(state.obs, state.memory, k_act)
            action_taken = self.env.spec.action.from_unit(action)
            env, next_obs, reward, terminated, truncated = self.step_all(
                state.env, action_taken, k_step
            )
            weight = jnp.ones_like(reward)
            batch = Transition(
                state.obs, action, reward, terminated, truncated, next_obs, weight, extras
            )
            env, obs = where(batch.done, fresh, (env, next_obs))
            memory = where(batch.done, initial, with_last_reward(memory, reward))
            episodes, ended = count(state.episodes, reward, batch.done, weight)
            return RolloutState(env, obs, memory, episodes), (batch, ended)

        k_steps, k_reset = jax.random.split(key)
        keys = jax.random.split(k_steps, (self.steps, 2))
        fresh = jax.vmap(jax.vmap(self.env.reset))(
            jax.random.split(k_reset, (self.steps, self.envs))
        )
        state, (batch, ended) = jax.lax.scan(step, state, (keys, fresh))
        return state, batch, {**summarise(*ended), "finite": sound(batch)}


def with_last_reward(memory: Memory, reward: Any) -> Memory:
    """`memory` with the reward [env] of the step, if `memory` is a dict with the key `REWARD`."""
    return {**memory, REWARD: reward} if isinstance(memory, dict) and REWARD in memory else memory


def count(
    episodes: EpisodeSums, reward: Array, done: Array, weight: Array
) -> tuple[EpisodeSums, tuple[Array, ...]]:
    """The current episodes after a step, and (ended, return, length) [env] of ended episodes. A
    step of weight 0 did not happen, and an episode that ends in such a step does not count."""
    total, length = episodes.total + reward, episodes.length + (weight > 0)
    current = EpisodeSums(jnp.where(done, 0.0, total), jnp.where(done, 0, length))
    ended = done & (weight > 0)
    return current, (ended, jnp.where(ended, total, 0.0), jnp.where(ended, length, 0))


def summarise(ended: Array, total: Array, length: Array) -> Metrics:
    """The number of episodes that ended in a batch, and their mean return and length."""
    episodes = ended.sum()
    share = 1.0 / jnp.maximum(episodes, 1)
    return {
        "episodes": episodes,
        "episode_return": total.sum() * share,
        "episode_length": length.sum() * share,
    }


def sound(batch: Transition) -> Array:
    """Whether rewards and observations are finite, and every action mask allows an action."""
    fine = finite((batch.reward, batch.next_obs))
    if isinstance(batch.obs, dict) and MASK in batch.obs:
        fine &= (batch.obs[MASK] != 0).any(-1).all()
    return fine
