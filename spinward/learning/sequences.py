"""Learning action values from replayed sequences (Kapturowski et al., 2019), as functions that
several algorithms call. The policies' memory is a dict: the last action, its reward, and the state
of the recurrent network.
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import ENV_REWARD, Key, Memory, Metrics, Obs, Transition, replace
from spinward.learning.minibatches import means
from spinward.learning.steps import PRIORITIES
from spinward.networks.distributions import pick
from spinward.networks.exploration import epsilon_greedy
from spinward.networks.recurrent import MEMORY, REWARD
from spinward.networks.recurrent_q import CONTEXT, RecurrentQ, part
from spinward.networks.torso import mask
from spinward.targets.retrace import cut_traces, greedy_probs, retrace, squashed, unsquashed

BEHAVIOUR = "behaviour"  # in a batch's extras: the behaviour policy's probability of the action


class Sequential(Protocol):
    """The settings of an algorithm that learns from sequences; r2d2.py explains each."""

    @property
    def envs(self) -> int: ...
    @property
    def rollout(self) -> int: ...
    @property
    def updates(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    @property
    def warmup(self) -> int: ...
    @property
    def burn_in(self) -> int: ...
    @property
    def trace(self) -> int: ...
    @property
    def recurrent(self) -> str: ...
    @property
    def hidden(self) -> tuple[int, ...]: ...
    @property
    def gamma(self) -> float: ...
    @property
    def lam(self) -> float: ...
    @property
    def squash(self) -> bool: ...
    @property
    def epsilon(self) -> float: ...
    @property
    def epsilon_power(self) -> float: ...
    @property
    def target_epsilon(self) -> float: ...
    @property
    def prioritised(self) -> bool: ...
    @property
    def priority_exponent(self) -> float: ...
    @property
    def importance_exponent(self) -> float: ...
    @property
    def priority_max(self) -> float: ...


def memory(model: RecurrentQ, envs: int) -> Memory:
    """The memory at the start of an episode: last action, last reward, and network state."""
    return {
        "action": jnp.zeros((envs, model.actions)),
        REWARD: jnp.zeros(envs),
        "recurrent": model.memory(envs),
    }


def epsilons(settings: Sequential, envs: int) -> Array:
    """The share of random actions in each environment: epsilon^(1 + power i / (envs - 1))
    (Horgan et al., 2018, arXiv:1803.00933, section 4.1)."""
    place = jnp.arange(envs) / max(envs - 1, 1)
    return settings.epsilon ** (1.0 + settings.epsilon_power * place)


def loss(
    settings: Sequential,
    model: RecurrentQ,
    target_network: RecurrentQ,
    rows: Transition,
    next_context: Array,
    reward: Array,
    gamma: float | Array,
) -> tuple[Array, Metrics]:
    """The loss of windows [time, batch]; `next_context` has the context inputs after each step.
    `reward` and `gamma` may differ between steps, so that a family of policies can be learned at
    once."""
    q, next_q = model.unroll(rows, next_context, settings.burn_in)
    lagged, next_lagged = target_network.unroll(rows, next_context, settings.burn_in)
    rows = replace(part(rows, settings.burn_in), reward=reward[settings.burn_in :])
    gamma = jnp.broadcast_to(gamma, reward.shape)[settings.burn_in :]
    plain, small = (unsquashed, squashed) if settings.squash else (same, same)
    probs = greedy_probs(q, settings.target_epsilon, mask(rows.obs))
    next_probs = greedy_probs(next_q, settings.target_epsilon, mask(rows.next_obs))
    trace = cut_traces(probs, rows.action, rows.extras[BEHAVIOUR], settings.lam)
    expected = (next_probs * plain(next_lagged)).sum(-1)
    target = retrace(rows, plain(pick(lagged, rows.action)), expected, trace, gamma)
    value = pick(q, rows.action)
    error = small(target) - value
    size = jnp.abs(error) * rows.weight
    loss = 0.5 * jnp.square(error) * rows.extras.get("importance", 1.0)
    metrics = means({"td_loss": loss, "td_error": size, "value": value}, rows.weight)
    if settings.prioritised:
        share = settings.priority_max
        metrics[PRIORITIES] = share * size.max(0) + (1.0 - share) * size.mean(0)
    return metrics["td_loss"], metrics


def same(x: Array) -> Array:
    return x


def context_inputs(memory: Memory) -> Array:
    """The context inputs [env, numbers] of the network: the last action and its reward, and in
    ngu.py also the active policy and the bonus of the observation."""
    numbers = [memory["action"], squashed(memory[REWARD])[:, None]]
    rest = [memory[name] for name in ("policy", "bonus") if name in memory]
    return jnp.concatenate([*numbers, *rest], -1)


def act_epsilon_greedily(
    q: Array, obs: Obs, after: Memory, memory: Memory, key: Key, epsilon: Array
) -> tuple[Array, Memory, dict[str, Any]]:
    """An epsilon-greedy action by the values `q` [env, actions], the memory after it, and the
    extras that learning needs."""
    action = epsilon_greedy(q, obs, key, epsilon)
    behaviour = pick(greedy_probs(q, epsilon, mask(obs)), action)
    extras = {MEMORY: memory["recurrent"], CONTEXT: context_inputs(memory), BEHAVIOUR: behaviour}
    last = jax.nn.one_hot(action, q.shape[-1])
    return action, {**memory, "action": last, "recurrent": after}, extras


def rows_of(window: Transition, actions: int) -> tuple[Transition, Array]:
    """The steps of a window without its last, and the context inputs [time, batch, numbers] after
    each of them. Where an episode ended, they are those that its true successor would have had."""
    rows = part(window, 0, -1)
    rest = rows.extras[CONTEXT][..., actions + 1 :]
    reward = rows.extras[ENV_REWARD]  # the policy's inputs have the environment's own reward
    last = [jax.nn.one_hot(rows.action, actions), squashed(reward)[..., None], rest]
    next_context = window.extras[CONTEXT][1:]
    return rows, jnp.where(rows.done[..., None], jnp.concatenate(last, -1), next_context)
