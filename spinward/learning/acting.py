"""How an agent acts that draws its actions from a policy: plain functions over typed settings.

Such an agent has a `model`, with `memory`, `step` and `unroll`, and the `statistics` it reads by.
"""

from typing import Any, Protocol

from jax import Array

from spinward.core import Key, Memory, Obs, Transition


class Acting(Protocol):
    """The settings that acting heeds."""

    @property
    def normalise_obs(self) -> bool: ...


def memory(agent: Any, envs: int) -> Memory:
    """What the model remembers where an episode starts."""
    return agent.model.memory(envs)


def act(
    settings: Acting, agent: Any, obs: Obs, memory: Memory, key: Key, explore: bool
) -> tuple[Array, Memory, dict[str, Any]]:
    """An action from the policy, and in `extras` the logarithm of how likely it was; or the
    likeliest."""
    obs = agent.statistics.obs(obs) if settings.normalise_obs else obs
    policy, memory, extras = agent.model.step(obs, memory)
    action = policy.sample(key) if explore else policy.mode()
    return action, memory, {**extras, "log_prob": policy.log_prob(action)}


def log_prob(settings: Acting, agent: Any, batch: Transition) -> Array:
    """How likely the actions of a batch [time, env] were under the agent's policy, in nats."""
    if settings.normalise_obs:
        batch = agent.statistics.read_obs(batch)
    policy, _, _ = agent.model.unroll(batch)
    found: Array = policy.log_prob(batch.action)
    return found
