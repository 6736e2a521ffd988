"""Returns of rollouts [time, env]: what came after each step, or of the whole episode it is in.

Sutton and Barto (2018), chapters 3, 5, 7 and 12. In each of them an episode is cut off where the
rollout ends, where it was truncated, and before a step of weight 0 (one that did not happen); what
is not seen then is worth `next_value`, the value of the true successor. A terminated episode has no
more. A step of weight 0 has the return 0.
"""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Transition
from spinward.errors import SettingsError


def ends(batch: Transition) -> Array:
    """Where a row of steps ends: with its episode, the rollout, or where one is lost."""
    lost = batch.weight == 0
    return batch.done | lost | jnp.concatenate([lost[1:], jnp.ones_like(lost[:1])])


def td_target(batch: Transition, next_value: Array, gamma: float | Array) -> Array:
    """r_t + gamma V(s_{t+1}), with no V where the episode terminated (Sutton and Barto, (6.2))."""
    following = jnp.where(batch.terminated, 0.0, next_value)
    return batch.weight * (batch.reward + gamma * following)


def reward_to_go(batch: Transition, next_value: Array, gamma: float | Array) -> Array:
    """G_t = r_t + gamma G_{t+1}, the Monte-Carlo target (Sutton and Barto, (3.9))."""
    last = td_target(batch, next_value, gamma)

    def back(following: Array, x: tuple[Array, ...]) -> tuple[Array, Array]:
        reward, weight, ends, last = x
        value = jnp.where(ends, last, weight * (reward + gamma * following))
        return value, value

    steps = (batch.reward, batch.weight, ends(batch), last)
    return jax.lax.scan(back, jnp.zeros_like(last[0]), steps, reverse=True, unroll=8)[1]


def total_return(batch: Transition, next_value: Array, gamma: float | Array) -> Array:
    """R = sum_k gamma^k r_k over the episode that a step is in, the same for all of its steps
    (Williams, 1992).

    An episode counts from its first step in the rollout. What it earned before cannot depend on
    the actions that are here, so leaving it out changes no mean.
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

    The factor that the policy gradient of the discounted return has before every form but the
    total return (Sutton et al., 2000, theorem 1), and that practice leaves out.
    """

    def forth(discount: Array, first: Array) -> tuple[Array, Array]:
        discount = jnp.where(first, 1.0, discount * gamma)
        return discount, discount

    return jax.lax.scan(forth, jnp.ones_like(batch.reward[0]), starts(batch), unroll=8)[1]


def starts(batch: Transition) -> Array:
    """Where a row of steps starts."""
    return jnp.concatenate([jnp.ones_like(batch.done[:1]), ends(batch)[:-1]])


def n_step_return(batch: Transition, next_value: Array, gamma: float | Array, n: int) -> Array:
    """G_t = sum_{k<n} gamma^k r_{t+k} + gamma^n V(s_{t+n}), shorter where the row ends
    (Sutton and Barto, (7.1)). With n 1 it is `td_target`, with a large one `reward_to_go`.
    """
    last, ending = td_target(batch, next_value, gamma), ends(batch)

    def longer(_: int, value: Array) -> Array:
        following = jnp.concatenate([value[1:], jnp.zeros_like(value[:1])])
        return jnp.where(ending, last, batch.weight * (batch.reward + gamma * following))

    return jax.lax.fori_loop(1, n, longer, last)


def lambda_return(
    batch: Transition, next_value: Array, gamma: float | Array, lam: float | Array
) -> Array:
    """G_t = r_t + gamma ((1 - lam) V(s_{t+1}) + lam G_{t+1}) (Sutton and Barto, (12.2)).

    The mean of all `n_step_return`s, the n-th by the share (1 - lam) lam^(n - 1). It is
    `gae` plus the value.
    """
    last = td_target(batch, next_value, gamma)

    def back(following: Array, x: tuple[Array, ...]) -> tuple[Array, Array]:
        reward, weight, ends, last = x
        longer = weight * (reward + gamma * following)
        value = jnp.where(ends, last, (1.0 - lam) * last + lam * longer)
        return value, value

    steps = (batch.reward, batch.weight, ends(batch), last)
    return jax.lax.scan(back, jnp.zeros_like(last[0]), steps, reverse=True, unroll=8)[1]


def check_discount(gamma: float | Array) -> None:
    """That what never ends is worth something finite; of a gamma that JAX traces nothing is said.

    Raises:
        SettingsError: it is not.
    """
    if isinstance(gamma, float | int) and not 0.0 <= gamma < 1.0:
        raise SettingsError(f"gamma={gamma} must be 0 or more and less than 1")


def outlasting(bonus: Array, batch: Transition, gamma: float | Array) -> Array:
    """A bonus [...] for novelty that no end of an episode cuts short, as if the next one went on
    with it: a step that terminates is paid, besides its own, what a mean bonus is worth for good,
    gamma / (1 - gamma) of it (Burda et al., 2018, arXiv:1810.12894, section 2.3).

    Without that, a goal that ends the episode costs all that would have been found in the rest of
    it, and where this is more than the goal pays, an agent learns to stay away from it.
    """
    usual = bonus.sum() / jnp.maximum(batch.weight.sum(), 1.0)
    return bonus + batch.weight * batch.terminated * usual * gamma / (1.0 - gamma)
