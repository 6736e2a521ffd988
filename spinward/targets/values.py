"""Targets for action values, from windows of replayed steps [window, batch]."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Obs, Transition
from spinward.networks.distributions import pick


def n_step(batch: Transition, next_value: Array, gamma: float | Array) -> Array:
    """Sum of `window` discounted rewards and the value of the state after them [batch].

    y = sum_k gamma^k r_k + gamma^n V(s_n) (Sutton and Barto, 2018, (7.1)), where `next_value`
    [window, batch] is of each step's true successor. The window ends early where an episode
    ends: with the value 0 if it terminated, with the value of its last state if it was truncated.
    """
    ends = batch.done.at[-1].set(True)

    def back(target: Array, x: tuple[Array, ...]) -> tuple[Array, None]:
        reward, terminated, ends, value = x
        future = jnp.where(ends, jnp.where(terminated, 0.0, value), target)
        return reward + gamma * future, None

    start = jnp.zeros_like(batch.reward[0])
    steps = (batch.reward, batch.terminated, ends, next_value)
    target, _ = jax.lax.scan(back, start, steps, reverse=True)
    return jax.lax.stop_gradient(target)


def unrolled(batch: Transition, gamma: float | Array) -> tuple[Array, Array, Obs]:
    """The discounted rewards [batch] of each window, the discount [batch] of the value after it,
    and the state [batch, ...] of that value.

    `reward + discount * value(state)` is `n_step`, but the network evaluates only one state of
    each window. The discount is 0 where the episode terminated.
    """
    window = batch.reward.shape[0]
    if window == 1:
        first = jax.tree.map(lambda x: x[0], batch)
        return first.reward, gamma * (1.0 - first.terminated), first.next_obs
    power = gamma ** jnp.arange(window, dtype=jnp.float32)[:, None]
    over = jnp.cumsum(batch.done, 0) - batch.done  # episodes that ended before each step
    reward = jnp.where(over == 0, power * batch.reward, 0.0).sum(0)
    last = (over == 0).sum(0) - 1
    columns = jnp.arange(batch.reward.shape[1])
    end: Any = jax.tree.map(lambda x: x[last, columns], (batch.terminated, batch.next_obs))
    return reward, gamma * power[last, 0] * (1.0 - end[0]), end[1]


def bootstrap(online: Array, target: Array, double: bool = True, lagged: bool = True) -> Array:
    """The value [...] of a state, from both networks' values of its actions [..., actions].

    The state is evaluated by the target network if `lagged`, else by the online network; with
    `double` the *other* network chooses the action (van Hasselt et al., 2018, arXiv:1812.02648,
    section 3):

    | `lagged` | `double` | |
    | --- | --- | --- |
    | no | no | Q-learning: max_a Q(a) |
    | yes | no | target Q-learning: max_a Q'(a) |
    | no | yes | inverse double Q-learning: Q(argmax_a Q'(a)) |
    | yes | yes | double Q-learning: Q'(argmax_a Q(a)) |
    """
    values, other = (target, online) if lagged else (online, target)
    return jax.lax.stop_gradient(pick(values, (other if double else values).argmax(-1)))


def expected(q: Array, probs: Array) -> Array:
    """The value [...] of a state under a policy of `probs` [..., actions]: expected SARSA
    (Sutton and Barto, 2018, (6.9))."""
    return jax.lax.stop_gradient((probs * q).sum(-1))
