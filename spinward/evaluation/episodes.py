"""Returns of whole episodes, one quota for each seed, so that short episodes are not favoured."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Algorithm, HostEnv, Key, Policy
from spinward.envs.text import Text
from spinward.evaluation.statistics import bootstrap_interval, interquartile_mean
from spinward.experience.generation import Generation
from spinward.experience.rollout import heard, in_env_units
from spinward.experience.vector import Vector

LIMIT = 100_000  # steps after which an episode that has not ended is cut off


class Agents(NamedTuple):
    """The agents of a run [seed], and the environment they act in."""

    algorithm: Algorithm
    agent: Any
    env: Any
    seeds: int


class Score(NamedTuple):
    returns: np.ndarray  # [seed, episode]
    mode: str  # greedy, or sampled as in training

    @property
    def per_seed(self) -> np.ndarray:
        return self.returns.mean(1)

    def to_json(self) -> dict[str, Any]:
        """What `evaluate --json` prints; the interval is of the mean over seeds' means."""
        low, high = bootstrap_interval(self.per_seed)
        numbers = {
            "mean": float(self.returns.mean()),
            "iqm": float(interquartile_mean(self.per_seed)),
            "low": float(low),
            "high": float(high),
        }
        finite = {k: v if np.isfinite(v) else None for k, v in numbers.items()}
        per_seed = self.per_seed.tolist()
        return {
            "episodes": self.returns.shape[1],
            **finite,
            "per_seed": per_seed,
            "mode": self.mode,
        }


def evaluate(agents: Agents, episodes: int, explore: bool = False, seed: int = 0) -> Score:
    """Returns of `episodes` whole episodes of each agent."""
    keys = jax.random.split(jax.random.PRNGKey(seed), agents.seeds)
    if isinstance(agents.env, Text):
        texts = agents.algorithm, agents.env, agents.agent, keys, episodes, explore
        returns = np.asarray(of_texts(*texts))
    elif isinstance(agents.env, HostEnv):
        returns = on_host(agents, episodes, explore, keys)
    else:
        algorithm, env = agents.algorithm, agents.env
        returns = np.asarray(on_device(algorithm, env, agents.agent, keys, episodes, explore))
    return Score(returns, "sampled" if explore else "greedy")


@partial(jax.jit, static_argnames=("episodes", "explore"))
def on_device(
    algorithm: Any, env: Any, agent: Any, keys: Key, episodes: int, explore: bool
) -> Array:
    """All episodes side by side, until the last has ended [seed, episode]."""

    def one_seed(agent: Any, key: Key) -> Array:
        k_reset, key = jax.random.split(key)
        state, obs = jax.vmap(env.reset)(jax.random.split(k_reset, episodes))
        memory = algorithm.memory(agent, episodes)

        def step(x: tuple[Any, ...]) -> tuple[Any, ...]:
            state, obs, memory, total, over, key, steps = x
            key, k_act, k_step = jax.random.split(key, 3)
            action, memory, _ = algorithm.act(agent, obs, memory, k_act, explore)
            state, obs, reward, terminated, truncated = jax.vmap(env.step)(
                state, in_env_units(env, action), jax.random.split(k_step, episodes)
            )
            memory = heard(memory, reward)
            total = total + jnp.where(over, 0.0, reward)
            return state, obs, memory, total, over | terminated | truncated, key, steps + 1

        start = (state, obs, memory, jnp.zeros(episodes), jnp.zeros(episodes, bool), key, 0)
        return jax.lax.while_loop(lambda x: ~x[4].all() & (x[6] < LIMIT), step, start)[3]

    return jax.vmap(one_seed)(agent, keys)


@partial(jax.jit, static_argnames=("episodes", "explore"))
def of_texts(
    algorithm: Any, task: Any, agent: Any, keys: Key, episodes: int, explore: bool
) -> Array:
    """The scores of so many completions [seed, episode]."""
    source = Generation(task, episodes, algorithm.rollout)

    def one_seed(agent: Any, key: Key) -> Array:
        act = partial(algorithm.act, agent, explore=explore)
        _, batch, _ = source.collect((), Policy(act, partial(algorithm.memory, agent)), key)
        return batch.reward.sum(0)

    return jax.vmap(one_seed)(agent, keys)


def on_host(agents: Agents, episodes: int, explore: bool, keys: Key) -> np.ndarray:
    """Each environment plays the same number of episodes [seed, episode]."""
    envs = min(episodes, 8)
    quota = -(-episodes // envs)
    following = jax.jit(jax.vmap(lambda k: jax.random.split(k)[0]))
    act = jax.jit(jax.vmap(partial(agents.algorithm.act, explore=explore)))
    memory = jax.jit(jax.vmap(agents.algorithm.memory, (0, None)), static_argnums=1)
    source = Vector(agents.env, envs, 1)
    policy = Policy(partial(act, agents.agent), partial(memory, agents.agent))
    try:
        k_act: Any = keys
        state = source.init(keys, policy.memory(envs))
        returns: list[list[float]] = [[] for _ in range(agents.seeds * envs)]
        for _ in range(LIMIT * quota):
            k_act, before = following(k_act), state.total
            state, batch, _ = source.collect(state, policy, k_act)
            ended = (batch.done[:, 0] & (batch.weight[:, 0] > 0)).reshape(-1)
            total = (before + batch.reward[:, 0]).reshape(-1)
            for i in np.flatnonzero(ended):
                returns[i].append(float(total[i]))
            if min(map(len, returns)) >= quota:
                break
    finally:
        source.close()
    kept = [r[:quota] + [np.nan] * (quota - len(r)) for r in returns]
    return np.array(kept).reshape(agents.seeds, -1)[:, :episodes]
