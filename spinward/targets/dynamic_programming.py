"""Exact solutions of finite Markov decision processes: value iteration (Bellman, 1957), policy
iteration (Howard, 1960), and how fast they contract (Puterman, 1994).
"""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import struct

TIE = 1e-5  # by which share of the largest value an action must be better to be preferred


@struct
class MDP:
    """A finite Markov decision process, or several with leading axes."""

    transition: Array  # [state, action, state] probability of what follows
    reward: Array  # [state, action] expected
    start: Array  # [state] probability of being the first
    terminal: Array  # [state] bool: the episode ends there, and its future is worth nothing


def worth(mdp: MDP, q: Array) -> Array:
    """The value of acting greedily by `q` [state, action] in each state; 0 where all is over."""
    return jnp.where(mdp.terminal, 0.0, q.max(-1))


def optimality(mdp: MDP, q: Array, gamma: float | Array) -> Array:
    """Bellman's optimality operator: (Tq)(s, a) = r(s, a) + gamma sum_s' P(s' | s, a) max q(s', .).

    It brings any two `q` [state, action] nearer to each other in the largest difference, by the
    factor gamma or more (Puterman, 1994, proposition 6.2.4).
    """
    return mdp.reward + gamma * mdp.transition @ worth(mdp, q)


def policy_value(mdp: MDP, policy: Array, gamma: float | Array) -> Array:
    """What each action is worth [state, action] where `policy` [state, action], probabilities,
    acts ever after: the solution of (I - gamma P) v = r, exact but for rounding."""
    goes_on = ~mdp.terminal
    chain = jnp.einsum("sa,sat->st", policy, mdp.transition) * goes_on[:, None] * goes_on
    reward = (policy * mdp.reward).sum(-1) * goes_on
    value = jnp.linalg.solve(jnp.eye(len(reward)) - gamma * chain, reward)
    return mdp.reward + gamma * mdp.transition @ (value * goes_on)


def value_iteration(mdp: MDP, q: Array, gamma: float | Array, sweeps: int) -> Array:
    """`q` [state, action] and what it is after each of so many sweeps [sweeps + 1, state, action].

    The last is off by at most gamma / (1 - gamma) times its own last change.
    """

    def sweep(q: Array, _: None) -> tuple[Array, Array]:
        return (after := optimality(mdp, q, gamma)), after

    _, trace = jax.lax.scan(sweep, q, None, length=sweeps)
    return jnp.concatenate([q[None], trace])


def policy_iteration(mdp: MDP, gamma: float | Array) -> tuple[Array, Array, Array]:
    """The best policy's actions [state], their worth [state, action], and how many policies were
    valued on the way (Howard, 1960).

    An action is kept unless another is better by more than rounding, so that it ends.
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
    """The largest difference over states and actions, the norm in which Bellman's operator
    contracts."""
    return jnp.abs(q - other).max((-2, -1))


def contraction(errors: Array, floor: float | Array) -> Array:
    """The factor by which each of `errors` [step] is smaller than the one before [step - 1];
    NaN once that one is below `floor`, where rounding is all there is to see."""
    return jnp.where(errors[:-1] > floor, errors[1:] / errors[:-1], jnp.nan)
