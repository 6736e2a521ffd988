"""Advantages of the actions taken, from a batch [time, env] and values."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Transition, replace
from spinward.targets.returns import ends, n_step_return, td_target


def gae(
    batch: Transition, value: Array, next_value: Array, gamma: float | Array, lam: float | Array
) -> Array:
    """Generalised advantage estimates [time, env] (Schulman et al., 2016, arXiv:1506.02438, (16)).

    A_t = delta_t + gamma lam A_{t+1}, delta_t = r_t + gamma V(s_{t+1}) - V(s_t). The value of the
    true successor is bootstrapped from unless the step terminated; the trace is cut where the
    episode ends, by termination or truncation. A step of weight 0 has the advantage 0 and cuts
    the trace.
    """
    delta = batch.reward + gamma * jnp.where(batch.terminated, 0.0, next_value) - value
    decay = jnp.where(batch.done, 0.0, gamma * lam)

    def back(advantage: Array, x: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        delta, decay, weight = x
        advantage = weight * (delta + decay * advantage)
        return advantage, advantage

    start = jnp.zeros_like(delta[0])
    return jax.lax.scan(back, start, (delta, decay, batch.weight), reverse=True, unroll=8)[1]


def endless(batch: Transition, value: Array, next_value: Array) -> tuple[Transition, Array]:
    """`batch` [time, env] as a continuing task, in which the end of an episode is a transition to
    the first state of the next, and the values of the successors in that task.

    Advantages then count the rewards of all later episodes, too. The first state after an end in
    the last row is not in the batch; it is given the mean value.
    """
    next_start = jnp.concatenate([value[1:], jnp.full_like(value[:1], value.mean())])
    never = jnp.zeros_like(batch.terminated)
    goes_on = replace(batch, terminated=never, truncated=never)
    return goes_on, jnp.where(batch.done, next_start, next_value)


def n_step_advantage(
    batch: Transition, value: Array, next_value: Array, gamma: float | Array, n: int
) -> Array:
    """A_t = sum_{k<n} gamma^k r_{t+k} + gamma^n V(s_{t+n}) - V(s_t) [time, env]
    (Mnih et al., 2016, arXiv:1602.01783, section 4.4).
    """
    return batch.weight * (n_step_return(batch, next_value, gamma, n) - value)


def average_of_others(returns: Array, weight: Array) -> Array:
    """A baseline [env]: for each environment the mean of `returns` [time, env] in all others.

    Its own steps are left out, so that the baseline does not depend on the environment's actions,
    and the mean of the gradient does not change (Williams, 1992; Kool et al., 2019).
    """
    total, count = (weight * returns).sum(0), weight.sum(0)
    return (total.sum() - total) / jnp.maximum(count.sum() - count, 1.0)


class VTrace(NamedTuple):
    target: Array  # [time, env] for the value
    advantage: Array  # [time, env] for the policy


def vtrace(
    batch: Transition,
    value: Array,
    next_value: Array,
    log_ratio: Array,
    gamma: float | Array,
    lam: float | Array = 1.0,
    clip_rho: float | Array = 1.0,
    clip_c: float | Array = 1.0,
) -> VTrace:
    """Targets and advantages of steps that an older policy took (Espeholt et al., 2018,
    arXiv:1802.01561, (1)); `log_ratio` is log pi(a|s) - log mu(a|s), mu the policy that acted.

    v_t = V(s_t) + delta_t + gamma c_t (v_{t+1} - V(s_{t+1})),
    delta_t = rho_t (r_t + gamma V(s_{t+1}) - V(s_t)), rho_t = min(clip_rho, pi / mu),
    c_t = lam min(clip_c, pi / mu); the advantage is rho_t (r_t + gamma v_{t+1} - V(s_t)).
    With lam below 1, lam v_{t+1} + (1 - lam) V(s_{t+1}) replaces v_{t+1} in the advantage, so that
    for on-policy steps it is `gae`. Where a row of steps ends, v_{t+1} is the value of the
    successor.
    """
    ratio = jnp.exp(log_ratio)
    rho, c = jnp.minimum(clip_rho, ratio), lam * jnp.minimum(clip_c, ratio)
    error = batch.weight * (td_target(batch, next_value, gamma) - value)
    decay = jnp.where(ends(batch), 0.0, gamma)

    def back(later: Array, x: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
        error, decay, rho, c, weight = x  # `later` is v_{t+1} - V(s_{t+1})
        correction = weight * (rho * error + decay * c * later)
        advantage = weight * rho * (error + decay * lam * later)
        return correction, (correction, advantage)

    start = jnp.zeros_like(error[0])
    steps = (error, decay, rho, c, batch.weight)
    _, (correction, advantage) = jax.lax.scan(back, start, steps, reverse=True, unroll=8)
    return VTrace(value + correction, advantage)
