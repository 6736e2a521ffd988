"""Scores of runs on texts: the loss or the accuracy of comparisons on held-out texts; or the reward
of completions, for an algorithm that writes them."""

from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array

from spinward.core import Key, Policy, Transition
from spinward.errors import NonFiniteError
from spinward.evaluation.episodes import Agents, Score
from spinward.experience.generation import Generation
from spinward.experience.texts import TextBatches
from spinward.rewards.verifier import Verifier

READ = "read"  # the mode of scores on texts that the policy did not write
PREFIX = "held_out_"  # of metrics in a log
SIDE_BY_SIDE = 8  # rows that are read at once
MOST = 256  # rows that are learned from and scored by, where none are held out


def evaluate(agents: Agents, episodes: int, explore: bool = False, seed: int = 0) -> Score:
    """The score of each agent, on all held-out texts or on so many prompts.

    Raises:
        NonFiniteError: a reward that is not finite.
    """
    if isinstance(agents.env, TextBatches):
        return on_texts(agents, agents.env)
    keys = jax.random.split(jax.random.PRNGKey(seed), agents.seeds)
    task, reward = agents.env, agents.reward
    more = agents.agent, agents.reward_state, keys, episodes, explore
    returns = np.asarray(rewarded(agents.algorithm, task, reward, *more))
    if not np.isfinite(returns).all():
        failure = reward.failure() if isinstance(reward, Verifier) else ""
        raise NonFiniteError(failure or "the reward of a completion is not finite")
    who = f"reward of {reward.function}" if isinstance(reward, Verifier) else "reward"
    return Score(returns, "sampled" if explore else "greedy", 0, who)


def on_texts(agents: Agents, source: TextBatches) -> Score:
    held = source.held is not None
    rows = source.held if held else jax.tree.map(lambda x: x[:MOST], source.data)
    measured = jax.device_get(of_rows(agents.algorithm, agents.agent, rows))
    paired, where = rows.weight.shape[1] > 1, "held-out" if held else "training"
    name = f"preference accuracy on {where} pairs" if paired else f"loss per token on {where} texts"
    weight = weights(rows)
    also = {n: np.average(x, 1, weight) for n, x in measured.items()}
    return Score(measured["accuracy" if paired else "nll"], READ, 0, name, weight, also)


def measure(parts: Any, agent: Any) -> dict[str, list[float]]:
    """The metrics of agents [seed] on held-out texts, for a log; empty without such texts."""
    source = parts.source
    if not isinstance(source, TextBatches) or source.held is None:
        return {}
    measured = jax.device_get(of_rows(parts.algorithm, agent, source.held))
    weight = weights(source.held)
    return {PREFIX + n: np.average(x, 1, weight).tolist() for n, x in measured.items()}


def weights(rows: Transition) -> np.ndarray:
    """The weight of each row: its number of learned tokens; 1 for a comparison."""
    weight = np.asarray(rows.weight)
    return weight.sum((1, 2)) if weight.shape[1] == 1 else np.ones(len(weight))


@jax.jit
def of_rows(algorithm: Any, agent: Any, rows: Transition) -> dict[str, Array]:
    """The metrics [seed, row] of each row [row, ranked, time] by itself."""

    def one_seed(agent: Any) -> Any:
        def one(row: Transition) -> Any:
            return algorithm.validate(agent, jax.tree.map(lambda x: x.T, row))

        return jax.lax.map(one, rows, batch_size=SIDE_BY_SIDE)

    return jax.vmap(one_seed)(agent)


@partial(jax.jit, static_argnames=("episodes", "explore"))
def rewarded(
    algorithm: Any, task: Any, reward: Any, agent: Any, reward_state: Any, keys: Key,
    episodes: int, explore: bool,
) -> Array:  # fmt: skip
    """The rewards of `episodes` completions [seed, episode]."""
    source = Generation(task, episodes, algorithm.rollout)

    def one_seed(agent: Any, reward_state: Any, key: Key) -> Array:
        act = partial(algorithm.act, agent, explore=explore)
        k_collect, k_label = jax.random.split(key)
        _, batch, _ = source.collect((), Policy(act, partial(algorithm.memory, agent)), k_collect)
        _, batch, _ = reward.label(reward_state, batch, k_label)
        return batch.reward.sum(0)

    return jax.vmap(one_seed)(agent, reward_state, keys)


@partial(jax.jit, static_argnames="count")
def written_once(
    algorithm: Any, task: Any, reward: Any, agent: Any, reward_state: Any, key: Key, count: int
) -> Transition:
    """The steps [time, env] of `count` completions of one seed's policy, as in training, with the
    rewards that they are trained on."""
    source = Generation(task, count, algorithm.rollout)
    policy = Policy(partial(algorithm.act, agent), partial(algorithm.memory, agent))
    k_collect, k_label = jax.random.split(key)
    _, batch, _ = source.collect((), policy, k_collect)
    labelled: Transition = reward.label(reward_state, batch, k_label)[1]
    return labelled
