"""Exact solutions of finite Markov decision processes: value iteration (Bellman, 1957), policy
iteration (Howard, 1960), and how fast they contract (Puterman, 1994).
"""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import struct

TIE = 1e-5  # share of the largest value by which an action must be better to be preferred


@struct
class MDP:
    """A finite Markov decision process, or several with leading axes."""

    transition: Array  # [state, action, state] probability of the next state
    reward: Array  # [state, action] expected
    start: Array  # [state] probability of being the first state
    terminal: Array  # [state] bool: the episode ends there, and the value is 0


def worth(mdp: MDP, q: Array) -> Array:
    """The value [state] of acting greedily by `q` [state, action]; 0 in terminal states."""
    return jnp.where(mdp.terminal, 0.0, q.max(-1))


def optimality(mdp: MDP, q: Array, gamma: float | Array) -> Array:
    """Bellman's optimality operator: (Tq)(s, a) = r(s, a) + gamma sum_s' P(s' | s, a) max q(s', .).

    A contraction in the maximum norm: the distance of any two `q` [state, action] shrinks by the
    factor gamma or more (Puterman, 1994, proposition 6.2.4).
    """
    return mdp.reward + gamma * mdp.transition @ worth(mdp, q)


def policy_value(mdp: MDP, policy: Array, gamma: float | Array) -> Array:
    """The action values [state, action] of `policy` [state, action], a table of probabilities: by
    the solution of (I - gamma P) v = r, which is exact but for rounding."""
    goes_on = ~mdp.terminal
    chain = jnp.einsum("sa,sat->st", policy, mdp.transition) * goes_on[:, None] * goes_on
    reward = (policy * mdp.reward).sum(-1) * goes_on
    value = jnp.linalg.solve(jnp.eye(len(reward)) - gamma * chain, reward)
    return mdp.reward + gamma * mdp.transition @ (value * goes_on)


def value_iteration(mdp: MDP, q: Array, gamma: float | Array, sweeps: int) -> Array:
    """`q` [state, action] before and after each of so many sweeps [sweeps + 1, state, action].

    The error of the last is at most gamma / (1 - gamma) times its last change.
    """

    def sweep(q: Array, _: None) -> tuple[Array, Array]:
        return (after := optimality(mdp, q, gamma)), after

    _, trace = jax.lax.scan(sweep, q, None, length=sweeps)
    return jnp.concatenate([q[None], trace])


def policy_iteration(mdp: MDP, gamma: float | Array) -> tuple[Array, Array, Array]:
    """The optimal policy's actions [state], the action values [state, action], and the number of
    policies that were evaluated (Howard, 1960).

    An action is kept unless another is better by more than rounding, so that the iteration ends.
    """

    def valued(action: Array) -> Array:
        policy = jax.nn.one_hot(action, mdp.reward.shape[1])
        return policy_value(mdp, policy, gamma)

    def improve(x: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        action, q, count, _ = x
        held = jnp.take_along_axis(q, action[:, None], -1)[:, 0]
        better = (q.max(-1) > held + TIE * jnp.abs(q).max()) & ~mdp.terminal
        action = jnp.where(better, q.argmax(-1), action).astype(jnp.int32)
        return action, valued(action), count + better.any(), better.any()

    action = jnp.zeros(mdp.reward.shape[0], jnp.int32)
    start = (action, valued(action), jnp.int32(1), jnp.bool_(True))
    action, q, count, _ = jax.lax.while_loop(lambda x: x[3], improve, start)
    return action, q, count


def distance(q: Array, other: Array) -> Array:
    """The largest difference over states and actions: the norm in which Bellman's operator is a
    contraction."""
    return jnp.abs(q - other).max((-2, -1))


def contraction(errors: Array, floor: float | Array) -> Array:
    """The factor by which each of `errors` [step] is smaller than the one before [step - 1];
    NaN where the one before is below `floor`, and rounding dominates."""
    return jnp.where(errors[:-1] > floor, errors[1:] / errors[:-1], jnp.nan)
