"""Policies that data of a known quality are recorded with: random ones, and a trained agent's with
noise."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Box, Discrete, Key, Memory, Obs, Spec, config, no_memory, replace
from spinward.experience.replay import random_action


@config
class Uniform:
    """Uniformly random allowed actions."""

    spec: Spec

    memory = staticmethod(no_memory)

    def act(
        self, agent: Any, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        envs = jax.tree.leaves(obs)[0].shape[0]
        return random_action(replace(self.spec, envs=envs), obs, memory, key)


@config
class Noisy:
    """The greedy policy of an algorithm with noise: a share of random choices, or normal noise on
    numbers. Where there is one choice, its probability is known."""

    algorithm: Any
    spec: Spec
    noise: float  # share of random choices; of numbers the standard deviation, in [-1, 1]

    def memory(self, agent: Any, envs: int) -> Memory:
        return self.algorithm.memory(agent, envs)

    def act(
        self, agent: Any, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        k_act, k_random, k_share = jax.random.split(key, 3)
        greedy, memory, _ = self.algorithm.act(agent, obs, memory, k_act, False)
        if isinstance(self.spec.action, Box):
            noisy = greedy + self.noise * jax.random.normal(k_random, greedy.shape)
            return jnp.clip(noisy, -1.0, 1.0), memory, {}
        uniform = Uniform(self.spec).act((), obs, (), k_random)
        takes = jax.random.bernoulli(k_share, self.noise, greedy.shape[:1])
        takes = takes.reshape(-1, *[1] * (greedy.ndim - 1))
        action = jnp.where(takes, uniform[0], greedy)
        if not isinstance(self.spec.action, Discrete):
            return action, memory, {}
        random = self.noise * jnp.exp(uniform[2]["log_prob"])
        probability = random + (1.0 - self.noise) * (action == greedy)
        return action, memory, {"log_prob": jnp.log(probability)}
