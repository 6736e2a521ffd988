"""Functions shared by the algorithms that learn from texts: how they act, and their memory."""

from typing import Any

from jax import Array

from spinward.core import Key, Memory
from spinward.networks.language_policy import log_prob_and_entropy, policy, sample_token


def memory(settings: Any, agent: Any, envs: int) -> Memory:
    return policy(settings, agent.learner.model).memory(envs)


def act(
    settings: Any, agent: Any, obs: Array, memory: Memory, key: Key, explore: bool
) -> tuple[Array, Memory, dict[str, Any]]:
    """The next token: sampled with `explore`, else the most likely."""
    distribution, memory, extras = policy(settings, agent.learner.model).step(obs, memory)
    return sample_token(distribution, key) if explore else distribution.mode(), memory, extras


def act_with_log_prob(
    settings: Any, agent: Any, obs: Array, memory: Memory, key: Key, explore: bool
) -> tuple[Array, Memory, dict[str, Any]]:
    """The next token, and in `extras` its log-probability."""
    distribution, memory, extras = policy(settings, agent.learner.model).step(obs, memory)
    action = sample_token(distribution, key) if explore else distribution.mode()
    log_prob, _ = log_prob_and_entropy(distribution, action)
    return action, memory, {**extras, "log_prob": log_prob}
