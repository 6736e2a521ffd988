"""What those who learn from texts have in common: how they act, and what they remember."""

from typing import Any

from jax import Array

from spinward.core import Key, Memory
from spinward.networks.language_policy import drawn, policy, told


def memory(settings: Any, agent: Any, envs: int) -> Memory:
    return policy(settings, agent.learner.model).memory(envs)


def act(
    settings: Any, agent: Any, obs: Array, memory: Memory, key: Key, explore: bool
) -> tuple[Array, Memory, dict[str, Any]]:
    """The next token, drawn or the likeliest."""
    chosen, memory, extras = policy(settings, agent.learner.model).step(obs, memory)
    return drawn(chosen, key) if explore else chosen.mode(), memory, extras


def act_with_log_prob(
    settings: Any, agent: Any, obs: Array, memory: Memory, key: Key, explore: bool
) -> tuple[Array, Memory, dict[str, Any]]:
    """The next token, and in `extras` the logarithm of how likely it was."""
    chosen, memory, extras = policy(settings, agent.learner.model).step(obs, memory)
    action = drawn(chosen, key) if explore else chosen.mode()
    return action, memory, {**extras, "log_prob": told(chosen, action)[0]}
