"""Targets for action values from off-policy sequences [time, batch].

Retrace (Munos et al., 2016, arXiv:1606.02647), and the transform that reduces the scale of large
values (Pohlen et al., 2018, arXiv:1805.11593).
"""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Transition
from spinward.networks.distributions import pick
from spinward.targets.returns import ends, td_target

EPSILON = 1e-3  # weight of the identity in the transform, which makes the transform invertible


def squashed(x: Array) -> Array:
    """h(x) = sign(x) (sqrt(|x| + 1) - 1) + epsilon x (Pohlen et al., 2018, proposition A.2)."""
    return jnp.sign(x) * (jnp.sqrt(jnp.abs(x) + 1.0) - 1.0) + EPSILON * x


def unsquashed(x: Array) -> Array:
    """The inverse of `squashed`.

    With v = sqrt(|h^-1(x)| + 1) - 1 it is v (v + 2), and v the root of e v^2 + (1 + 2 e) v = |x|
    in the form without cancellation: the published form has an error of 6e-5 at 0 in float32.
    """
    size = jnp.abs(x)
    b = 1.0 + 2.0 * EPSILON
    v = 2.0 * size / (b + jnp.sqrt(b * b + 4.0 * EPSILON * size))
    return jnp.sign(x) * v * (v + 2.0)


def greedy_probs(q: Array, epsilon: float | Array, allowed: Array | None = None) -> Array:
    """The probabilities [..., actions] of the epsilon-greedy policy: with `epsilon` [...] any
    allowed action, else the best by `q`."""
    any_ = jnp.ones_like(q) if allowed is None else (allowed != 0).astype(q.dtype)
    share = jnp.asarray(epsilon)[..., None]
    best = jax.nn.one_hot(q.argmax(-1), q.shape[-1])
    return share * any_ / any_.sum(-1, keepdims=True) + (1.0 - share) * best


def cut_traces(probs: Array, action: Array, behaviour: Array, lam: float | Array) -> Array:
    """c = lam min(1, pi(a|s) / mu(a|s)) [...], of `probs` pi [..., actions] and the probability
    `behaviour` with which the action was taken (Munos et al., 2016, (4))."""
    ratio = pick(probs, action) / jnp.maximum(behaviour, 1e-8)
    return lam * jnp.minimum(1.0, ratio)


def retrace(
    batch: Transition, value: Array, next_value: Array, trace: Array, gamma: float | Array
) -> Array:
    """y_t = Q(s_t, a_t) + sum_{s>=t} gamma^{s-t} (prod_{i=t+1..s} c_i) delta_s [time, batch], with
    delta_t = r_t + gamma E_pi Q(s_{t+1}, .) - Q(s_t, a_t) (Munos et al., 2016, (3)).

    `value` is Q(s_t, a_t), `next_value` E_pi Q(s_{t+1}, .) of the true successor, `trace` c_t of
    the action at t. `gamma` may differ between steps. A trace is cut where the row of steps ends.
    """
    gamma = jnp.broadcast_to(gamma, value.shape)
    error = batch.weight * (td_target(batch, next_value, gamma) - value)
    decay = jnp.where(ends(batch), 0.0, gamma)

    def back(later: Array, x: tuple[Array, ...]) -> tuple[Array, Array]:
        error, decay, trace = x  # `later` is c_{t+1} (y_{t+1} - Q(s_{t+1}, a_{t+1}))
        correction = error + decay * later
        return trace * correction, correction

    steps = (error, decay, trace)
    correction = jax.lax.scan(back, jnp.zeros_like(error[0]), steps, reverse=True, unroll=8)[1]
    return jax.lax.stop_gradient(value + correction)
