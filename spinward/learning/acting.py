"""Acting with a stochastic policy: plain functions over typed settings.

The agent has a `model`, with `memory`, `step` and `unroll`, and `statistics` to normalise by.
"""

from typing import Any, Protocol

from jax import Array

from spinward.core import Key, Memory, Obs, Transition


class ActingSettings(Protocol):
    """The settings that acting depends on."""

    @property
    def normalise_obs(self) -> bool: ...


def memory(agent: Any, envs: int) -> Memory:
    """The model's memory at the start of an episode."""
    return agent.model.memory(envs)


def act(
    settings: ActingSettings, agent: Any, obs: Obs, memory: Memory, key: Key, explore: bool
) -> tuple[Array, Memory, dict[str, Any]]:
    """An action and, in `extras`, its log-probability. The action is sampled from the policy with
    `explore`, else it is the mode."""
    obs = agent.statistics.obs(obs) if settings.normalise_obs else obs
    policy, memory, extras = agent.model.step(obs, memory)
    action = policy.sample(key) if explore else policy.mode()
    return action, memory, {**extras, "log_prob": policy.log_prob(action)}


def log_prob(settings: ActingSettings, agent: Any, batch: Transition) -> Array:
    """The log-probabilities of the actions of a batch [time, env] under the agent's policy."""
    if settings.normalise_obs:
        batch = agent.statistics.read_obs(batch)
    policy, _, _ = agent.model.unroll(batch)
    log_prob: Array = policy.log_prob(batch.action)
    return log_prob
