"""Returns of whole episodes, one quota for each seed, so that short episodes are not favoured."""

import sys
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Algorithm, Game, HostEnv, Key, Policy
from spinward.envs.against import Against
from spinward.envs.limits import limit_of
from spinward.envs.text import Text
from spinward.evaluation.statistics import described
from spinward.experience.generation import Generation
from spinward.experience.rollout import with_last_reward
from spinward.experience.vector import Vector

OPPONENT = "one_ply"  # in games for two, where none is named
LIMIT = 100_000  # steps after which an episode that has not ended is cut off
UNKNOWN = 30_000  # the same where an environment has no limit of its own, or does not say
LONG = 5_000  # steps of one episode on a host, after which people hear that it goes on


class Agents(NamedTuple):
    """The agents of a run [seed], and the environment they act in."""

    algorithm: Algorithm
    agent: Any
    env: Any  # for a run that learns from texts, the texts
    seeds: int
    reward: Any = None  # of completions, where the task has no score
    reward_state: Any = None  # [seed]


class Score(NamedTuple):
    returns: np.ndarray  # [seed, episode]
    mode: str  # greedy, or sampled as in training
    cut: int = 0  # episodes that had not ended at the limit; they count with their return so far
    metric: str = "return"  # what `returns` are, to people
    weight: np.ndarray | None = None  # [episode] how much each counts; None: all alike
    also: dict[str, np.ndarray] = {}  # further metrics [seed]
    limit: int = LIMIT  # steps after which an episode was cut

    @property
    def per_seed(self) -> np.ndarray:
        return np.average(self.returns, 1, self.weight)

    def to_json(self) -> dict[str, Any]:
        """The output of `evaluate --json`; the interval is over the means of seeds."""
        return {
            "episodes": self.returns.shape[1],
            **described(self.per_seed),
            "per_seed": self.per_seed.tolist(),
            "cut": self.cut,
            "limit": self.limit,
            "mode": self.mode,
            "metric": self.metric,
            **{name: values.tolist() for name, values in self.also.items()},
        }


def evaluate(
    agents: Agents, episodes: int, explore: bool = False, seed: int = 0, limit: int = 0
) -> Score:
    """Returns of `episodes` whole episodes of each agent, or of their first `limit` steps; 0: as
    `limit_for` has it. In a game for two, an agent plays against `OPPONENT`, and begins in half of
    the games by chance."""
    keys = jax.random.split(jax.random.PRNGKey(seed), agents.seeds)
    return scored(agents, episodes, keys, explore, limit or limit_for(agents.env))


def limit_for(env: Any) -> int:
    """Steps after which an episode is cut, for a policy may never end one."""
    return LIMIT if limit_of(env) else UNKNOWN


def scored(
    agents: Agents, episodes: int, keys: Key, explore: bool = False, limit: int = LIMIT
) -> Score:
    """The same with a key for each agent [seed]."""
    cut: Any = 0
    if isinstance(agents.env, Game):
        task = Against(agents.env, OPPONENT)
        score = scored(agents._replace(env=task), episodes, keys, explore, limit)
        return score._replace(metric=f"return against {OPPONENT}")
    if isinstance(agents.env, Text):
        texts = agents.algorithm, agents.env, agents.agent, keys, episodes, explore
        returns = np.asarray(of_texts(*texts))
    elif isinstance(agents.env, HostEnv):
        returns, cut = on_host(agents, episodes, explore, keys, limit)
    else:
        algorithm, env = agents.algorithm, agents.env
        results = on_device(algorithm, env, agents.agent, keys, episodes, explore, limit)
        returns, cut = map(np.asarray, results)
    return Score(returns, "sampled" if explore else "greedy", int(np.sum(cut)), limit=limit)


@partial(jax.jit, static_argnames=("episodes", "explore"))
def on_device(
    algorithm: Any, env: Any, agent: Any, keys: Key, episodes: int, explore: bool, limit: int
) -> tuple[Array, Array]:
    """The returns [seed, episode] of all episodes in parallel, until the last has ended, and the
    number [seed] of episodes that were cut at the limit."""

    def one_seed(agent: Any, key: Key) -> tuple[Array, Array]:
        k_reset, key = jax.random.split(key)
        state, obs = jax.vmap(env.reset)(jax.random.split(k_reset, episodes))
        memory = algorithm.memory(agent, episodes)

        def step(x: tuple[Any, ...]) -> tuple[Any, ...]:
            state, obs, memory, total, over, key, steps = x
            key, k_act, k_step = jax.random.split(key, 3)
            action, memory, _ = algorithm.act(agent, obs, memory, k_act, explore)
            state, obs, reward, terminated, truncated = jax.vmap(env.step)(
                state, env.spec.action.from_unit(action), jax.random.split(k_step, episodes)
            )
            memory = with_last_reward(memory, reward)
            total = total + jnp.where(over, 0.0, reward)
            return state, obs, memory, total, over | terminated | truncated, key, steps + 1

        start = (state, obs, memory, jnp.zeros(episodes), jnp.zeros(episodes, bool), key, 0)
        last = jax.lax.while_loop(lambda x: ~x[4].all() & (x[6] < limit), step, start)
        return last[3], (~last[4]).sum()

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


def on_host(
    agents: Agents, episodes: int, explore: bool, keys: Key, limit: int
) -> tuple[np.ndarray, int]:
    """The returns [seed, episode], equally many from each environment, and how many were cut."""
    envs = min(episodes, 8)
    quota = -(-episodes // envs)
    act = jax.jit(jax.vmap(partial(agents.algorithm.act, explore=explore)))
    memory = jax.jit(jax.vmap(agents.algorithm.memory, (0, None)), static_argnums=1)
    source = Vector(agents.env, envs, 1)
    policy = Policy(partial(act, agents.agent), partial(memory, agents.agent))
    played: list[list[tuple[float, bool]]] = [[] for _ in range(agents.seeds * envs)]
    try:
        while (wanted := quota - np.array([len(p) for p in played])).any():
            quiet = any(cut for row in played for _, cut in row)
            keys, more = play(source, policy, keys, wanted, limit, quiet)
            played = [p + m for p, m in zip(played, more, strict=True)]
    finally:
        source.close()
    kept = np.array(played).reshape(agents.seeds, -1, 2)[:, :episodes]
    return kept[..., 0], int(kept[..., 1].sum())


next_keys = jax.jit(jax.vmap(lambda key: jax.random.split(key)[0]))


def play(
    source: Vector, policy: Policy, keys: Key, wanted: np.ndarray, limit: int, quiet: bool
) -> tuple[Key, list[list[tuple[float, bool]]]]:
    """The return of at most `wanted` episodes of each environment, and whether it was cut. A cut
    episode is the last one, because an environment cannot leave an episode. Unless it is to be
    `quiet`, the first long episode is remarked on."""
    state = source.init(keys, policy.memory(source.envs))
    played: list[list[tuple[float, bool]]] = [[] for _ in wanted]
    over = wanted <= 0
    while not over.all():
        keys, before, steps = next_keys(keys), state.total, state.length
        state, batch, _ = source.collect(state, policy, keys)
        real = (batch.weight[:, 0] > 0).reshape(-1)
        ended = batch.done[:, 0].reshape(-1) & real
        length = np.asarray(steps).reshape(-1) + 1
        cut = ~ended & real & (length >= limit)
        if not quiet and (~over & ~ended & (length == LONG)).any():
            quiet = True
            print(
                f"spinward: an episode has not ended after {LONG:,} steps; "
                f"it is cut after {limit:,} (--limit)",
                file=sys.stderr,
                flush=True,
            )
        total = (before + batch.reward[:, 0]).reshape(-1)
        for i in np.flatnonzero((ended | cut) & ~over):
            played[i].append((float(total[i]), bool(cut[i])))
            over[i] = cut[i] or len(played[i]) >= wanted[i]
    return keys, played
