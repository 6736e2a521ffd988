"""How an agent acts that draws its actions from a policy: the `act` and `memory` of such.

Their agents have a `model`, with `memory`, `step` and `unroll`, and the `statistics` it reads by.
"""

from typing import Any

from jax import Array

from spinward.core import Key, Memory, Obs


def remember(self: Any, agent: Any, envs: int) -> Memory:
    """What the model remembers where an episode starts."""
    return agent.model.memory(envs)


def draw(
    self: Any, agent: Any, obs: Obs, memory: Memory, key: Key, explore: bool = True
) -> tuple[Array, Memory, dict[str, Any]]:
    """An action from the policy, and in `extras` the logarithm of how likely it was; or the
    likeliest."""
    obs = agent.statistics.obs(obs) if self.normalise_obs else obs
    policy, memory, extras = agent.model.step(obs, memory)
    action = policy.sample(key) if explore else policy.mode()
    return action, memory, {**extras, "log_prob": policy.log_prob(action)}
