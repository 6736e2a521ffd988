"""Returns of rollouts [time, env]: of the rewards after each step, or of the whole episode.

Sutton and Barto (2018), chapters 3, 5, 7 and 12. Every function here cuts an episode off where the
rollout ends, where the episode was truncated, and before a step of weight 0 (padding), and there
bootstraps from `next_value`, the value of the true successor. A terminated episode has no later
reward. A step of weight 0 has the return 0.
"""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Transition
from spinward.errors import SettingsError


def ends(batch: Transition) -> Array:
    """Where a row of steps ends: with its episode, with the rollout, or before a missing step."""
    missing = batch.weight == 0
    return batch.done | missing | jnp.concatenate([missing[1:], jnp.ones_like(missing[:1])])


def td_target(batch: Transition, next_value: Array, gamma: float | Array) -> Array:
    """r_t + gamma V(s_{t+1}), with V 0 where the episode terminated (Sutton and Barto, (6.2))."""
    later = jnp.where(batch.terminated, 0.0, next_value)
    return batch.weight * (batch.reward + gamma * later)


def reward_to_go(batch: Transition, next_value: Array, gamma: float | Array) -> Array:
    """G_t = r_t + gamma G_{t+1}, the Monte-Carlo target (Sutton and Barto, (3.9))."""
    last = td_target(batch, next_value, gamma)

    def back(later: Array, x: tuple[Array, ...]) -> tuple[Array, Array]:
        reward, weight, ends, last = x
        value = jnp.where(ends, last, weight * (reward + gamma * later))
        return value, value

    steps = (batch.reward, batch.weight, ends(batch), last)
    return jax.lax.scan(back, jnp.zeros_like(last[0]), steps, reverse=True, unroll=8)[1]


def total_return(batch: Transition, next_value: Array, gamma: float | Array) -> Array:
    """R = sum_k gamma^k r_k over the episode of a step, the same for all of its steps
    (Williams, 1992).

    An episode counts from its first step in the rollout. Earlier rewards do not depend on the
    actions of the rollout, so that leaving them out does not change the mean of the gradient.
    """
    first = starts(batch)

    def forth(total: Array, x: tuple[Array, ...]) -> tuple[Array, Array]:
        first, value, weight = x
        total = jnp.where(first, value, total)
        return total, weight * total

    steps = (first, reward_to_go(batch, next_value, gamma), batch.weight)
    return jax.lax.scan(forth, jnp.zeros_like(batch.reward[0]), steps, unroll=8)[1]


def discounts(batch: Transition, gamma: float | Array) -> Array:
    """gamma^k for the k-th step of each episode, counted from its first in the rollout.

    The factor of the policy gradient of the discounted return in every form but the total return
    (Sutton et al., 2000, theorem 1), which implementations usually leave out.
    """

    def forth(discount: Array, first: Array) -> tuple[Array, Array]:
        discount = jnp.where(first, 1.0, discount * gamma)
        return discount, discount

    return jax.lax.scan(forth, jnp.ones_like(batch.reward[0]), starts(batch), unroll=8)[1]


def starts(batch: Transition) -> Array:
    """Where a row of steps starts."""
    return jnp.concatenate([jnp.ones_like(batch.done[:1]), ends(batch)[:-1]])


def n_step_return(batch: Transition, next_value: Array, gamma: float | Array, n: int) -> Array:
    """G_t = sum_{k<n} gamma^k r_{t+k} + gamma^n V(s_{t+n}), with fewer rewards where the row
    ends (Sutton and Barto, (7.1)). With n 1 it is `td_target`, with a large n `reward_to_go`.
    """
    last, ending = td_target(batch, next_value, gamma), ends(batch)

    def longer(_: int, value: Array) -> Array:
        later = jnp.concatenate([value[1:], jnp.zeros_like(value[:1])])
        return jnp.where(ending, last, batch.weight * (batch.reward + gamma * later))

    return jax.lax.fori_loop(1, n, longer, last)


def lambda_return(
    batch: Transition, next_value: Array, gamma: float | Array, lam: float | Array
) -> Array:
    """G_t = r_t + gamma ((1 - lam) V(s_{t+1}) + lam G_{t+1}) (Sutton and Barto, (12.2)).

    The mean of all `n_step_return`s, the n-th by the share (1 - lam) lam^(n - 1). It is
    `gae` plus the value.
    """
    last = td_target(batch, next_value, gamma)

    def back(later: Array, x: tuple[Array, ...]) -> tuple[Array, Array]:
        reward, weight, ends, last = x
        longer = weight * (reward + gamma * later)
        value = jnp.where(ends, last, (1.0 - lam) * last + lam * longer)
        return value, value

    steps = (batch.reward, batch.weight, ends(batch), last)
    return jax.lax.scan(back, jnp.zeros_like(last[0]), steps, reverse=True, unroll=8)[1]


def check_discount(gamma: float | Array) -> None:
    """Checks that an endless sum of rewards is finite; a gamma that JAX traces is not checked.

    Raises:
        SettingsError: gamma is not within [0, 1).
    """
    if isinstance(gamma, float | int) and not 0.0 <= gamma < 1.0:
        raise SettingsError(f"gamma={gamma} must be 0 or more and less than 1")


def outlasting(bonus: Array, batch: Transition, gamma: float | Array) -> Array:
    """A non-episodic bonus [...] for novelty: a step that terminates is paid, besides its own
    bonus, the value of the mean bonus for ever after, gamma / (1 - gamma) times that mean (Burda et
    al., 2018, arXiv:1810.12894, section 2.3).

    Without that payment, an end of the episode would cost all bonuses of the steps that could have
    followed. An agent would avoid a goal whose reward is less than these bonuses.
    """
    mean_bonus = bonus.sum() / jnp.maximum(batch.weight.sum(), 1.0)
    return bonus + batch.weight * batch.terminated * mean_bonus * gamma / (1.0 - gamma)
