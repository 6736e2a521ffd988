"""Learning values of actions from replayed sequences (Kapturowski et al., 2019), as functions that
several algorithms call. What their policies remember is a dict: what was done last, what it earned,
and the state of the recurrent network.
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import ENV_REWARD, Key, Memory, Metrics, Obs, Transition, replace
from spinward.learning.minibatches import means
from spinward.networks.distributions import pick
from spinward.networks.exploration import epsilon_greedy
from spinward.networks.recurrent import MEMORY, REWARD
from spinward.networks.recurrent_q import TOLD, RecurrentQ, part
from spinward.networks.torso import mask
from spinward.targets.retrace import cut_traces, greedy_probs, retrace, squashed, unsquashed

BEHAVIOUR = "behaviour"  # in a batch's extras: the probability with which the action was taken


class Sequential(Protocol):
    """The settings of a learner from sequences; r2d2.py says what each means."""

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
    """What was done last, what it earned, and what the network remembers."""
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
    target: RecurrentQ,
    rows: Transition,
    after: Array,
    reward: Array,
    gamma: float | Array,
) -> tuple[Array, Metrics]:
    """Of windows [time, batch], of which `after` is what was told after each step. `reward` and
    `gamma` are of each step, so that a family of them can be learned at once."""
    q, later = model.unroll(rows, after, settings.burn_in)
    lagged, ahead = target.unroll(rows, after, settings.burn_in)
    rows = replace(part(rows, settings.burn_in), reward=reward[settings.burn_in :])
    gamma = jnp.broadcast_to(gamma, reward.shape)[settings.burn_in :]
    plain, small = (unsquashed, squashed) if settings.squash else (same, same)
    probs = greedy_probs(q, settings.target_epsilon, mask(rows.obs))
    ahead_probs = greedy_probs(later, settings.target_epsilon, mask(rows.next_obs))
    trace = cut_traces(probs, rows.action, rows.extras[BEHAVIOUR], settings.lam)
    expected = (ahead_probs * plain(ahead)).sum(-1)
    goal = retrace(rows, plain(pick(lagged, rows.action)), expected, trace, gamma)
    value = pick(q, rows.action)
    error = small(goal) - value
    size = jnp.abs(error) * rows.weight
    loss = 0.5 * jnp.square(error) * rows.extras.get("importance", 1.0)
    metrics = means({"td_loss": loss, "td_error": size, "value": value}, rows.weight)
    if settings.prioritised:
        share = settings.priority_max
        metrics["priority"] = share * size.max(0) + (1.0 - share) * size.mean(0)
    return metrics["td_loss"], metrics


def same(x: Array) -> Array:
    return x


def told(memory: Memory) -> Array:
    """What the network is told beside an observation [env, numbers]: what was done last and what it
    earned; and in ngu.py which policy is in force, and the bonus of what is seen."""
    numbers = [memory["action"], squashed(memory[REWARD])[:, None]]
    rest = [memory[name] for name in ("policy", "bonus") if name in memory]
    return jnp.concatenate([*numbers, *rest], -1)


def chosen(
    q: Array, obs: Obs, after: Memory, memory: Memory, key: Key, epsilon: Array
) -> tuple[Array, Memory, dict[str, Any]]:
    """An action by the values `q` [env, actions], what is remembered of it, and what learning needs
    to know."""
    action = epsilon_greedy(q, obs, key, epsilon)
    behaviour = pick(greedy_probs(q, epsilon, mask(obs)), action)
    extras = {MEMORY: memory["recurrent"], TOLD: told(memory), BEHAVIOUR: behaviour}
    done = jax.nn.one_hot(action, q.shape[-1])
    return action, {**memory, "action": done, "recurrent": after}, extras


def rows_of(window: Transition, actions: int) -> tuple[Transition, Array]:
    """The steps of a window but its last, and what the network was told after each of them
    [time, batch, numbers]: where an episode ended, what it would have been told."""
    rows = part(window, 0, -1)
    rest = rows.extras[TOLD][..., actions + 1 :]
    earned = rows.extras[ENV_REWARD]  # a policy hears the environment, not what labels its rewards
    last = [jax.nn.one_hot(rows.action, actions), squashed(earned)[..., None], rest]
    after = window.extras[TOLD][1:]
    return rows, jnp.where(rows.done[..., None], jnp.concatenate(last, -1), after)
